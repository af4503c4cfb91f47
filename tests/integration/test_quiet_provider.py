"""A provider whose speech just ends, without its receipt, is never taken for one that finished."""

from __future__ import annotations

import sys

import grpc
import msgspec
import pytest

from calling import config_message, kinds, settings_for_tests, stubs_of, text_message
from pixvox import client, server
from pixvox.v1.speech_service_pb2 import SynthesizeSpeechRequest

QUIET = '''
"""Speaks two pieces and ends."""
import contextlib
import msgspec
from pixvox.provider import SpeechStream
from pixvox.v1 import media_pb2, model_service_pb2


class Config(msgspec.Struct, frozen=True):
    pass


class Quiet:
    def models(self):
        speech = model_service_pb2.StreamSpeechCapability(
            encodings=[media_pb2.AUDIO_ENCODING_PCM_S16LE], sample_rates_hertz=[24000]
        )
        return [model_service_pb2.Model(id="quiet", stream_speech=speech)]

    @contextlib.asynccontextmanager
    async def stream_speech(self, config, text, model):
        async def events():
            yield bytes(480)
            yield bytes(480)

        yield SpeechStream(voice="none", sample_rate_hertz=24000, events=events())

    async def aclose(self):
        pass


def create(config, upstream):
    return Quiet()
'''


@pytest.fixture
async def stubs(tmp_path, monkeypatch):
    (tmp_path / "quiet_provider.py").write_text(QUIET)
    info = tmp_path / "quiet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quiet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pixvox.providers]\nquiet = quiet_provider\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = msgspec.structs.replace(settings_for_tests(), providers={"quiet": {"kind": "quiet"}})
    async with server.running(settings) as service, stubs_of(service.target) as reached:
        yield reached
    del sys.modules["quiet_provider"]


async def test_a_stream_that_just_ends_has_no_summary_and_is_not_ok(stubs):
    seen = []
    with pytest.raises(grpc.RpcError) as raised:  # noqa: PT012 - what came before the failure counts
        async for answer in stubs.speech.StreamSpeech(iter([config_message(), text_message("Hello.")])):
            seen.append(answer)  # noqa: PERF401
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_DISCONNECTED")
    assert kinds(seen) == ["started", "audio", "audio"]


async def test_a_whole_synthesis_that_just_ends_gives_no_audio(stubs):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.speech.SynthesizeSpeech(SynthesizeSpeechRequest(text="Hello."))
    assert client.failure(raised.value).reason == "PROVIDER_DISCONNECTED"
