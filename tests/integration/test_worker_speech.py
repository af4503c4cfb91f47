"""Speech of emulated workers, through the service."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf import struct_pb2

from calling import check_invariants, config_message, flush_message, kinds, spoken, text_message
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.worker import LOADING, Cut, Failing, NoEnd, Nonsense, NoResult, Page, Refused, Slow, WorkerEmulator
from workers import SPEAKER, broken, pcm_of, service

TEXT = "Hello there. How are you today?"
LONG = "The quick brown fox jumps over the lazy dog and runs away into the woods. " * 200


def asking(text=TEXT, **fields):
    return [config_message(model=SPEAKER, **fields), text_message(text)]


async def test_speech_is_asked_for_as_events_and_heard_sample_by_sample():
    options = struct_pb2.Struct()
    options.update({"worker": {"seed": 5, "max_new_tokens": 1000}})
    messages = asking(TEXT[:9], voice="Ryan", language_code="en-GB", instructions="calmly", provider_options=options)
    async with WorkerEmulator() as worker, service(worker) as stubs:
        answers = await spoken(stubs, [*messages, text_message(TEXT[9:])], timeout=30)
    check_invariants(answers)
    [asked] = worker.of("speech")
    assert asked.body == {
        "model": SPEAKER,
        "input": TEXT,
        "voice": "Ryan",
        "task_type": "CustomVoice",
        "language": "English",
        "instructions": "calmly",
        "response_format": "pcm",
        "sample_rate": 24_000,
        "stream": True,
        "stream_format": "sse",
        "seed": 5,
        "max_new_tokens": 1000,
    }
    assert 0 < float(asked.headers["x-request-timeout"]) <= 31
    # The pieces end within samples, and are joined.
    assert pcm_of(answers) == expected_pcm(TEXT, "ryan")
    started, summary = answers[0].started, answers[-1].summary
    assert (started.model, started.voice, started.format.sample_rate_hertz) == (SPEAKER, "Ryan", 24_000)
    assert summary.receipt.usage.characters == len(TEXT)
    assert summary.receipt.provider_request_id
    assert summary.chunks > 1


async def test_without_a_voice_and_a_language_the_first_voice_speaks_and_the_worker_finds_out():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        await spoken(stubs, asking())
    [asked] = worker.of("speech")
    assert (asked.body["voice"], asked.body["language"]) == ("Vivian", "Auto")


async def test_a_flush_has_the_text_before_it_spoken_by_a_request_of_its_own():
    messages = [config_message(model=SPEAKER), text_message("One. "), flush_message("a"), text_message("Two.")]
    async with WorkerEmulator() as worker, service(worker) as stubs:
        answers = await spoken(stubs, messages)
    check_invariants(answers)
    assert [one.body["input"] for one in worker.of("speech")] == ["One. ", "Two."]
    assert kinds(answers).count("flushed") == 1
    assert pcm_of(answers) == expected_pcm("One. ", "vivian") + expected_pcm("Two.", "vivian")
    assert answers[-1].summary.receipt.usage.characters == len("One. Two.")


async def test_sound_is_heard_while_the_worker_is_still_speaking_and_leaving_ends_it():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("speech", Slow(30, after=2))
        call = stubs.speech.StreamSpeech(iter(asking()))
        async with asyncio.timeout(10):
            while not (await call.read()).HasField("audio"):
                pass
            call.cancel()
            await worker.until(lambda: worker.of("speech")[0].cancelled)


async def test_a_caller_that_leaves_while_nobody_reads_ends_the_request_to_the_worker():
    models = {SPEAKER: {"max_text_characters": 20_000}}
    async with WorkerEmulator() as worker, service(worker, models=models) as stubs:
        call = stubs.speech.StreamSpeech(iter(asking(LONG)))
        async with asyncio.timeout(60):
            while not (await call.read()).HasField("audio"):
                pass
            [asked] = worker.of("speech")
            # The service has more than its caller's window takes, and waits in a write: then so does the worker.
            sent = -1
            while sent != asked.events:
                sent = asked.events
                await asyncio.sleep(0.5)
            assert not asked.finished
            call.cancel()
            await worker.until(lambda: asked.cancelled)


@pytest.mark.parametrize("effect", [Slow(30), Slow(30, after=2)])
async def test_a_deadline_ends_the_request_to_the_worker(effect):
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("speech", effect)
        _, failed = await broken(stubs, *asking(), timeout=0.5)
        assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await worker.until(lambda: worker.of("speech")[0].cancelled)


BEFORE = [
    (Refused(400, "invalid_request_error", "input"), "INVALID_PARAMETER"),
    (Refused(400, "invalid_request_error", "voice"), "VOICE_NOT_FOUND"),
    (Refused(400, "unsupported_task"), "PROVIDER_CONFIG"),
    (Refused(401, "authentication_error"), "PROVIDER_CREDENTIALS"),
    (Refused(404, "not_found_error", "model"), "PROVIDER_CONFIG"),
    (Refused(429, "overloaded_error", retry_after=60), "RATE_LIMITED"),
    (LOADING, "PROVIDER_UNAVAILABLE"),
    (Refused(504, "timeout_error"), "PROVIDER_TIMEOUT"),
    (Page(502), "OUTCOME_UNKNOWN"),
    (Page(200), "PROVIDER_INTERNAL"),
    (Cut(), "OUTCOME_UNKNOWN"),
    (Cut(after=0), "PROVIDER_DISCONNECTED"),
    (Failing(500), "PROVIDER_INTERNAL"),
    (Failing(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
    (Nonsense(), "PROVIDER_INTERNAL"),
    (NoResult(), "PROVIDER_INTERNAL"),
]


@pytest.mark.parametrize(("effect", "reason"), BEFORE)
async def test_a_fault_before_any_sound_has_its_reason_and_nothing_is_asked_twice(effect, reason):
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("speech", effect)
        seen, failed = await broken(stubs, *asking())
    assert failed.reason == reason
    assert {"provider_code", "provider_request_id"} <= failed.metadata.keys()
    assert not pcm_of(seen)
    assert worker.count() == 1
    assert TEXT not in str(failed)


AFTER = [
    (Cut(after=2), "PROVIDER_DISCONNECTED"),
    (NoEnd(), "PROVIDER_DISCONNECTED"),
    (Failing(500, after=2), "PROVIDER_INTERNAL"),
    (Failing(503, "out_of_memory", after=2), "PROVIDER_INTERNAL"),
    (Failing(504, "timeout_error", after=2), "PROVIDER_TIMEOUT"),
]


@pytest.mark.parametrize(("effect", "reason"), AFTER)
async def test_a_stream_that_ends_early_never_looks_like_a_finished_one(effect, reason):
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("speech", effect)
        seen, failed = await broken(stubs, *asking())
    assert failed.reason == reason
    assert failed.metadata["replay"] == "committed"
    assert "summary" not in kinds(seen)
    assert pcm_of(seen)
    assert expected_pcm(TEXT, "vivian").startswith(pcm_of(seen))
    assert worker.count() == 1


async def test_speech_at_the_telephones_rate_is_asked_of_the_worker():
    models = {SPEAKER: {"sample_rate": 8000}}
    async with WorkerEmulator() as worker, service(worker, models=models) as stubs:
        answers = await spoken(stubs, asking())
    assert answers[0].started.format.sample_rate_hertz == 8000
    assert pcm_of(answers) == expected_pcm(TEXT, "vivian", rate=8000)
