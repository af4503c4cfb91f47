"""What tests say to a running service."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import uuid
from typing import TYPE_CHECKING

import grpc
from google.protobuf import struct_pb2
from PIL import Image

from pixvox import client, settings
from pixvox.v1 import image_service_pb2_grpc, model_service_pb2_grpc, speech_service_pb2, speech_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path


# The folder of the services' databases, which the session fills in.
databases: list[Path] = []


def settings_for_tests(**overrides: object) -> settings.Settings:
    """Settings on free ports, untouched by the machine's environment."""
    dotted = {"server.listen": "127.0.0.1:0", "server.http": "127.0.0.1:0", "server.grace_seconds": 5.0}
    dotted["database.url"] = f"sqlite+aiosqlite:///{databases[0]}/{uuid.uuid4().hex}.db"
    dotted |= {name.replace("__", "."): value for name, value in overrides.items()}
    return settings.load(environment={}, overrides=dotted)


class Stubs:
    """All stubs over one channel."""

    def __init__(self, target: str, channel: grpc.aio.Channel) -> None:
        self.target = target
        self.channel = channel
        self.images = image_service_pb2_grpc.ImageServiceStub(channel)
        self.speech = speech_service_pb2_grpc.SpeechServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)


@contextlib.asynccontextmanager
async def stubs_of(target: str) -> AsyncIterator[Stubs]:
    async with client.connect_aio(target) as channel:
        yield Stubs(target, channel)


def fault(**fields: object) -> struct_pb2.Struct:
    """Provider options that make the sandbox fail as told."""
    options = struct_pb2.Struct()
    options.update({"sandbox": {"fault": fields}})
    return options


def photo(width: int = 64, height: int = 48, image_format: str = "PNG") -> bytes:
    """The file of a picture whose left half is red and whose right half is blue."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    file = io.BytesIO()
    picture.save(file, image_format)
    return file.getvalue()


def config_message(**fields: object) -> speech_service_pb2.StreamSpeechRequest:
    return speech_service_pb2.StreamSpeechRequest(config=speech_service_pb2.SpeechConfig(**fields))


def text_message(text: str) -> speech_service_pb2.StreamSpeechRequest:
    return speech_service_pb2.StreamSpeechRequest(text=text)


def flush_message(identifier: str) -> speech_service_pb2.StreamSpeechRequest:
    return speech_service_pb2.StreamSpeechRequest(flush=speech_service_pb2.Flush(id=identifier))


async def spoken(
    stubs: Stubs, messages: Iterable[speech_service_pb2.StreamSpeechRequest], **options: object
) -> list[speech_service_pb2.StreamSpeechResponse]:
    """Everything that a stream answers to messages sent at once."""
    return [answer async for answer in stubs.speech.StreamSpeech(iter(messages), **options)]


def kinds(answers: Iterable[speech_service_pb2.StreamSpeechResponse]) -> list[str | None]:
    return [answer.WhichOneof("message") for answer in answers]


async def rest_of(call: grpc.aio.StreamStreamCall) -> list[speech_service_pb2.StreamSpeechResponse]:
    """What is left of a stream that was read message by message."""
    answers = []
    while (answer := await call.read()) is not grpc.aio.EOF:
        answers.append(answer)
    return answers


def check_invariants(answers: list[speech_service_pb2.StreamSpeechResponse]) -> None:
    """What holds for every stream that ended with OK."""
    order = kinds(answers)
    assert order[0] == "started"
    assert order[-1] == "summary"
    assert order.count("started") == order.count("summary") == 1
    chunks = [answer.audio for answer in answers if answer.HasField("audio")]
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.data for chunk in chunks)
    offsets = [chunk.offset_samples for chunk in chunks]
    assert offsets == sorted(offsets)
    summary = answers[-1].summary
    data = b"".join(chunk.data for chunk in chunks)
    assert summary.chunks == len(chunks)
    assert summary.size_bytes == len(data)
    assert summary.sha256 == hashlib.sha256(data).hexdigest()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for `condition()` to become true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
