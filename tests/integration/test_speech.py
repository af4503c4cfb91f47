"""Speech through a real server: the order of messages, and every way a stream can end."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys

import av
import grpc
import numpy as np
import pytest

from calling import (
    check_invariants,
    config_message,
    fault,
    flush_message,
    kinds,
    rest_of,
    spoken,
    stubs_of,
    text_message,
    until,
)
from pixvox import client
from pixvox.v1 import media_pb2, model_service_pb2, speech_service_pb2

SENTENCE = "The quick brown fox jumps over the lazy dog. "

ENCODINGS = [encoding for encoding in media_pb2.AudioEncoding.values() if encoding]


def pcm_of(answers) -> bytes:
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def test_a_sentence_is_spoken_and_summed_up(stubs):
    answers = await spoken(stubs, [config_message(language_code="en", request_id="talk-1"), text_message(SENTENCE)])
    check_invariants(answers)
    started, summary = answers[0].started, answers[-1].summary
    assert started.request_id == summary.receipt.request_id == "talk-1"
    assert started.provider == summary.receipt.provider == "sandbox"
    assert (started.format.encoding, started.format.sample_rate_hertz) == (media_pb2.AUDIO_ENCODING_PCM_S16LE, 24000)
    assert started.voice
    samples = np.frombuffer(pcm_of(answers), "<i2")
    assert summary.audio_duration.ToMilliseconds() == pytest.approx(len(samples) / 24, abs=1)
    assert 1.0 < len(samples) / 24000 < 8.0
    assert np.sqrt(np.mean(samples.astype(float) ** 2)) > 300
    assert summary.receipt.usage.characters == len(SENTENCE)


async def test_offsets_are_the_positions_of_the_samples(stubs):
    answers = await spoken(stubs, [config_message(), text_message(SENTENCE * 3)])
    position = 0
    for answer in answers:
        if answer.HasField("audio"):
            assert answer.audio.offset_samples == position
            position += len(answer.audio.data) // 2
    assert position


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=media_pb2.AudioEncoding.Name)
async def test_every_encoding_is_offered_at_every_rate_and_decodes_to_the_same_length(stubs, encoding, rate):
    audio_format = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate)
    answers = await spoken(stubs, [config_message(format=audio_format), text_message("One two three.")])
    check_invariants(answers)
    seconds = answers[-1].summary.audio_duration.ToMicroseconds() / 1e6
    # An MP3 stream begins with silence that its encoder adds, at 8 kHz up to four frames of 72 ms.
    added = 0.3 if encoding == media_pb2.AUDIO_ENCODING_MP3 else 0.05
    assert decoded_seconds(pcm_of(answers), encoding, rate) == pytest.approx(seconds, abs=added)

    whole = await stubs.speech.SynthesizeSpeech(
        speech_service_pb2.SynthesizeSpeechRequest(
            text="One two three.", config=speech_service_pb2.SpeechConfig(format=audio_format)
        )
    )
    assert decoded_seconds(whole.data, encoding, rate) == pytest.approx(seconds, abs=added)
    assert whole.sha256 == hashlib.sha256(whole.data).hexdigest()
    assert whole.format == audio_format
    assert whole.mime_type.startswith("audio/")
    assert whole.receipt.usage.characters == len("One two three.")


async def read_to_failure(call):
    """What a stream answered before it failed, and how it failed."""
    seen = []
    try:
        async for answer in call:
            seen.append(answer)  # noqa: PERF401 - what came before the failure counts
    except grpc.RpcError as error:
        return seen, error
    raise AssertionError("the stream ended with OK")


def decoded_seconds(data: bytes, encoding: int, rate: int) -> float:
    if encoding == media_pb2.AUDIO_ENCODING_PCM_S16LE:
        return len(data) / 2 / rate
    if encoding == media_pb2.AUDIO_ENCODING_MULAW:
        return len(data) / rate
    with av.open(io.BytesIO(data)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


async def test_audio_leaves_while_the_text_still_trickles_in(stubs):
    call = stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message("First comes a sentence. "))
    while not (await call.read()).HasField("audio"):
        pass
    await call.write(text_message("Then another one."))
    await call.done_writing()
    rest = await rest_of(call)
    assert kinds(rest)[-1] == "summary"


async def test_text_may_break_off_anywhere(stubs):
    whole = await spoken(stubs, [config_message(language_code="en"), text_message(SENTENCE)])
    pieces = await spoken(stubs, [config_message(language_code="en"), *(text_message(letter) for letter in SENTENCE)])
    check_invariants(pieces)
    assert pieces[-1].summary.receipt.usage.characters == whole[-1].summary.receipt.usage.characters
    seconds = [answers[-1].summary.audio_duration.ToMilliseconds() / 1000 for answers in (pieces, whole)]
    assert seconds[0] == pytest.approx(seconds[1], abs=0.01)


async def test_a_flush_is_answered_after_the_audio_of_its_text(stubs):
    call = stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message("no full stop here"))
    await call.write(flush_message("a"))
    answers = []
    while not answers or not answers[-1].HasField("flushed"):
        answers.append(await call.read())
    assert answers[-1].flushed.id == "a"
    assert "audio" in kinds(answers)
    await call.write(text_message(" and the rest"))
    await call.write(flush_message("b"))
    await call.done_writing()
    answers += await rest_of(call)
    check_invariants(answers)
    assert [answer.flushed.id for answer in answers if answer.HasField("flushed")] == ["a", "b"]


async def test_cancelling_while_reading_ends_the_synthesis(service, stubs):
    call = stubs.speech.StreamSpeech(iter([config_message(), text_message(SENTENCE * 200)]))
    while not (await call.read()).HasField("audio"):
        pass
    call.cancel()
    await until(lambda: service.calls.in_flight == 0)


async def test_cancelling_while_the_service_is_blocked_on_a_write_ends_the_synthesis(service, stubs):
    audio_format = media_pb2.AudioFormat(sample_rate_hertz=48000)
    call = stubs.speech.StreamSpeech(iter([config_message(format=audio_format), text_message(SENTENCE * 200)]))
    await call.read()
    # Nobody reads on, so flow control fills up and the service's write blocks; 200 sentences are far more than fit.
    await asyncio.sleep(1.0)
    assert service.calls.in_flight == 1
    call.cancel()
    await until(lambda: service.calls.in_flight == 0)


async def test_the_deadline_ends_a_stream_without_a_summary(service, stubs):
    options = fault(kind="stall", after_chunks=2, seconds=600)
    call = stubs.speech.StreamSpeech(
        iter([config_message(provider_options=options), text_message(SENTENCE)]), timeout=1.0
    )
    seen, raised = await read_to_failure(call)
    assert raised.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "summary" not in kinds(seen)
    await until(lambda: service.calls.in_flight == 0)


@pytest.mark.parametrize(
    ("fields", "code", "reason", "before"),
    [
        ({"kind": "unavailable"}, grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE", []),
        ({"kind": "disconnect", "after_chunks": 0}, grpc.StatusCode.UNAVAILABLE, "PROVIDER_DISCONNECTED", ["started"]),
        (
            {"kind": "disconnect", "after_chunks": 3},
            grpc.StatusCode.UNAVAILABLE,
            "PROVIDER_DISCONNECTED",
            ["started", "audio", "audio", "audio"],
        ),
        ({"kind": "crash"}, grpc.StatusCode.INTERNAL, "INTERNAL", []),
    ],
)
async def test_a_dying_provider_never_looks_like_a_finished_stream(service, stubs, fields, code, reason, before):
    call = stubs.speech.StreamSpeech(
        iter([config_message(provider_options=fault(**fields)), text_message(SENTENCE * 3)])
    )
    seen, raised = await read_to_failure(call)
    failed = client.failure(raised)
    assert (failed.code, failed.reason) == (code, reason)
    assert kinds(seen) == before
    await until(lambda: service.calls.in_flight == 0)


async def test_a_synthesis_that_breaks_off_gives_no_audio(stubs):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.speech.SynthesizeSpeech(
            speech_service_pb2.SynthesizeSpeechRequest(
                text=SENTENCE,
                config=speech_service_pb2.SpeechConfig(provider_options=fault(kind="disconnect", after_chunks=2)),
            )
        )
    assert client.failure(raised.value).reason == "PROVIDER_DISCONNECTED"


async def test_after_half_close_the_client_can_send_no_more_and_nothing_is_lost(stubs):
    call = stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message(SENTENCE))
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(text_message("too late"))
    answers = await rest_of(call)
    check_invariants(answers)
    assert answers[-1].summary.receipt.usage.characters == len(SENTENCE)


async def test_without_the_espeak_wheel_speech_is_not_among_the_capabilities(tmp_path):
    # The server image has no wheel; a process that cannot import it is in the same position.
    program = "import sys; sys.modules['espeakng_loader'] = None; from pixvox.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        started = {}
        while started.get("event") != "serving":
            started = json.loads(await process.stderr.readline())
        target = started["listen"]
        async with stubs_of(target) as stubs:
            models = (await stubs.models.ListModels(model_service_pb2.ListModelsRequest())).models
            with pytest.raises(grpc.RpcError) as raised:
                await spoken(stubs, [config_message(), text_message("hello")])
    finally:
        process.terminate()
        await process.communicate()
    assert not [model for model in models if model.HasField("stream_speech")]
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PROVIDER")
