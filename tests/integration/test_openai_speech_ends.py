"""How speech of engines behind OpenAI's HTTP API can end: refused, cancelled, timed out, broken off, or with nonsense."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from calling import check_invariants, config_message, kinds, spoken, text_message
from engines import TEXT, WAYS, broken, pcm_of, speaking, way_of
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.dashscope.sound import wav_of
from pixvox.testing.openai import Cut, Endless, ErrorEvent, NoDone, NoResult, Raw, Refused, ShortSound, Stalled
from pixvox.testing.openai.performing import endless_header

# Events, bare samples in place of events, bare samples, and a WAV file without a length.
EACH_KIND = [way_of(one) for one in ("openai-events", "vllm_omni-samples-0.22", "kokoro-samples", "localai-samples")]

BEFORE = [
    ("openai-events", Refused(401, "invalid_api_key"), "PROVIDER_CREDENTIALS"),
    ("openai-samples", Refused(400, "content_policy_violation"), "CONTENT_BLOCKED"),
    ("vllm_omni-events", Refused(401), "PROVIDER_CREDENTIALS"),
    ("vllm_omni-events", Refused(400, "", "Invalid voice 'x'. Supported: a, b"), "VOICE_NOT_FOUND"),
    ("vllm_omni-events", Refused(503, "", "The engine is loading."), "PROVIDER_UNAVAILABLE"),
    ("vllm_omni-events", Refused(429, "", "Queue full", retry_after=60), "RATE_LIMITED"),
    ("speaches-events", Refused(404, "", "Model 'x' is not installed locally"), "PROVIDER_CONFIG"),
    ("speaches-samples", Refused(422, "missing", "Field required"), "INVALID_PARAMETER"),
    ("kokoro-samples", Refused(500), "PROVIDER_INTERNAL"),
    ("localai-whole", Refused(400), "INVALID_PARAMETER"),
    ("xinference-whole", Refused(500, "", "voice 'x' is not supported. Supported speakers are: a"), "VOICE_NOT_FOUND"),
    ("openai-events", Raw(200, b"data: {\n\n", "text/event-stream"), "PROVIDER_INTERNAL"),
    ("openai-events", ErrorEvent(), "PROVIDER_INTERNAL"),
    ("openai-events", ErrorEvent("content_policy_violation"), "CONTENT_BLOCKED"),
    ("kokoro-samples", Raw(200, b"", "audio/pcm"), "PROVIDER_INTERNAL"),
    ("kokoro-samples", Raw(200, b"R", "audio/pcm"), "PROVIDER_DISCONNECTED"),
    ("kokoro-samples", Raw(200, b"ID3", "audio/mpeg"), "PROVIDER_INTERNAL"),
    ("kokoro-samples", Raw(200, b"{}", "application/json"), "PROVIDER_INTERNAL"),
    (
        "openai-events",
        Raw(200, b'{"error": {"code": "content_policy_violation"}}', "application/json"),
        "CONTENT_BLOCKED",
    ),
    ("vllm_omni-events", Raw(401, b'{"error":"Unauthorized"}', "application/json"), "PROVIDER_CREDENTIALS"),
    ("vllm_omni-events", Raw(404, b"<html>", "text/html"), "PROVIDER_CONFIG"),
    ("kokoro-samples", Raw(200, endless_header(22_050) + bytes(100), "audio/wav"), "PROVIDER_INTERNAL"),
    ("kokoro-samples", Raw(200, endless_header(24_000), "audio/wav"), "PROVIDER_INTERNAL"),
    ("kokoro-samples", Raw(200, endless_header(24_000)[:30], "audio/wav"), "PROVIDER_DISCONNECTED"),
]


@pytest.mark.parametrize(("name", "effect", "reason"), BEFORE)
async def test_a_fault_before_any_sound_has_its_reason_and_nothing_is_asked_twice(name, effect, reason):
    way = way_of(name)
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", effect)
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT))
    assert failed.reason == reason
    assert not pcm_of(seen)
    assert emulator.count() == 1
    assert TEXT not in str(failed)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_an_engine_that_gives_no_sound_has_not_spoken(way):
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", NoResult())
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT))
    assert failed.reason == "PROVIDER_INTERNAL"
    assert "summary" not in kinds(seen)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_an_engine_that_dies_before_its_answer_leaves_it_open_whether_it_has_spoken(way):
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", Cut())
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT))
    assert (failed.reason, failed.metadata["replay"]) == ("OUTCOME_UNKNOWN", "ambiguous")
    assert "summary" not in kinds(seen)
    assert emulator.count() == 1


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_an_engine_that_dies_within_its_answer_never_looks_like_one_that_has_spoken(way, after):
    # A whole answer is counted in bytes.
    after = after * 5_001 if way.sound == "whole" else after
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", Cut(after=after))
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_DISCONNECTED", "committed")
    assert failed.metadata["provider_request_id"]
    assert "summary" not in kinds(seen)
    assert expected_pcm(TEXT, way.voice, rate=way.rate).startswith(pcm_of(seen))
    assert emulator.count() == 1


AFTER = [
    ("openai-events", NoDone(), "PROVIDER_DISCONNECTED"),
    ("openai-events", ErrorEvent(after=2), "PROVIDER_INTERNAL"),
    ("vllm_omni-events", ErrorEvent("rate_limit_exceeded", after=2), "RATE_LIMITED"),
    ("speaches-events", NoDone(), "PROVIDER_DISCONNECTED"),
    ("localai-whole", ShortSound(), "PROVIDER_DISCONNECTED"),
    ("kokoro-samples", Raw(200, b"abc", "audio/pcm"), "PROVIDER_DISCONNECTED"),
    ("localai-samples", Raw(200, endless_header(22_050) + b"abc", "audio/wav"), "PROVIDER_DISCONNECTED"),
]


@pytest.mark.parametrize(("name", "effect", "reason"), AFTER)
async def test_an_answer_that_ends_early_in_good_order_never_looks_like_a_finished_one(name, effect, reason):
    way = way_of(name)
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", effect)
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT))
    assert (failed.reason, failed.metadata["replay"]) == (reason, "committed")
    assert "audio" in kinds(seen)
    assert "summary" not in kinds(seen)
    assert emulator.count() == 1


class Scripted:
    """An engine that answers whatever it is asked with the same bytes, and closes the connection."""

    def __init__(self, answer):
        self.answer = answer
        self.base_url = ""

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()


SCRIPTS = [
    # It may be all or not.
    (b"HTTP/1.0 200 OK\r\nContent-Type: audio/pcm\r\n\r\nabcd", "PROVIDER_DISCONNECTED", "HTTP/1.1", b"abcd"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nX-Sample-Rate: 8000\r\nContent-Length: 4\r\n\r\nabcd",
        "PROVIDER_INTERNAL",
        "another rate",
        b"",
    ),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/L16\r\nContent-Length: 4\r\n\r\nabcd",
        "PROVIDER_INTERNAL",
        "something else",
        b"",
    ),
]


@pytest.mark.parametrize(("answer", "reason", "words", "sound"), SCRIPTS)
async def test_samples_of_which_too_little_or_something_else_is_said_are_not_taken_for_all(
    answer, reason, words, sound
):
    way = way_of("kokoro-samples")
    async with Scripted(answer) as engine, way.service(engine) as stubs:
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT))
    assert failed.reason == reason
    assert words in failed.message
    assert pcm_of(seen) == sound


async def test_a_file_that_says_its_length_is_whole_without_a_word_of_http():
    way = way_of("kokoro-samples")
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: audio/wav\r\n\r\n" + wav_of(b"abcd")
    async with Scripted(answer) as engine, way.service(engine) as stubs:
        answers = await spoken(stubs, [config_message(model=way.model), text_message(TEXT)])
    check_invariants(answers)
    assert pcm_of(answers) == b"abcd"


@pytest.mark.parametrize("after", [None, 2])
@pytest.mark.parametrize("way", EACH_KIND, ids=str)
async def test_a_deadline_ends_the_request_to_the_engine_wherever_it_stands(way, after):
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", Stalled(60, after=after))
        seen, failed = await broken(stubs, config_message(model=way.model), text_message(TEXT), timeout=0.7)
        assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "summary" not in kinds(seen)
        async with asyncio.timeout(10):
            await emulator.until(lambda: emulator.requests[0].cancelled)


@pytest.mark.parametrize("way", EACH_KIND, ids=str)
async def test_cancelling_while_the_service_is_blocked_on_a_write_ends_the_request_to_the_engine(way):
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", Endless())
        call = stubs.speech.StreamSpeech(iter([config_message(model=way.model), text_message(TEXT)]))
        await call.read()
        async with asyncio.timeout(60):
            await emulator.until(lambda: emulator.requests)
            pieces = -1
            # Nobody reads on, so that flow control fills up back to the engine, whose write blocks as well.
            while emulator.requests[0].pieces != pieces:
                pieces = emulator.requests[0].pieces
                await asyncio.sleep(0.5)
            assert not emulator.requests[0].finished
            call.cancel()
            await emulator.until(lambda: emulator.requests[0].cancelled)
