"""DashScope, Alibaba Cloud Model Studio: Qwen and Wan pictures, Qwen speech, cloned and designed voices.

Written from these pages of its documentation, never against the service itself: "Qwen - text-to-image API reference", "Qwen
- image editing API reference", "Wan text-to-image V2 API reference", "Wan 2.6 image generation and editing", "Error codes",
"Rate limits", "Model pricing", "Regions and endpoints". Quirks:

- A key is good in one region alone; elsewhere it is refused like a wrong one.
- A reply with status 200 can be a failure: it has a code, or its task has failed, or it lacks some of the pictures.
- Prompts that are too long are cut off silently, so the capability table refuses them; defaults differ between models, so
  they are always sent.
- Results are behind addresses that work for 24 hours.
- Bills that are overdue and quotas of voices come as 429 like a rate limit, and waiting does not help.
- The vendor's own client sends a prompt that happens to be the path of a file as that file; it is not used here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.config import Config
from pixvox.providers.dashscope.images import DashScopeImages
from pixvox.providers.dashscope.speech import DashScopeSpeech
from pixvox.providers.dashscope.voices import DashScopeVoices, with_voices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Blob, ImageResult, MadeVoice, Recording, SpeechInput, SpeechStream
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

__all__ = ["Config", "DashScope", "create"]


class DashScope:
    """The provider: its parts share one account."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        """Open nothing yet."""
        self._region = config.region
        self._account = Account(config, upstream)
        self._images = DashScopeImages(config, self._account)
        self._speech = DashScopeSpeech(
            self._account,
            lane=config.speech_lane,
            prewarm=config.prewarm,
            max_text_characters=config.max_text_chars,
        )
        self._voices = DashScopeVoices(self._account)
        self._targets = (config.vc_target_model, config.vd_target_model)

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table."""
        clone_target, design_target = self._targets
        speech = with_voices(self._speech.models(), clone_target=clone_target, design_target=design_target)
        return [*self._images.models(), *speech]

    @property
    def region(self) -> str:
        """The region of the account."""
        return self._region

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return self._account.unready()

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

    async def delete_voice(self, voice: voice_service_pb2.Voice) -> None:
        """Delete a voice for good; see `pixvox.provider.VoiceDeleter`."""
        await self._voices.delete_voice(voice)

    async def find_voices(self, voice: voice_service_pb2.Voice) -> Sequence[MadeVoice]:
        """Return the voices that bear the mark of the call that began to make `voice`."""
        return await self._voices.find_voices(voice)

    async def aclose(self) -> None:
        """Close the sessions that are kept open; other connections are those of the service."""
        await self._speech.aclose()


def create(config: Config, upstream: Upstream) -> DashScope:
    """Return the provider, without asking the vendor anything."""
    return DashScope(config, upstream)
