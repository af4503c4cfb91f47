"""Engines behind OpenAI's HTTP API: OpenAI, vLLM-Omni, SGLang-diffusion, LocalAI, Xinference, speaches, Kokoro-FastAPI.

Written from OpenAI's specification (https://github.com/openai/openai-openapi) and the sources of the servers, never against
OpenAI itself. Quirks, of which `dialects` has the rest:

- Names are shared and meanings are not: the mask's part, the default form of results, what ``stream`` does.
- Unknown members are ignored by some, which loses what was asked for silently, and refused by others.
- An answer to ``stream`` is events from one version of vLLM-Omni on and bare samples before; its type decides.
- Speech takes a whole text. The end of bare samples says nothing of whether they are all; events say so.
- No engine is asked to keep a voice: a voice that is made for one is a recording, which goes with each text that it speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.providers.openai.capabilities import capability_table
from pixvox.providers.openai.config import Config
from pixvox.providers.openai.engine import Engine
from pixvox.providers.openai.images import OpenAIImages
from pixvox.providers.openai.speech import OpenAISpeech
from pixvox.providers.openai.voices import OpenAIVoices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Blob, ImageResult, MadeVoice, Recording, Reference, SpeechInput, SpeechStream
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

__all__ = ["Config", "OpenAI", "create"]


class OpenAI:
    """The provider: pictures and speech of the same engines."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        """Open nothing yet."""
        self._engine = Engine(config, upstream)
        self._images = OpenAIImages(self._engine)
        self._speech = OpenAISpeech(self._engine)

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table."""
        return capability_table(self._engine.dialect, self._engine.tables.values())

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return self._engine.unready()

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

    async def aclose(self) -> None:
        """Nothing is open but connections of the service."""


class CloningOpenAI(OpenAI):
    """The same with models that speak by recordings."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        """Open nothing yet."""
        super().__init__(config, upstream)
        self._voices = OpenAIVoices(self._engine)

    def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak with the voice of a recording; see `pixvox.provider.ReferenceSpeaker`."""
        return self._speech.stream_speech(config, text, model, reference)

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Take a recording for a voice; see `pixvox.provider.VoiceCloner`."""
        return await self._voices.clone_voice(request, recording, model)


class DesigningOpenAI(CloningOpenAI):
    """The same with an engine that designs voices for them."""

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Design a voice; see `pixvox.provider.VoiceDesigner`."""
        return await self._voices.design_voice(request, model)


def create(config: Config, upstream: Upstream) -> OpenAI:
    """Return the provider, without asking the engines anything."""
    if any(table.designs for table in config.models):
        return DesigningOpenAI(config, upstream)
    if any(table.checkpoint == "base" for table in config.models):
        return CloningOpenAI(config, upstream)
    return OpenAI(config, upstream)
