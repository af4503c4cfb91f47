"""Modal: our own worker on rented GPUs, which sleep when nobody asks; pictures made and edited, and speech by jobs.

Written from the project's reference of Modal's edge, never against the service itself. Quirks:

- A web function holds a request while a container starts, and after 150 seconds redirects it to where its result will be.
- A Server refuses requests while no container is up, and that refusal is what starts one.
- The edge's own refusals are plain text with the statuses that the worker uses for something else.
- A spent budget comes as 429 like a rate limit, and waiting does not help.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pixvox import telemetry
from pixvox.errors import PixvoxError
from pixvox.provider import ImageResult
from pixvox.providers.modal import wire
from pixvox.providers.modal.config import Config
from pixvox.providers.modal.deployment import Deployment
from pixvox.providers.modal.jobs import Jobs
from pixvox.providers.modal.models import BUILT_IN, table
from pixvox.providers.modal.speech import JobSpeech, speech_model
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Blob, SpeechInput, SpeechStream, Warmth
    from pixvox.providers.modal.deployment import Done
    from pixvox.providers.modal.wire import Request
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2

__all__ = ["Config", "Modal", "SpeakingModal", "create"]

_JSON = {"content-type": "application/json"}


class Modal:
    """The provider: one deployment and its models."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        """Open nothing yet."""
        # An operator of the speech app alone has no pictures.
        self._models = table(config.models or BUILT_IN) if config.url or not config.speaks else []
        self._deployment = Deployment(config, upstream)
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
    """The same with the speech app beside the deployment, or alone."""

    def __init__(self, config: Config, upstream: Upstream) -> None:
        """Open nothing yet."""
        super().__init__(config, upstream)
        self._models.append(speech_model(config.voices))
        self._speech = JobSpeech(Jobs(config, upstream), config.voices)

    def unready(self) -> str:
        """Return an empty string: the speech app is configured, and without a deployment there are no pictures."""
        return ""

    def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak by jobs; see `pixvox.provider.SpeechStreamer`."""
        telemetry.took_lane("job")
        return self._speech.stream_speech(config, text, model)


def create(config: Config, upstream: Upstream) -> Modal:
    """Return the provider, without asking the deployment anything."""
    return SpeakingModal(config, upstream) if config.speaks else Modal(config, upstream)


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
