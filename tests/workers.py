"""A real service whose provider is a worker, emulated or real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

import serving
from pixvox import client

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from calling import Stubs
    from pixvox.testing.worker import WorkerEmulator

PAINTER = "Qwen-Image"
EDITOR = "Qwen-Image-Edit"
SPEAKER = "Qwen3-TTS-12Hz-1.7B-CustomVoice"
CLONER = "Qwen3-TTS-12Hz-1.7B-Base"
DESIGNER = "Qwen3-TTS-12Hz-1.7B-VoiceDesign"
MODELS = {
    PAINTER: {"steps": 4},
    EDITOR: {"steps": 4, "max_images": 3},
    SPEAKER: {},
    CLONER: {"design_name": DESIGNER},
}


def table(*workers: WorkerEmulator, **fields: object) -> dict[str, object]:
    """The settings of a provider that asks these workers."""
    found = {"kind": "worker", "models": MODELS}
    addresses = {"urls": [one.url for one in workers]}
    if len(workers) == 1:
        addresses = {"url": workers[0].url}
    return found | addresses | fields


def service(*workers: WorkerEmulator, **fields: object) -> AbstractAsyncContextManager[Stubs]:
    """Stubs for a service that asks these workers; `fields` are those of the provider's settings."""
    settings = serving.settings_with({"gpu": table(*workers, **fields)}, {}, target_defaults=serving.UNLIMITED)
    return serving.serving(settings)


async def broken(stubs: Stubs, *messages: object, **options: object) -> tuple[list, client.Failure]:
    """What a stream answered before it failed, and how it failed."""
    seen = []
    try:
        async for answer in stubs.speech.StreamSpeech(iter(messages), **options):
            seen.append(answer)  # noqa: PERF401 - what came before the failure counts
    except grpc.RpcError as error:
        return seen, client.failure(error)
    raise AssertionError("the stream ended with OK")


def pcm_of(answers: list) -> bytes:
    """The audio of a stream."""
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
