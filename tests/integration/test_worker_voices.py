"""Voices for emulated workers, which keep none: made, kept by the catalogue, and spoken with, through the service."""

from __future__ import annotations

import base64
import io
import wave

import pytest

from calling import config_message, spoken, text_message
from emulated import failure_of
from pixvox.media.audio import decoded
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.worker import Cut, Refused, WorkerEmulator, reference_voice
from pixvox.v1 import media_pb2, voice_service_pb2_grpc
from pixvox.v1.voice_service_pb2 import DeleteVoiceRequest, ListVoicesRequest
from recording import cloning, designing, recording
from workers import CLONER, DESIGNER, broken, pcm_of, service

TEXT = "This is my own voice."


def voices_of(stubs):
    return voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)


async def said(stubs, voice, text=TEXT):
    return await spoken(stubs, [config_message(voice=voice.id), text_message(text)])


def reference_in(asked):
    """The recording of a request for speech."""
    kind, _, packed = str(asked.body["ref_audio"]).partition(",")
    assert kind == "data:audio/wav;base64"
    return base64.b64decode(packed)


@pytest.mark.parametrize("transcript", ["", "aaaa"])
async def test_a_clone_asks_no_worker_and_speaks_ever_after_from_its_recording(transcript):
    given = recording(80, encoding=media_pb2.AUDIO_ENCODING_MP3, rate=48_000)
    request = cloning(audio=media_pb2.MediaInput(data=given), model=CLONER, transcript=transcript, language_code="de")
    async with WorkerEmulator() as worker, service(worker) as stubs:
        voice = (await voices_of(stubs).CloneVoice(request)).voice
        assert not worker.count()
        answers = await said(stubs, voice)
    [asked] = worker.of("speech")
    data = reference_in(asked)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
    assert abs(len(decoded(data)[0]) / 2 / 24_000 - 4.8) < 0.2
    assert asked.body["task_type"] == "Base"
    assert "voice" not in asked.body
    assert asked.body.get("ref_text", "") == transcript
    # Without a transcript the timbre alone is taken.
    assert asked.body.get("x_vector_only_mode", False) is not bool(transcript)
    assert pcm_of(answers) == expected_pcm(TEXT, reference_voice(data, transcript))
    assert answers[0].started.voice == voice.id


async def test_a_designed_voice_is_its_preview_and_speaks_from_it():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        request = designing(model=CLONER, language_code="en")
        answer = await voices_of(stubs).DesignVoice(request)
        [asked] = worker.of("speech")
        assert asked.body == {
            "model": DESIGNER,
            "input": request.preview_text,
            "task_type": "VoiceDesign",
            "instructions": request.description,
            "language": "English",
            "response_format": "pcm",
            "sample_rate": 24_000,
            "stream": True,
            "stream_format": "sse",
        }
        preview = expected_pcm(request.preview_text, request.description)
        assert decoded(answer.preview)[0] == preview
        assert answer.voice.receipt.usage.voices == 1
        answers = await said(stubs, answer.voice)
    data = reference_in(worker.of("speech")[1])
    assert decoded(data)[0] == preview
    assert worker.of("speech")[1].body["ref_text"] == request.preview_text
    assert pcm_of(answers) == expected_pcm(TEXT, reference_voice(data, request.preview_text))


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (Refused(400, "invalid_request_error", "instructions"), "INVALID_PARAMETER"),
        (Cut(after=1), "PROVIDER_DISCONNECTED"),
        (Cut(), "OUTCOME_UNKNOWN"),
    ],
)
async def test_a_design_that_fails_is_asked_for_once_and_leaves_no_voice(effect, reason):
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("speech", effect)
        failed = await failure_of(voices_of(stubs).DesignVoice(designing(model=CLONER)))
        listed = await voices_of(stubs).ListVoices(ListVoicesRequest(provider="gpu", model=CLONER))
    assert failed.reason == reason
    assert worker.count() == 1
    assert not listed.voices


async def test_a_voice_that_is_purged_is_gone_although_no_worker_has_it():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        voice = (await voices_of(stubs).CloneVoice(cloning(model=CLONER))).voice
        await voices_of(stubs).DeleteVoice(DeleteVoiceRequest(id=voice.id, purge=True))
        _, failed = await broken(stubs, config_message(voice=voice.id), text_message(TEXT))
    assert failed.reason in {"VOICE_DELETED", "VOICE_NOT_FOUND"}
    assert not worker.count()


async def test_the_model_of_made_voices_speaks_with_no_other():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        _, failed = await broken(stubs, config_message(model=CLONER, voice="Ryan"), text_message(TEXT))
    assert failed.reason == "VOICE_MODEL_MISMATCH"
    assert not worker.count()
