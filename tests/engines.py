"""Emulated engines behind OpenAI's HTTP API, each way in which each dialect speaks, and a service that asks them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

import serving
from pixvox import client
from pixvox.testing.openai import OpenAIEmulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from calling import Stubs
    from pixvox.v1 import speech_service_pb2

KEY = "sk-test"
QWEN = "Qwen/Qwen3-TTS-12Hz-1.7B"
TEXT = "Hello there. How are you today?"


@dataclass(frozen=True)
class Speaking:
    """One way in which one dialect speaks.

    `said` is what a request says beside its model, text and voice, in a call that names English as the language.
    """

    dialect: str
    sound: str
    model: str
    served: str
    voice: str
    said: Mapping[str, object]
    table: Mapping[str, object] = field(default_factory=dict)
    engine: Mapping[str, object] = field(default_factory=dict)
    lane: str = ""
    rate: int = 24_000

    def __str__(self) -> str:
        return f"{self.dialect}-{self.sound}" + ("-0.22" if self.engine.get("streams_events") is False else "")

    def emulator(self, **fields: object) -> OpenAIEmulator:
        return OpenAIEmulator(self.dialect, **({"models": (self.served,)} | dict(self.engine) | fields))

    def service(self, emulator: OpenAIEmulator, **fields: object) -> contextlib.AbstractAsyncContextManager[Stubs]:
        model = {"id": self.model} | dict(self.table)
        return serving.serving(settings(emulator, dialect=self.dialect, models=[model], **fields))


def settings(*emulators: OpenAIEmulator, **fields: object):
    """Settings with a provider named engine, which has these emulators."""
    urls = [emulator.base_url for emulator in emulators]
    places = {"base_url": urls[0]} if len(urls) == 1 else {"urls": urls}
    table = {"kind": "openai", "api_key": KEY} | places | fields
    return serving.settings_with({"engine": table}, {}, target_defaults=serving.UNLIMITED)


@contextlib.asynccontextmanager
async def speaking(way: Speaking, **fields: object) -> AsyncIterator[tuple[OpenAIEmulator, Stubs]]:
    """An emulator that speaks in a way, and a service that asks it."""
    async with way.emulator(**fields) as emulator, way.service(emulator) as stubs:
        yield emulator, stubs


def _vllm(sound: str, said: Mapping[str, object], lane: str, **engine: object) -> Speaking:
    said = {"response_format": "pcm", "task_type": "CustomVoice", "language": "English"} | dict(said)
    table = {} if lane == "sse" else {"sound": lane.replace("raw", "samples")}
    return Speaking("vllm_omni", sound, "qwen3-tts", f"{QWEN}-CustomVoice", "vivian", said, table, engine, lane)


_KOKORO = ("kokoro", "speaches-ai/Kokoro-82M-v1.0-ONNX", "af_heart")
_SPEACHES = {"response_format": "pcm", "sample_rate": 24_000}
_STREAM = {"stream": True}
_RAW = {"stream": True, "stream_format": "audio"}
_SAMPLES = {"sound": "samples"}

# The type of an answer decides how it is read, so that a version of vLLM-Omni that gives samples where events were asked
# for is another way.
WAYS = (
    Speaking(
        "openai",
        "events",
        "gpt-4o-mini-tts",
        "gpt-4o-mini-tts",
        "alloy",
        {"response_format": "pcm", "stream_format": "sse"},
        lane="sse",
    ),
    Speaking("openai", "samples", "tts-1", "tts-1", "alloy", {"response_format": "pcm"}, lane="raw"),
    _vllm("events", _STREAM, "sse"),
    _vllm("samples", _STREAM, "sse", streams_events=False),
    _vllm("samples", _RAW, "raw"),
    _vllm("forced samples", _RAW, "raw", streams_events=False),
    _vllm("whole", {}, "whole"),
    Speaking(
        "localai",
        "whole",
        "tts-1",
        "tts-1",
        "",
        {"response_format": "wav", "language": "en"},
        lane="whole",
        rate=22_050,
    ),
    Speaking(
        "localai",
        "samples",
        "tts-1",
        "tts-1",
        "",
        {"response_format": "wav", "language": "en", "stream": True},
        _SAMPLES,
        lane="raw",
        rate=22_050,
    ),
    Speaking(
        "xinference",
        "whole",
        "qwen3-tts",
        "Qwen3-TTS-12Hz-1.7B-CustomVoice",
        "vivian",
        {"response_format": "wav", "kwargs": '{"language":"english"}'},
        lane="whole",
    ),
    Speaking("speaches", "events", *_KOKORO, _SPEACHES | {"stream_format": "sse"}, lane="sse"),
    Speaking("speaches", "samples", *_KOKORO, _SPEACHES, _SAMPLES, lane="raw"),
    Speaking("kokoro", "samples", "kokoro", "kokoro", "af_heart", {"response_format": "pcm"} | _STREAM, lane="raw"),
    Speaking(
        "kokoro",
        "whole",
        "kokoro",
        "kokoro",
        "af_heart",
        {"response_format": "pcm", "stream": False},
        {"sound": "whole"},
        lane="whole",
    ),
)
STREAMING = tuple(way for way in WAYS if way.sound != "whole")


def way_of(name: str) -> Speaking:
    return next(way for way in WAYS if str(way) == name)


def pcm_of(answers: Iterable[speech_service_pb2.StreamSpeechResponse]) -> bytes:
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def broken(stubs: Stubs, *messages: object, **options: object):
    """What a stream answered before it failed, and how it failed."""
    seen = []
    try:
        async for answer in stubs.speech.StreamSpeech(iter(messages), **options):
            seen.append(answer)  # noqa: PERF401 - what came before the failure counts
    except grpc.RpcError as error:
        return seen, client.failure(error)
    raise AssertionError("the stream ended with OK")
