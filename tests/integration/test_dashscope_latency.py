"""How soon audio passes through: a vendor that paces its pieces, and when each of them reaches the caller."""

from __future__ import annotations

import asyncio
import statistics
import time

import msgspec
import pytest

from calling import config_message, settings_for_tests, stubs_of, text_message
from emulated import provider_table
from pixvox import server
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator
from pixvox.v1 import media_pb2, model_service_pb2

# A piece has 100 ms of audio and comes every 100 ms; a letter lasts 60 ms.
PACE = Behaviour(chunk_milliseconds=100, chunk_interval=0.1)
TEXT = "Sixteen letters. "
PIECES = -(-len(TEXT) * 60 // 100)


async def arrivals(stubs, **fields):
    """Times at which the audio messages of a call reached its caller."""
    call = stubs.speech.StreamSpeech(iter([config_message(**fields), text_message(TEXT)]))
    return [time.monotonic() async for answer in call if answer.HasField("audio")]


@pytest.mark.parametrize("calls", [1, 20])
@pytest.mark.parametrize("model", ["qwen3-tts-flash-realtime", "qwen3-tts-flash"])
async def test_no_piece_of_audio_waits_for_a_later_one(model, calls, capsys):
    async with DashScopeEmulator(behaviour=PACE) as vendor:
        chosen = msgspec.structs.replace(settings_for_tests(), providers={"qwen": provider_table(vendor)})
        async with server.running(chosen) as service, stubs_of(service.target) as stubs:
            await arrivals(stubs, model=model)
            # Voices tell the calls apart at the vendor.
            voices = [voice.id for voice in (await _model(stubs, model)).stream_speech.voices][:calls]
            received = await asyncio.gather(*(arrivals(stubs, model=model, voice=voice) for voice in voices))
        sent = {_voice(record): record.chunks_at for record in vendor.requests[1:]}
    added = []
    for voice, times in zip(voices, received, strict=True):
        assert len(times) == len(sent[voice]) == PIECES
        added.append([arrived - left for arrived, left in zip(times, sent[voice], strict=True)])
        for arrived, next_left in zip(times, sent[voice][1:], strict=False):
            assert arrived < next_left
    with capsys.disabled():
        print(
            f"\n{model}, {calls} at once: {_described('first', [one[0] for one in added])}; "
            f"{_described('all', [value for one in added for value in one])}"
        )


async def test_a_frame_of_an_encoding_waits_for_no_more_than_it_needs():
    # A page of Opus is 20 ms, and the codec looks 6.5 ms ahead: every piece of 100 ms gives pages at once.
    audio_format = media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_OGG_OPUS)
    async with DashScopeEmulator(behaviour=PACE) as vendor:
        chosen = msgspec.structs.replace(settings_for_tests(), providers={"qwen": provider_table(vendor)})
        async with server.running(chosen) as service, stubs_of(service.target) as stubs:
            await arrivals(stubs, format=audio_format)
            times = await arrivals(stubs, format=audio_format)
        left = vendor.requests[1].chunks_at
    for arrived, next_left in zip(times, left[1:], strict=False):
        assert arrived < next_left


async def _model(stubs, name):
    return (await stubs.models.GetModel(model_service_pb2.GetModelRequest(model=name))).model


def _voice(record):
    if record.operation == "speech_sse":
        return record.json["input"]["voice"]
    return record.events[0].json["session"]["voice"]


def _described(what, seconds):
    ordered = sorted(1000 * one for one in seconds)
    at = {"p50": statistics.median(ordered), "p99": ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]}
    parts = ", ".join(f"{name} {value:.2f}" for name, value in (at | {"max": ordered[-1]}).items())
    return f"{what} piece(s) {parts} ms (n={len(ordered)})"
