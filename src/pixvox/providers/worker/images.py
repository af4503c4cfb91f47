"""Pictures made and edited by workers of our own, whose steps are seen while they are made."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pixvox import telemetry
from pixvox.errors import PixvoxError, ProviderDisconnectedError, ProviderTimeoutError
from pixvox.providers.worker import image_wire, refusals
from pixvox.providers.worker.fleet import call_off, deadline_headers
from pixvox.providers.worker.image_wire import Failed, Picture, Progress
from pixvox.providers.worker.pictures import blob_of, result_of
from pixvox.upstream import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from pixvox.provider import Blob, ImageResult
    from pixvox.providers.worker.fleet import Fleet
    from pixvox.providers.worker.image_wire import Request
    from pixvox.upstream import Event, EventStream
    from pixvox.upstream.pool import Pool
    from pixvox.v1 import image_service_pb2, model_service_pb2

# Of the last pictures; what ends an answer comes with them.
_END_SECONDS = 0.05
_ACCEPTED = "accepted"
_LARGE_BYTES = 64 * 1024


class WorkerImages:
    """The verbs of `pixvox.provider.ImageGenerator` and `ImageEditor`.

    Args:
        fleet: The workers.
        stall_seconds: How long a picture may make no step once it has made one.
    """

    def __init__(self, fleet: Fleet, stall_seconds: float) -> None:
        self._fleet = fleet
        self._stall_seconds = stall_seconds

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make pictures; see `pixvox.provider.ImageGenerator`."""
        output = model.generate_image.output
        size = image_wire.size_asked(request, output)
        fields = image_wire.members(request, model.id, self._fleet.tables[model.id], output, size)
        headers = {"content-type": "application/json"}
        asked = _Asked("/v1/images/generations", msgspec.json.encode(fields), headers, "image generation")
        return await self._made(asked, request, model, output, size)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit pictures; no model takes a mask, so that there is none."""
        output = model.edit_image.output
        size = image_wire.size_asked(request, output)
        fields = image_wire.members(request, model.id, self._fleet.tables[model.id], output, size)
        body, content_type = await asyncio.to_thread(image_wire.edit_form, fields, images)
        asked = _Asked("/v1/images/edits", body, {"content-type": content_type}, "image editing")
        return await self._made(asked, request, model, output, size)

    async def _made(
        self,
        asked: _Asked,
        request: Request,
        model: model_service_pb2.Model,
        output: model_service_pb2.ImageOutput,
        size: tuple[int, int] | None,
    ) -> ImageResult:
        telemetry.took_lane("sse")
        drawing = _Drawing(self._fleet.workers(model.id), asked, request.n or 1, self._stall_seconds)
        pictures = await drawing.pictures()
        wanted = request.format or output.formats[0]
        blobs = [await blob_of(one.data, wanted, one.seed, drawing.request_id) for one in pictures]
        return result_of(blobs, request, size, drawing.request_id)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a worker."""

    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    operation: str


class _Drawing:
    """One request for pictures, from its opening to its last event."""

    def __init__(self, pool: Pool, asked: _Asked, count: int, stall_seconds: float) -> None:
        self.request_id = ""
        self._pool = pool
        self._asked = asked
        self._count = count
        self._stall_seconds = stall_seconds
        self._stepped = False

    async def pictures(self) -> list[Picture]:
        """Return the pictures in their order, at least one.

        Raises:
            PixvoxError: The worker refused, failed, or broke off.
        """
        try:
            async with self._opened() as (events, url):
                self.request_id = refusals.request_id_in(events.headers)
                try:
                    return await self._read(events)
                except (asyncio.CancelledError, _StalledError):
                    await call_off(self._pool.origin(url), events.headers.get("X-Job-Id", ""))
                    raise
        except RefusedError as error:
            raise refusals.refusal_of(error.reply) from error
        except PixvoxError as error:
            error.metadata = {"provider_code": "", "provider_request_id": self.request_id} | error.metadata
            raise

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[EventStream, str]]:
        asked = self._asked
        headers = {**asked.headers, **deadline_headers()}
        opening = self._pool.opened(
            lambda origin: origin.events(asked.path, body=asked.body, headers=headers, operation=asked.operation)
        )
        async with opening as opened:
            yield opened

    async def _read(self, events: EventStream) -> list[Picture]:
        found: dict[int, Picture] = {}
        while (event := await self._next(events)) is not None:
            match await self._understood(event):
                case Progress(step, steps):
                    self._stepped = True
                    events.noted(telemetry.STEP, {telemetry.PIXVOX_STEP: step, telemetry.PIXVOX_STEPS: steps})
                case Picture(index=index) as picture:
                    found[len(found) if index is None else index] = picture
                case Failed(data):
                    raise refusals.error_of(refusals.complaint_in(data, self.request_id))
                case None:
                    pass
            if len(found) == self._count:
                await _end(events)
                break
        if not found:
            raise self._broken_off()
        return [picture for _, picture in sorted(found.items())]

    async def _next(self, events: EventStream) -> Event | None:
        """Return the next event, None at the end of the answer."""
        # Before its first step a request waits for others, and for its inputs to be read, for as long as its caller does.
        seconds = self._stall_seconds if self._stepped else None
        try:
            async with asyncio.timeout(seconds):
                return await anext(events, None)
        except TimeoutError as error:
            message = f"The worker made no step for {self._stall_seconds:g} seconds."
            raise _StalledError(message, metadata={"replay": _ACCEPTED}) from error

    async def _understood(self, event: Event) -> Progress | Picture | Failed | None:
        # A picture is megabytes of Base64, a step a line.
        if len(event.data) > _LARGE_BYTES:
            return await asyncio.to_thread(image_wire.happened, event, self.request_id)
        return image_wire.happened(event, self.request_id)

    def _broken_off(self) -> ProviderDisconnectedError:
        message = "The worker ended its answer before there was a picture."
        return ProviderDisconnectedError(message, metadata={"replay": _ACCEPTED})


class _StalledError(ProviderTimeoutError):
    """The worker is there and does not go on."""


async def _end(events: EventStream) -> None:
    """Read on to the end of the answer if that is there, so that the connection can serve another call."""
    with contextlib.suppress(TimeoutError, ProviderDisconnectedError):
        async with asyncio.timeout(_END_SECONDS):
            while await anext(events, None) is not None:
                pass
