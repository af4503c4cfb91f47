"""Speech of emulated engines behind OpenAI's HTTP API, through the service."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import serving
from calling import check_invariants, config_message, flush_message, kinds, rest_of, spoken, text_message
from pixvox import client
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.openai import Cut, ErrorEvent, NoDone, NoResult, OpenAIEmulator, Raw, Refused, ShortSound, Stalled

TEXT = "Hello there. How are you today?"
VLLM = "Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice"
MODELS = {"vllm_omni": [{"id": "qwen3-tts"}]}
SPEAKS = {
    "openai": ("gpt-4o-mini-tts", "gpt-4o-mini-tts", "alloy"),
    "vllm_omni": ("qwen3-tts", VLLM, "vivian"),
    "localai": ("tts-1", "tts-1", ""),
    "speaches": ("kokoro", "speaches-ai/Kokoro-82M-v1.0-ONNX", "af_heart"),
    "kokoro": ("kokoro", "kokoro", "af_heart"),
}
SAID = {
    "openai": {"response_format": "pcm", "stream_format": "sse"},
    "vllm_omni": {"response_format": "pcm", "stream": True, "task_type": "CustomVoice", "language": "English"},
    "localai": {"response_format": "wav", "language": "en"},
    "speaches": {"response_format": "pcm", "stream_format": "sse", "sample_rate": 24_000},
    "kokoro": {"response_format": "pcm", "stream": False},
}


def emulated(dialect, **fields):
    models = (VLLM,) if dialect == "vllm_omni" else ()
    return OpenAIEmulator(dialect, models=models, **fields)


def service(emulator, dialect="openai", **fields):
    table = {"kind": "openai", "dialect": dialect, "base_url": emulator.base_url, "api_key": "sk-test"}
    table |= {"models": MODELS[dialect]} if dialect in MODELS else {}
    settings = serving.settings_with({"engine": table | fields}, {}, target_defaults=serving.UNLIMITED)
    return serving.serving(settings)


def pcm_of(answers):
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def broken(stubs, *messages, **options):
    """What a stream answered before it failed, and how it failed."""
    seen = []
    try:
        async for answer in stubs.speech.StreamSpeech(iter(messages), **options):
            seen.append(answer)  # noqa: PERF401 - what came before the failure counts
    except grpc.RpcError as error:
        return seen, client.failure(error)
    raise AssertionError("the stream ended with OK")


@pytest.mark.parametrize("dialect", SPEAKS)
async def test_each_dialect_is_asked_in_its_own_words_and_heard_sample_by_sample(dialect):
    model, served, voice = SPEAKS[dialect]
    async with emulated(dialect) as emulator, service(emulator, dialect) as stubs:
        config = config_message(model=model, language_code="en")
        answers = await spoken(stubs, [config, text_message(TEXT[:9]), text_message(TEXT[9:])])
    check_invariants(answers)
    [asked] = emulator.requests
    expected = {"model": served, "input": TEXT} | SAID[dialect] | ({"voice": voice} if voice else {})
    assert asked.body == expected
    rate = 22_050 if dialect == "localai" else 24_000
    assert pcm_of(answers) == expected_pcm(TEXT, voice, rate=rate)
    started, summary = answers[0].started, answers[-1].summary
    assert (started.model, started.voice, started.format.sample_rate_hertz) == (model, voice, rate)
    assert summary.receipt.usage.characters == len(TEXT)
    assert summary.receipt.provider_request_id
    assert summary.chunks > 1


async def test_a_server_that_answers_a_stream_with_bare_samples_is_heard_too():
    async with emulated("vllm_omni", streams_events=False) as emulator, service(emulator, "vllm_omni") as stubs:
        answers = await spoken(stubs, [config_message(model="qwen3-tts"), text_message(TEXT)])
    check_invariants(answers)
    assert pcm_of(answers) == expected_pcm(TEXT, "vivian")
    assert emulator.count() == 1


async def test_a_model_without_events_is_heard_in_pieces_of_its_whole_answer():
    async with emulated("openai") as emulator, service(emulator) as stubs:
        answers = await spoken(stubs, [config_message(model="tts-1", speaking_rate=1.5), text_message(TEXT)])
    assert emulator.requests[0].body["speed"] == 1.5
    assert "stream_format" not in emulator.requests[0].body
    assert pcm_of(answers) == expected_pcm(TEXT, "alloy", speech_rate=1.5)
    assert answers[-1].summary.chunks > 5


async def test_a_flush_has_the_text_before_it_spoken_by_a_request_of_its_own():
    messages = [
        config_message(model="gpt-4o-mini-tts"),
        text_message("One. "),
        flush_message("a"),
        text_message("Two."),
    ]
    async with emulated("openai") as emulator, service(emulator) as stubs:
        answers = await spoken(stubs, messages)
    check_invariants(answers)
    assert [one.body["input"] for one in emulator.requests] == ["One. ", "Two."]
    assert kinds(answers).count("flushed") == 1
    assert pcm_of(answers) == expected_pcm("One. ", "alloy") + expected_pcm("Two.", "alloy")
    assert answers[-1].summary.receipt.usage.characters == len("One. Two.")


async def test_sound_is_handed_on_while_the_engine_is_still_speaking():
    async with emulated("openai") as emulator, service(emulator) as stubs:
        emulator.faults.add("speech", Stalled(30, after=2))
        call = stubs.speech.StreamSpeech(iter([config_message(model="gpt-4o-mini-tts"), text_message(TEXT)]))
        async with asyncio.timeout(5):
            while not (await call.read()).HasField("audio"):
                pass
        call.cancel()
        async with asyncio.timeout(5):
            await emulator.until(lambda: emulator.requests[0].cancelled)


async def test_a_deadline_ends_the_request_to_the_engine():
    async with emulated("kokoro") as emulator, service(emulator, "kokoro") as stubs:
        emulator.faults.add("speech", Stalled(30))
        _, failed = await broken(stubs, config_message(model="kokoro"), text_message(TEXT), timeout=0.4)
        assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await emulator.until(lambda: emulator.requests[0].cancelled)


BEFORE = [
    ("openai", Refused(401, "invalid_api_key"), "PROVIDER_CREDENTIALS"),
    ("openai", Refused(400, "content_policy_violation"), "CONTENT_BLOCKED"),
    ("vllm_omni", Refused(400, "", "Invalid voice 'x'. Supported: a, b"), "VOICE_NOT_FOUND"),
    ("vllm_omni", Refused(503, "", "The engine is loading."), "PROVIDER_UNAVAILABLE"),
    ("vllm_omni", Refused(429, "", "Queue full", retry_after=60), "RATE_LIMITED"),
    ("speaches", Refused(404, "", "Model 'x' is not installed locally"), "PROVIDER_CONFIG"),
    ("kokoro", Refused(500), "PROVIDER_INTERNAL"),
    ("localai", Refused(400), "INVALID_PARAMETER"),
    ("openai", Cut(), "PROVIDER_DISCONNECTED"),
    ("kokoro", Cut(), "OUTCOME_UNKNOWN"),
    ("kokoro", Cut(after=9_000), "OUTCOME_UNKNOWN"),
    ("localai", Cut(after=9_000), "OUTCOME_UNKNOWN"),
    ("localai", ShortSound(), "PROVIDER_DISCONNECTED"),
    ("kokoro", Raw(200, b"abc", "audio/pcm"), "PROVIDER_DISCONNECTED"),
    ("kokoro", Raw(200, b"ID3", "audio/mpeg"), "PROVIDER_INTERNAL"),
    ("kokoro", Raw(200, b"{}", "application/json"), "PROVIDER_INTERNAL"),
    ("openai", NoResult(), "PROVIDER_INTERNAL"),
    ("kokoro", NoResult(), "PROVIDER_INTERNAL"),
    ("openai", ErrorEvent(), "PROVIDER_INTERNAL"),
    ("openai", ErrorEvent("content_policy_violation"), "CONTENT_BLOCKED"),
    ("openai", Raw(200, b"data: {\n\n", "text/event-stream"), "PROVIDER_INTERNAL"),
]


@pytest.mark.parametrize(("dialect", "effect", "reason"), BEFORE)
async def test_a_fault_before_any_sound_has_its_reason_and_nothing_is_asked_twice(dialect, effect, reason):
    model = SPEAKS[dialect][0]
    async with emulated(dialect) as emulator, service(emulator, dialect) as stubs:
        emulator.faults.add("speech", effect)
        seen, failed = await broken(stubs, config_message(model=model), text_message(TEXT))
    assert failed.reason == reason
    assert not pcm_of(seen)
    assert emulator.count() == 1
    assert TEXT not in str(failed)


AFTER = [
    (Cut(after=2), "PROVIDER_DISCONNECTED"),
    (NoDone(), "PROVIDER_DISCONNECTED"),
    (ErrorEvent(after=2), "PROVIDER_INTERNAL"),
    (ErrorEvent("rate_limit_exceeded", after=2), "RATE_LIMITED"),
]


@pytest.mark.parametrize(("effect", "reason"), AFTER)
@pytest.mark.parametrize("dialect", ["openai", "vllm_omni", "speaches"])
async def test_a_stream_that_ends_early_never_looks_like_a_finished_one(dialect, effect, reason):
    model, _, voice = SPEAKS[dialect]
    async with emulated(dialect) as emulator, service(emulator, dialect) as stubs:
        emulator.faults.add("speech", effect)
        seen, failed = await broken(stubs, config_message(model=model), text_message(TEXT))
    assert failed.reason == reason
    assert failed.metadata["replay"] == "committed"
    assert "summary" not in kinds(seen)
    assert expected_pcm(TEXT, voice).startswith(pcm_of(seen))
    assert emulator.count() == 1


async def test_an_engine_that_fails_leaves_the_call_to_the_next_target():
    async with emulated("vllm_omni") as first, emulated("kokoro") as second:
        providers = {
            "first": {"kind": "openai", "dialect": "vllm_omni", "base_url": first.base_url, "api_key": "sk-test"},
            "second": {"kind": "openai", "dialect": "kokoro", "base_url": second.base_url, "api_key": "sk-test"},
        }
        providers["first"]["models"] = MODELS["vllm_omni"]
        routes = {"voice": {"verbs": ["stream_speech"], "targets": [{"to": "first"}, {"to": "second"}]}}
        settings = serving.settings_with(providers, routes, target_defaults=serving.UNLIMITED)
        async with serving.serving(settings) as stubs:
            first.faults.add("speech", Refused(503), times=None)
            call = stubs.speech.StreamSpeech(iter([config_message(model="voice"), text_message(TEXT)]))
            answers = await rest_of(call)
    assert [one.started.provider for one in answers if one.HasField("started")] == ["first", "second"]
    assert kinds(answers)[-1] == "summary"
    assert (first.count(), second.count()) == (1, 1)
    assert pcm_of(answers) == expected_pcm(TEXT, "af_heart")
