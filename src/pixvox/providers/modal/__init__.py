"""Modal: our own worker on rented GPUs, which sleep when nobody asks; pictures made and edited, and speech.

Written from the project's reference of Modal's edge, never against the service itself. Quirks:

- A web function holds a request while a container starts, and after 150 seconds redirects it to where its result will be.
- A Server refuses requests while no container is up, and that refusal is what starts one.
- The edge's own refusals are plain text with the statuses that the worker uses for something else.
- A spent budget comes as 429 like a rate limit, and waiting does not help.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from pixvox import telemetry
from pixvox.errors import PixvoxError
from pixvox.provider import ImageResult
from pixvox.providers.modal import wire
from pixvox.providers.modal.config import FUNCTION_READ_SECONDS, Config
from pixvox.providers.modal.deployment import Deployment
from pixvox.providers.modal.endpoints import Endpoint
from pixvox.providers.modal.jobs import Jobs
from pixvox.providers.modal.legacy_design import LegacyDesigner
from pixvox.providers.modal.makings import Makings
from pixvox.providers.modal.models import BUILT_IN, speaks, table
from pixvox.providers.modal.speech import SPEECH_MODEL, JobSpeech, speech_model
from pixvox.providers.modal.worker_speech import WorkerDesigner, WorkerSpeech
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Blob, MadeVoice, Recording, Reference, SpeechInput, SpeechStream, Warmth
    from pixvox.providers.modal.deployment import Done
    from pixvox.providers.modal.makings import Designer
    from pixvox.providers.modal.wire import Request
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

__all__ = ["Config", "Modal", "SpeakingModal", "create"]

_JSON = {"content-type": "application/json"}


class Modal:
    """The provider: one deployment and its models."""

    def __init__(self, config: Config, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet."""
        # An operator of the speech app alone has no pictures.
        served = (config.models or BUILT_IN) if config.url or not config.speaks else {}
        self._models = table(served, designs=config.designs)
        self._deployment = Deployment(config, upstream, clock)
        self._lane = config.kind_of_endpoint

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table."""
        return self._models

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return self._deployment.unready()

    def warmth(self) -> Warmth:
        """Return how the deployment is; see `pixvox.provider.Warmable`."""
        return self._deployment.warmth()

    async def warm_up(self) -> None:
        """Start a container; see `pixvox.provider.Warmable`."""
        await self._deployment.warm_up()

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make pictures; see `pixvox.provider.ImageGenerator`."""
        telemetry.took_lane(self._lane)
        size = wire.size_asked(request, model.generate_image.output)
        body = wire.generation(request, model.id, size)
        done = await self._deployment.call("/v1/images/generations", body, _JSON, "image generation")
        images = await asyncio.to_thread(_read_all, done)
        return _result(images, request, done, size)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit one picture; no model takes a mask or several pictures, so that there are none."""
        telemetry.took_lane(self._lane)
        size = wire.size_asked(request, model.edit_image.output)
        body, content_type = wire.edit(request, images[0], model.id, size)
        done = await self._deployment.call("/process", body, {"content-type": content_type}, "image editing")
        image = await asyncio.to_thread(_read_one, done)
        return _result((image,), request, done, size)

    async def aclose(self) -> None:
        """Do nothing: connections are those of the service."""


class SpeakingModal(Modal):
    """The same with models that speak: of the deployment, of the earlier speech app beside it, or of that alone."""

    def __init__(self, config: Config, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet."""
        super().__init__(config, upstream, clock)
        spoken = WorkerSpeech(self._deployment)
        self._speech: dict[str, WorkerSpeech | JobSpeech] = {
            name: spoken for name, served in config.models.items() if speaks(served)
        }
        if config.speaks:
            self._models.append(speech_model(config.voices, designs=config.designs))
            self._speech[SPEECH_MODEL] = _job_speech(config, upstream, clock)
        self._alone = config.speaks and not config.url
        self._makings = Makings(_designer(config, upstream, clock))

    def unready(self) -> str:
        """Return why every call fails, empty if none has to: without a deployment there is only no picture."""
        return "" if self._alone else super().unready()

    def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak; see `pixvox.provider.SpeechStreamer`."""
        return self._speech[model.id].stream_speech(config, text, model)

    def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak with a voice of the catalogue; see `pixvox.provider.ReferenceSpeaker`."""
        return self._speech[model.id].stream_speech_as(reference, config, text, model)

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice; see `pixvox.provider.VoiceCloner`."""
        return await self._makings.clone_voice(request, recording, model)

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice and its preview; see `pixvox.provider.VoiceDesigner`."""
        return await self._makings.design_voice(request, model)


def create(config: Config, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> Modal:
    """Return the provider, without asking the deployment anything; the clock tells the time in seconds."""
    if config.speaks or any(speaks(served) for served in config.models.values()):
        return SpeakingModal(config, upstream, clock)
    return Modal(config, upstream, clock)


def _job_speech(config: Config, upstream: Upstream, clock: Callable[[], float]) -> JobSpeech:
    clone = _function(config.job_clone, config, upstream, clock) if config.job_clone else None
    return JobSpeech(Jobs(config, upstream), config.voices, clone, config.job_clone_characters)


def _designer(config: Config, upstream: Upstream, clock: Callable[[], float]) -> Designer | None:
    if config.design_url:
        return WorkerDesigner(Deployment(config, upstream, clock, config.design_url), config.design_model)
    return LegacyDesigner(_function(config.voice_design, config, upstream, clock)) if config.voice_design else None


def _function(url: str, config: Config, upstream: Upstream, clock: Callable[[], float]) -> Endpoint:
    return Endpoint(url, upstream, read_seconds=FUNCTION_READ_SECONDS, token=config.token, clock=clock)


def _read_all(done: Done) -> tuple[Blob, ...]:
    try:
        return wire.generated(done.body)
    except PixvoxError as error:
        raise _named(error, done) from error


def _read_one(done: Done) -> Blob:
    try:
        return wire.edited(done.body)
    except PixvoxError as error:
        raise _named(error, done) from error


def _named(error: PixvoxError, done: Done) -> PixvoxError:
    named = {"provider_code": "", "provider_request_id": done.request_id}
    return type(error)(error.message, metadata=named | error.metadata)


def _result(images: tuple[Blob, ...], request: Request, done: Done, size: tuple[int, int] | None) -> ImageResult:
    receipt = media_pb2.Receipt(provider_request_id=done.request_id, usage=media_pb2.Usage(images=len(images)))
    return ImageResult(images, receipt, _warnings(request), size)


def _warnings(request: Request) -> tuple[media_pb2.Warning, ...]:
    return tuple(
        media_pb2.Warning(
            reason=media_pb2.WARNING_REASON_FIELD_IGNORED,
            field=field,
            message="The worker takes the prompt as it is, and puts no mark on pictures.",
        )
        for field in ("prompt_extend", "watermark")
        if getattr(request, field)
    )
