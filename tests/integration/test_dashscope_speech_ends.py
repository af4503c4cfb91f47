"""Every bad end of speech by DashScope, through a real server: faults of the vendor, callers who leave, and stalls."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from calling import (
    config_message,
    rest_of,
    text_message,
    until,
)
from pixvox import client
from pixvox.testing.dashscope import (
    Behaviour,
    Closed,
    Cut,
    DashScopeEmulator,
    ErrorEvent,
    Expired,
    Fault,
    NoResult,
    PlacedAt,
    Raw,
    Redirected,
    Refused,
    Stalled,
)
from pixvox.upstream import replay
from speaking import HTTP, REALTIME, TEXT, place_of


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def place(vendor):
    async with place_of(vendor) as place:
        yield place


@pytest.fixture
def waits(monkeypatch):
    """Time between attempts does not pass."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
INTERNAL = grpc.StatusCode.INTERNAL
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
DENIED = grpc.StatusCode.PERMISSION_DENIED
STARTED = ["started"]
TWO_CHUNKS = ["started", "audio", "audio"]

# Operation, fault, code, reason, what the caller got before, requests of the vendor.
FAULTS = [
    # The handshake is free, and repeated where that helps.
    ("realtime", Refused(401, "InvalidApiKey"), PRECONDITION, "PROVIDER_CREDENTIALS", [], 1),
    ("realtime", Refused(403, "AccessDenied.Unpurchased"), DENIED, "PROVIDER_ACCESS_DENIED", [], 1),
    ("realtime", Refused(404, "ModelNotFound"), grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", [], 1),
    ("realtime", Refused(429, "Throttling.RateQuota"), EXHAUSTED, "RATE_LIMITED", [], 3),
    ("realtime", Refused(429, "PrepaidBillOverdue"), PRECONDITION, "PROVIDER_BILLING", [], 1),
    ("realtime", Raw(502), UNAVAILABLE, "PROVIDER_UNAVAILABLE", [], 3),
    ("realtime", Cut(), UNAVAILABLE, "PROVIDER_UNAVAILABLE", [], 3),
    # From the session on, nothing is repeated.
    ("realtime", ErrorEvent("invalid_value", after=None), INVALID, "INVALID_PARAMETER", [], 1),
    ("realtime", Closed(1011, after=None), UNAVAILABLE, "PROVIDER_UNAVAILABLE", [], 1),
    ("realtime", Closed(1011, after=0), UNAVAILABLE, "PROVIDER_DISCONNECTED", STARTED, 1),
    ("realtime", Cut(0), UNAVAILABLE, "PROVIDER_DISCONNECTED", STARTED, 1),
    ("realtime", Cut(2), UNAVAILABLE, "PROVIDER_DISCONNECTED", TWO_CHUNKS, 1),
    ("realtime", Closed(1000, after=2), UNAVAILABLE, "PROVIDER_DISCONNECTED", TWO_CHUNKS, 1),
    ("realtime", Closed(1000, after=5), UNAVAILABLE, "PROVIDER_DISCONNECTED", [*STARTED, *["audio"] * 5], 1),
    ("realtime", ErrorEvent("InternalError", after=2), INTERNAL, "PROVIDER_INTERNAL", TWO_CHUNKS, 1),
    (
        "realtime",
        ErrorEvent("DataInspectionFailed", "Input data may contain inappropriate content.", after=0),
        INVALID,
        "CONTENT_BLOCKED_INPUT",
        STARTED,
        1,
    ),
    (
        "realtime",
        ErrorEvent("session_expired", "request timeout after 23 seconds.", after=2),
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "PROVIDER_TIMEOUT",
        TWO_CHUNKS,
        1,
    ),
    ("realtime", ErrorEvent("never_heard_of", after=2), INTERNAL, "PROVIDER_INTERNAL", TWO_CHUNKS, 1),
    ("realtime", NoResult(), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
    ("speech_sse", Refused(401, "InvalidApiKey"), PRECONDITION, "PROVIDER_CREDENTIALS", STARTED, 1),
    ("speech_sse", Refused(429, "Throttling.RateQuota"), EXHAUSTED, "RATE_LIMITED", STARTED, 3),
    ("speech_sse", Refused(429, "PostpaidBillOverdue"), PRECONDITION, "PROVIDER_BILLING", STARTED, 1),
    ("speech_sse", Refused(500, "InternalError"), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
    ("speech_sse", Refused(200, "InternalError"), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
    ("speech_sse", Raw(502), grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", STARTED, 1),
    ("speech_sse", Cut(), grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", STARTED, 1),
    ("speech_sse", Cut(0), UNAVAILABLE, "PROVIDER_DISCONNECTED", STARTED, 1),
    ("speech_sse", Cut(2), UNAVAILABLE, "PROVIDER_DISCONNECTED", TWO_CHUNKS, 1),
    ("speech_sse", ErrorEvent("InternalError.Algo", after=2), INTERNAL, "PROVIDER_INTERNAL", TWO_CHUNKS, 1),
    ("speech_sse", NoResult(), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
    ("speech_http", Refused(429, "Throttling.RateQuota"), EXHAUSTED, "RATE_LIMITED", STARTED, 3),
    ("speech_http", Refused(400, "InvalidParameter"), INVALID, "INVALID_PARAMETER", STARTED, 1),
    ("speech_http", Cut(), grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", STARTED, 1),
    ("speech_http", PlacedAt("http://169.254.169.254"), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
    ("download", Expired(), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
    ("download", Redirected(), INTERNAL, "PROVIDER_INTERNAL", STARTED, 1),
]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(("operation", "effect", "code", "reason", "before", "requests"), FAULTS, ids=str)
async def test_every_fault_has_its_code_and_is_repeated_only_where_nothing_was_done(
    vendor, operation, effect, code, reason, before, requests
):
    vendor.faults.add(Fault(operation, effect, times=None))
    lane = "sse" if operation == "speech_sse" else "download"
    async with place_of(vendor, speech_lane=lane) as place:
        model = REALTIME if operation == "realtime" else HTTP
        seen, failed = await place.failure(config_message(model=model), text_message("One two."))
        assert (failed.code, failed.reason) == (code, reason)
        assert seen == before
        assert len(place.asked) == requests
        assert failed.metadata["provider"] == "qwen"
        await until(lambda: place.service.calls.in_flight == 0)


@pytest.mark.parametrize(
    ("operation", "effect", "code"),
    [
        ("realtime", ErrorEvent("InternalError", after=2), "InternalError"),
        ("realtime", Closed(1013, after=2), "1013"),
        ("speech_sse", ErrorEvent("InternalError.Algo", after=2), "InternalError.Algo"),
        ("speech_http", Refused(400, "InvalidParameter"), "InvalidParameter"),
    ],
    ids=str,
)
async def test_a_failure_has_the_vendors_code_and_id(vendor, operation, effect, code):
    vendor.faults.add(Fault(operation, effect))
    async with place_of(vendor, speech_lane="sse" if operation == "speech_sse" else "download") as place:
        model = REALTIME if operation == "realtime" else HTTP
        _, failed = await place.failure(config_message(model=model), text_message("One two."))
    assert failed.metadata["provider_code"] == code
    assert failed.metadata["provider_request_id"]


async def test_without_a_key_speech_fails_before_the_vendor_is_asked(vendor):
    async with place_of(vendor, api_key="") as place:
        seen, failed = await place.failure(config_message(), text_message("Hello."))
    assert (seen, failed.reason) == ([], "PROVIDER_NOT_CONFIGURED")
    assert vendor.count() == 0


async def test_a_voice_of_another_model_is_the_callers_mistake(place):
    seen, failed = await place.failure(
        config_message(model="qwen3-tts-vc-realtime-2026-01-15", voice="Cherry"), text_message("Hello.")
    )
    assert (seen, failed.code, failed.reason) == ([], PRECONDITION, "VOICE_MODEL_MISMATCH")


LANES = [(REALTIME, "sse", "realtime"), (HTTP, "sse", "speech_sse"), (HTTP, "download", "speech_http")]


@pytest.mark.parametrize(("model", "lane", "operation"), LANES)
async def test_a_caller_who_leaves_is_seen_by_the_vendor_within_a_second(vendor, model, lane, operation):
    vendor.behaviour = Behaviour(chunk_interval=0.1)
    if operation == "speech_http":
        vendor.faults.add(Fault(operation, Stalled(30, after=10)))
    async with place_of(vendor, speech_lane=lane) as place:
        call = place.stubs.speech.StreamSpeech(iter([config_message(model=model), text_message(TEXT * 5)]))
        if operation == "speech_http":
            await until(lambda: place.asked and place.asked[0].status)
        else:
            while not (await call.read()).HasField("audio"):
                pass
        left_at = time.monotonic()
        call.cancel()
        await until(lambda: place.asked[0].cancelled)
        assert place.asked[0].client_closed_at - left_at < 1.0
        await until(lambda: place.service.calls.in_flight == 0)
        assert len(place.asked[0].chunks_at) < 10


async def test_a_caller_who_leaves_before_any_text_frees_the_vendor(place):
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    assert (await call.read()).HasField("started")
    call.cancel()
    left_at = time.monotonic()
    await until(lambda: place.asked[0].cancelled)
    assert place.asked[0].client_closed_at - left_at < 1.0


async def test_a_caller_who_reads_nothing_stops_the_vendor_and_leaving_still_ends_it(place):
    text = "word " * 400
    call = place.stubs.speech.StreamSpeech(iter([config_message(speaking_rate=0.5), text_message(text)]))
    await call.read()
    # 240 s of audio are 15 MB in Base64, more than the buffers on the way hold.
    await until(lambda: len(place.asked[0].chunks_at) > 100)
    await asyncio.sleep(2.0)
    sent = len(place.asked[0].chunks_at)
    await asyncio.sleep(0.5)
    assert sent == len(place.asked[0].chunks_at) < 2400
    assert place.service.calls.in_flight == 1
    left_at = time.monotonic()
    call.cancel()
    await until(lambda: place.asked[0].cancelled)
    assert place.asked[0].client_closed_at - left_at < 1.0
    await until(lambda: place.service.calls.in_flight == 0)


@pytest.mark.parametrize(
    ("model", "operation", "effect"),
    [
        (REALTIME, "realtime", Stalled(60, after=None)),
        (REALTIME, "realtime", Stalled(60, after=0)),
        (REALTIME, "realtime", Stalled(60, after=2)),
        (HTTP, "speech_sse", Stalled(60, after=None)),
        (HTTP, "speech_sse", Stalled(60, after=2)),
    ],
    ids=str,
)
async def test_a_vendor_that_stalls_is_left_at_the_deadline(place, model, operation, effect):
    place.vendor.faults.add(Fault(operation, effect))
    started = time.monotonic()
    seen, failed = await place.failure(config_message(model=model), text_message(TEXT), timeout=1.0)
    assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "summary" not in seen
    assert seen.count("audio") == (effect.after or 0)
    await until(lambda: place.service.calls.in_flight == 0)
    assert time.monotonic() - started < 3.0


async def test_a_mistake_of_the_caller_in_the_middle_ends_the_session(place):
    place.vendor.behaviour = Behaviour(chunk_interval=0.1)
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message("A sentence that takes a while to speak. "))
    while not (await call.read()).HasField("audio"):
        pass
    await call.write(config_message())
    with pytest.raises(grpc.RpcError) as raised:
        await rest_of(call)
    assert client.failure(raised.value).reason == "STREAM_ORDER"
    await until(lambda: place.asked[0].cancelled)
