"""Faults of one provider do not become faults of the service, and nobody pays twice: two vendors and the sandbox."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

import serving
from calling import check_invariants, config_message, fault, kinds, rest_of, spoken, text_message
from emulated import failure_of
from pixvox.testing.dashscope import (
    Closed,
    Cut,
    DashScopeEmulator,
    Fault,
    Raw,
    Refused,
    Stalled,
    expected_pcm,
)
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1 import image_service_pb2, media_pb2, speech_service_pb2

MODEL = "qwen-image-2.0"
SPEECH = "qwen3-tts-flash-realtime"
SSE = "qwen3-tts-flash"
TEXT = "A lighthouse at dusk."
ROUTES = {
    "fast": {
        "verbs": ["generate_image"],
        "targets": [{"to": f"first/{MODEL}"}, {"to": f"second/{MODEL}"}, {"to": "sandbox"}],
    },
    "two": {"verbs": ["generate_image"], "targets": [{"to": f"first/{MODEL}"}, {"to": f"second/{MODEL}"}]},
    "voice": {"verbs": ["stream_speech"], "targets": [{"to": f"first/{SPEECH}"}, {"to": f"second/{SPEECH}"}]},
    "slow-voice": {"verbs": ["stream_speech"], "targets": [{"to": f"first/{SSE}"}, {"to": f"second/{SPEECH}"}]},
}

ROUTES_OF_TWO = {"voice": ROUTES["voice"]}


@pytest.fixture
async def first():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def second():
    async with DashScopeEmulator() as emulator:
        yield emulator


def _settings(first, second, **tables):
    providers = {**serving.vendors(first=first, second=second), "sandbox": {"kind": "sandbox"}}
    return serving.settings_with(providers, ROUTES, **({"target_defaults": serving.UNLIMITED} | tables))


@pytest.fixture
async def stubs(first, second):
    async with serving.serving(_settings(first, second)) as stubs:
        yield stubs


def _picture(**fields):
    return image_service_pb2.GenerateImageRequest(**({"prompt": "a lighthouse", "model": "fast"} | fields))


def _tried(receipt):
    return [(one.provider, one.reason) for one in receipt.attempts]


async def test_a_target_that_is_down_at_start_is_passed_over_and_listed(first, second):
    providers = {**serving.vendors(first=first, second=second), "sandbox": {"kind": "sandbox"}}
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        providers["first"]["http_base"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
    settings = serving.settings_with(providers, ROUTES, target_defaults=serving.UNLIMITED)
    async with serving.serving(settings) as stubs:
        answer = await stubs.images.GenerateImage(_picture())
    assert answer.receipt.provider == "second"
    assert _tried(answer.receipt) == [("first", reasons.ERROR_REASON_PROVIDER_UNAVAILABLE), ("second", 0)]
    assert (first.count("generate"), second.count("generate")) == (0, 1)


REFUSALS = [
    (Refused(429, "Throttling.RateQuota"), reasons.ERROR_REASON_RATE_LIMITED),
    (Refused(429, "Throttling.AllocationQuota"), reasons.ERROR_REASON_QUOTA_EXCEEDED),
    (Refused(401, "InvalidApiKey"), reasons.ERROR_REASON_PROVIDER_CREDENTIALS),
    (Refused(400, "Arrearage"), reasons.ERROR_REASON_PROVIDER_BILLING),
    (Refused(403, "Model.AccessDenied"), reasons.ERROR_REASON_PROVIDER_ACCESS_DENIED),
]


@pytest.mark.parametrize(("effect", "reason"), REFUSALS, ids=[reasons.ErrorReason.Name(row[1]) for row in REFUSALS])
async def test_a_refusal_before_any_work_goes_on_to_the_next_target_at_once(stubs, first, second, effect, reason):
    first.faults.add(Fault("generate", effect, times=None))
    answer = await stubs.images.GenerateImage(_picture())
    assert _tried(answer.receipt) == [("first", reason), ("second", 0)]
    # Nobody is asked twice while there is somebody else to ask.
    assert (first.count("generate"), second.count("generate")) == (1, 1)


AMBIGUOUS = [
    (Cut(), "OUTCOME_UNKNOWN", grpc.StatusCode.UNKNOWN),
    (Raw(502), "OUTCOME_UNKNOWN", grpc.StatusCode.UNKNOWN),
    (Refused(500, "InternalError"), "PROVIDER_INTERNAL", grpc.StatusCode.INTERNAL),
    (Refused(400, "DataInspectionFailed"), "CONTENT_BLOCKED", grpc.StatusCode.INVALID_ARGUMENT),
    (Refused(400, "InvalidParameter"), "INVALID_PARAMETER", grpc.StatusCode.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("effect", "reason", "code"), AMBIGUOUS, ids=[str(row[0]) for row in AMBIGUOUS])
async def test_what_may_have_been_done_or_would_be_refused_again_goes_nowhere_else(
    stubs, first, second, effect, reason, code
):
    first.faults.add(Fault("generate", effect))
    failure = await failure_of(stubs.images.GenerateImage(_picture()))
    assert (failure.reason, failure.code) == (reason, code)
    assert (first.count("generate"), second.count("generate")) == (1, 0)


async def test_a_slow_target_costs_one_call_and_is_stopped_at_the_deadline(stubs, first, second):
    first.faults.add(Fault("generate", Stalled(30)))
    failure = await failure_of(stubs.images.GenerateImage(_picture(), timeout=0.5))
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await first.until(lambda: first.requests[-1].cancelled)
    assert (first.count("generate"), second.count("generate")) == (1, 0)


async def test_the_last_target_is_asked_again_when_it_refuses(stubs, first, second):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota"), times=None))
    second.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota"), times=2))
    answer = await stubs.images.GenerateImage(_picture(model="two"))
    assert answer.receipt.provider == "second"
    assert (first.count("generate"), second.count("generate")) == (1, 3)


async def test_when_all_refuse_the_error_tells_of_each_and_when_to_come_back(stubs, first, second):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota", retry_after=20), times=None))
    second.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota", retry_after=40), times=None))
    failure = await failure_of(stubs.images.GenerateImage(_picture(model="two")))
    assert failure.reason == "RATE_LIMITED"
    assert failure.metadata["attempts"] == f"first/{MODEL} RATE_LIMITED; second/{MODEL} RATE_LIMITED"
    assert failure.retry_after == 20
    assert (first.count("generate"), second.count("generate")) == (1, 1)


async def test_a_target_that_cannot_do_what_is_asked_is_never_fallen_back_to(stubs, first, second):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota"), times=None))
    second.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota"), times=None))
    # The sandbox makes 4 at most.
    failure = await failure_of(stubs.images.GenerateImage(_picture(n=6)))
    assert failure.reason == "RATE_LIMITED"
    answer = await stubs.images.GenerateImage(_picture(n=4, size=media_pb2.Size(width=512, height=512)))
    assert answer.receipt.provider == "sandbox"
    assert len(answer.images) == 4


async def test_a_request_that_names_a_provider_stays_there(stubs, first, second):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota"), times=None))
    failure = await failure_of(stubs.images.GenerateImage(_picture(provider="first")))
    assert failure.reason == "RATE_LIMITED"
    assert second.count("generate") == 0


async def test_a_model_that_no_route_names_is_asked_of_its_provider_alone(stubs, first, second):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota"), times=None))
    failure = await failure_of(stubs.images.GenerateImage(_picture(model=MODEL)))
    assert failure.reason == "RATE_LIMITED"
    assert (first.count("generate"), second.count("generate")) == (3, 0)


async def test_an_open_circuit_keeps_the_vendor_unasked(first, second):
    defaults = serving.UNLIMITED | {"failures": 2, "open_seconds": 60}
    async with serving.serving(_settings(first, second, target_defaults=defaults)) as stubs:
        first.faults.add(Fault("generate", Refused(401, "InvalidApiKey"), times=None))
        for _ in range(5):
            answer = await stubs.images.GenerateImage(_picture())
            assert answer.receipt.provider == "second"
    assert _tried(answer.receipt)[0] == ("first", reasons.ERROR_REASON_CIRCUIT_OPEN)
    assert (first.count("generate"), second.count("generate")) == (2, 5)


async def test_a_full_target_overflows_to_the_next_before_anybody_waits(first, second):
    settings = _settings(first, second, targets={f"first/{MODEL}": {"max_in_flight": 1}})
    first.faults.add(Fault("generate", Stalled(0.5)))
    async with serving.serving(settings) as stubs:
        slow = stubs.images.GenerateImage(_picture())
        await first.until(lambda: first.count("generate") == 1)
        answer = await stubs.images.GenerateImage(_picture())
        assert _tried(answer.receipt) == [("first", reasons.ERROR_REASON_OVERLOADED), ("second", 0)]
        assert (await slow).receipt.provider == "first"


async def test_a_call_that_cannot_start_before_its_deadline_is_refused_at_once(first, second):
    slow = {f"{name}/{MODEL}": {"requests_per_minute": 1, "burst": 1} for name in ("first", "second")}
    async with serving.serving(_settings(first, second, targets=slow)) as stubs:
        for name in ("first", "second"):
            answer = await stubs.images.GenerateImage(_picture(model="two"))
            assert answer.receipt.provider == name
        failure = await failure_of(stubs.images.GenerateImage(_picture(model="two"), timeout=20))
    assert (failure.reason, failure.code) == ("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert 50 < failure.retry_after <= 60
    assert failure.quota == ((f"targets/second/{MODEL}", "1 requests per minute"),)
    assert (first.count("generate"), second.count("generate")) == (1, 1)


def _speech(text=TEXT, **fields):
    return [config_message(**({"model": "voice"} | fields)), text_message(text)]


async def test_speech_refused_at_the_handshake_comes_whole_from_the_next(stubs, first, second):
    first.faults.add(Fault("realtime", Refused(429, "Throttling.RateQuota"), times=None))
    answers = await spoken(stubs, _speech())
    check_invariants(answers)
    assert answers[0].started.provider == "second"
    receipt = answers[-1].summary.receipt
    assert _tried(receipt) == [("first", reasons.ERROR_REASON_RATE_LIMITED), ("second", 0)]
    data = b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
    assert data == expected_pcm(TEXT, "Cherry")


async def test_speech_refused_after_started_starts_again_before_any_audio(stubs, first, second):
    first.faults.add(Fault("speech_sse", Refused(429, "Throttling.RateQuota"), times=None))
    answers = await spoken(stubs, _speech(model="slow-voice"))
    assert [answer.started.provider for answer in answers if answer.HasField("started")] == ["first", "second"]
    assert kinds(answers)[:2] == ["started", "started"]
    check_invariants(answers[1:])
    data = b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
    # The text that the first one had read is told to the second one from its beginning.
    assert data == expected_pcm(TEXT, "Cherry")
    assert first.count("speech_sse") == 1


@pytest.mark.parametrize("effect", [Closed(after=2), Cut(after=2)], ids=str)
async def test_speech_that_breaks_off_is_spoken_by_nobody_else(stubs, first, second, effect):
    first.faults.add(Fault("realtime", effect))
    call = stubs.speech.StreamSpeech(iter(_speech()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest_of(call)
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}
    assert second.count("realtime") == 0


async def test_text_that_comes_slowly_reaches_the_target_that_takes_over(stubs, first, second):
    first.faults.add(Fault("realtime", Refused(503, "ServiceUnavailable"), times=None))
    call = stubs.speech.StreamSpeech()
    await call.write(config_message(model="voice"))
    assert (await call.read()).started.provider == "second"
    for word in TEXT.split(" "):
        await asyncio.sleep(0.02)
        await call.write(text_message(f"{word} "))
    await call.done_writing()
    answers = await rest_of(call)
    assert kinds(answers)[-1] == "summary"
    assert answers[-1].summary.receipt.usage.characters == len(TEXT) + 1


async def test_a_caller_who_leaves_while_the_call_waits_in_a_queue_is_never_sent(first, second):
    settings = _settings(first, second, target_defaults={"max_in_flight": 1, "requests_per_minute": 0.0})
    first.faults.add(Fault("generate", Stalled(0.5)))
    async with serving.serving(settings) as stubs:
        slow = stubs.images.GenerateImage(_picture(model=MODEL))
        await first.until(lambda: first.count("generate") == 1)
        waiting = stubs.images.GenerateImage(_picture(model=MODEL))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await slow
        await stubs.images.GenerateImage(_picture(model=MODEL))
    assert first.count("generate") == 2


async def test_synthesize_speech_falls_back_too(stubs, first, second):
    first.faults.add(Fault("speech_sse", Refused(429, "Throttling.RateQuota"), times=None))
    request = speech_service_pb2.SynthesizeSpeechRequest(
        text=TEXT, config=speech_service_pb2.SpeechConfig(model="slow-voice")
    )
    answer = await stubs.speech.SynthesizeSpeech(request)
    assert answer.receipt.provider == "second"
    assert answer.data == expected_pcm(TEXT, "Cherry")


async def test_text_that_is_too_long_for_the_first_target_goes_to_one_that_takes_it(second):
    async with DashScopeEmulator() as first:
        providers = serving.vendors(first=first, second=second)
        providers["first"]["max_text_chars"] = 10
        settings = serving.settings_with(providers, ROUTES_OF_TWO, target_defaults=serving.UNLIMITED)
        request = speech_service_pb2.SynthesizeSpeechRequest(
            text=TEXT, config=speech_service_pb2.SpeechConfig(model="voice")
        )
        async with serving.serving(settings) as stubs:
            answer = await stubs.speech.SynthesizeSpeech(request)
        assert answer.receipt.provider == "second"
        assert first.count() == 0


async def test_the_warm_provider_serves_while_the_cold_one_starts(second):
    providers = {
        "cold": {"kind": "sandbox", "cold_start_seconds": 0.4},
        "warm": {"kind": "sandbox"},
    }
    targets = [{"to": "cold/sandbox-image"}, {"to": "warm/sandbox-image"}]
    routes = {
        "prefer": {"verbs": ["generate_image"], "targets": targets, "cold": "PREFER_WARM"},
        "allow": {"verbs": ["generate_image"], "targets": targets},
    }
    size = media_pb2.Size(width=64, height=64)
    async with serving.serving(serving.settings_with(providers, routes)) as stubs:
        served = [await stubs.images.GenerateImage(_picture(model="prefer", size=size)) for _ in range(2)]
        assert [one.receipt.provider for one in served] == ["warm", "warm"]
        # It was woken by the first call, which did not wait for it.
        await asyncio.sleep(0.5)
        answer = await stubs.images.GenerateImage(_picture(model="prefer", size=size))
        assert answer.receipt.provider == "cold"


async def test_a_route_that_allows_a_cold_start_waits_for_it():
    providers = {"cold": {"kind": "sandbox", "cold_start_seconds": 0.3}, "warm": {"kind": "sandbox"}}
    routes = {
        "allow": {
            "verbs": ["generate_image"],
            "targets": [{"to": "cold/sandbox-image"}, {"to": "warm/sandbox-image"}],
        }
    }
    async with serving.serving(serving.settings_with(providers, routes)) as stubs:
        answer = await stubs.images.GenerateImage(_picture(model="allow", size=media_pb2.Size(width=64, height=64)))
    assert answer.receipt.provider == "cold"


async def test_a_rehearsed_refusal_of_the_sandbox_is_the_callers_to_see(stubs):
    failure = await failure_of(
        stubs.images.GenerateImage(_picture(model="sandbox-image", provider_options=fault(kind="unavailable")))
    )
    assert failure.reason == "PROVIDER_UNAVAILABLE"
