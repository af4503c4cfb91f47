"""The sandbox: an embedded provider that really makes pictures and speech, for trial, with no key and at no cost.

It draws a prompt, applies the plain English of an instruction to a picture, and speaks with espeak-ng
(https://github.com/espeak-ng/espeak-ng, docs/guide.md and src/include/espeak-ng/speak_lib.h, 1.52). Quirks:

- Its pictures carry a visible mark, so that nobody takes them for a model's work.
- It has speech only where the wheel `espeakng_loader` is installed, which is GPL-3.0 and therefore optional.
- espeak-ng reads Japanese in kana only; Han characters in Japanese text are spelt out as "Chinese letter".
- A request can ask it to fail; see `pixvox.providers.sandbox.faults`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from pixvox.providers.sandbox import espeak
from pixvox.providers.sandbox.faults import options_of, rehearse
from pixvox.providers.sandbox.images import SandboxImages, image_models
from pixvox.providers.sandbox.sleep import Sleep
from pixvox.providers.sandbox.speech import SandboxSpeech, speech_models

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pixvox.provider import Blob, ImageResult, SpeechInput, SpeechStream, Warmth
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the settings can say of a sandbox.

    Attributes:
        faults: Whether a request may ask for a failure. A request that asks where it may not is refused.
        cold_start_seconds: How long it takes to start when it sleeps, for rehearsals; 0 never sleeps.
        idle_seconds: Without a call for so long it falls asleep.
    """

    faults: bool = True
    cold_start_seconds: float = 0.0
    idle_seconds: float = 300.0


class Sandbox:
    """The provider without speech."""

    def __init__(self, config: Config) -> None:
        """Load nothing yet: fonts, codecs and espeak-ng wait for the first call that needs them."""
        self._faults = config.faults
        self._images = SandboxImages()
        self._sleep = Sleep(config.cold_start_seconds, config.idle_seconds)

    def warmth(self) -> Warmth:
        """Return whether it sleeps; see `pixvox.provider.Warmable`."""
        return self._sleep.warmth()

    async def warm_up(self) -> None:
        """Wake it; see `pixvox.provider.Warmable`."""
        await self._sleep.wake()

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table."""
        return image_models()

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Draw the prompt; see `pixvox.provider.ImageGenerator`."""
        await self._sleep.wake()
        await rehearse(options_of(request, faults=self._faults).fault)
        return await self._images.generate_image(request, model)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Apply the instruction; see `pixvox.provider.ImageEditor`."""
        await self._sleep.wake()
        await rehearse(options_of(request, faults=self._faults).fault)
        return await self._images.edit_image(request, images, mask, model)

    async def aclose(self) -> None:
        """End the threads."""
        await self._sleep.aclose()
        await self._images.aclose()


class SpeakingSandbox(Sandbox):
    """The provider with speech."""

    def __init__(self, config: Config) -> None:
        """Load nothing yet."""
        super().__init__(config)
        self._speech = SandboxSpeech(faults=config.faults)

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table."""
        return [*super().models(), *speech_models()]

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak; see `pixvox.provider.SpeechStreamer`."""
        await self._sleep.wake()
        async with self._speech.stream_speech(config, text, model) as stream:
            yield stream

    async def aclose(self) -> None:
        """End the threads and the espeak-ng process."""
        await self._speech.aclose()
        await super().aclose()


def create(config: Config, upstream: Upstream) -> Sandbox:
    """Return the provider, with speech where espeak-ng is installed; it does not need the network."""
    return SpeakingSandbox(config) if espeak.available() else Sandbox(config)
