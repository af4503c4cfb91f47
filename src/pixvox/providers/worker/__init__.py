"""Workers: containers of our own with Qwen-Image, Qwen-Image-Edit or Qwen3-TTS on a GPU; `docs/worker.md`.

The wire is `docs/worker-openapi.json`. What is particular:

- A container has one model loaded. A model may have several containers, of which each call goes to the least busy one.
- Pictures come as events, so that their steps are seen and one that does not go on is noticed; speech comes while it is made.
- A worker is told how long the caller waits, and stops when nobody does.
- A container keeps no voices. A made voice is a recording that goes out with every text that it speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.providers.worker.capabilities import capability_table
from pixvox.providers.worker.config import Config
from pixvox.providers.worker.fleet import Fleet
from pixvox.providers.worker.images import WorkerImages
from pixvox.providers.worker.process import ProcessImages
from pixvox.providers.worker.speech import WorkerSpeech
from pixvox.providers.worker.voices import WorkerVoices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Blob, ImageResult, MadeVoice, Recording, Reference, SpeechInput, SpeechStream
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

__all__ = ["Config", "Worker", "create"]


class Worker:
    """The provider: pictures, speech and voices of the same workers."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        """Open nothing yet."""
        self._fleet = Fleet(config, upstream)
        designs = {name: bool(config.designers_of(name)) for name in config.models}
        bare = config.contract == "process"
        self._models = capability_table(config.models, bare=bare, designs=designs)
        self._images: WorkerImages | ProcessImages = (
            ProcessImages(self._fleet, jobs=config.jobs, poll_seconds=config.poll_seconds)
            if bare
            else WorkerImages(self._fleet, config.stall_seconds)
        )
        self._speech = WorkerSpeech(self._fleet)
        self._voices = WorkerVoices(self._fleet)

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table."""
        return self._models

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return self._fleet.unready()

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make pictures; see `pixvox.provider.ImageGenerator`."""
        return await self._images.generate_image(request, model)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit pictures; see `pixvox.provider.ImageEditor`."""
        return await self._images.edit_image(request, images, mask, model)

    def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak; see `pixvox.provider.SpeechStreamer`."""
        return self._speech.stream_speech(config, text, model)

    def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak as in a recording; see `pixvox.provider.ReferenceSpeaker`."""
        return self._speech.stream_speech_as(reference, config, text, model)

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice from a recording; see `pixvox.provider.VoiceCloner`."""
        return await self._voices.clone_voice(request, recording, model)

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice from a description; see `pixvox.provider.VoiceDesigner`."""
        return await self._voices.design_voice(request, model)

    async def aclose(self) -> None:
        """Nothing is open but connections of the service."""


def create(config: Config, upstream: Upstream) -> Worker:
    """Return the provider, without asking the workers anything."""
    return Worker(config, upstream)
