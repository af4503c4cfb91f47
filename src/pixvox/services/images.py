"""ImageService: GenerateImage and EditImage."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

from pixvox.errors import OutputTooLargeError, Violation
from pixvox.media.images import checked_input, probed, shrunk
from pixvox.provider import Blob
from pixvox.v1 import image_service_pb2, image_service_pb2_grpc, media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from pixvox.provider import ImageResult
    from pixvox.routing import Target
    from pixvox.services.current import Current
    from pixvox.upstream import Upstream
    from pixvox.v1 import model_service_pb2

INPUT_MIME_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif"})
# What an answer holds beside the pictures' bytes never comes near this.
ANSWER_MARGIN = 64 * 1024


class ImageService(image_service_pb2_grpc.ImageServiceServicer):
    """Routes image calls, loads their inputs and delivers their results."""

    def __init__(self, current: Current, upstream: Upstream) -> None:
        self._current = current
        self._upstream = upstream

    async def GenerateImage(
        self, request: image_service_pb2.GenerateImageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> image_service_pb2.GenerateImageResponse:
        """Make pictures."""
        plan = self._current.router.generate_image(request).checked()
        result = await plan.run(lambda target: target.generate_image(request))
        return image_service_pb2.GenerateImageResponse(
            images=await self._delivered(result.images),
            effective_size=_size(result),
            warnings=result.warnings,
            receipt=result.receipt,
        )

    async def EditImage(
        self, request: image_service_pb2.EditImageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> image_service_pb2.EditImageResponse:
        """Edit pictures."""
        plan = self._current.router.edit_image(request).checked()
        images = [await self._loaded(one, f"images[{index}]") for index, one in enumerate(request.images)]
        mask = await self._loaded(request.mask, "mask") if request.HasField("mask") else None

        async def edited(target: Target) -> tuple[ImageResult, list[media_pb2.Warning]]:
            if not request.scale_inputs_down or mask is not None:
                return await target.edit_image(request, images, mask), []
            fitting, scaled = await _scaled_down(images, target.model.edit_image)
            return await target.edit_image(request, fitting, mask), scaled

        result, scaled = await plan.run(edited)
        return image_service_pb2.EditImageResponse(
            images=await self._delivered(result.images),
            effective_size=_size(result),
            warnings=[*scaled, *result.warnings],
            receipt=result.receipt,
        )

    async def _loaded(self, media: media_pb2.MediaInput, field: str) -> Blob:
        """Return an input's bytes, known to be a whole picture within the service's limits."""
        if media.WhichOneof("source") == "uri":
            data = await self._upstream.download(
                media.uri, field=field, max_bytes=self._current.settings.fetch.max_bytes
            )
        else:
            data = media.data
        facts = await asyncio.to_thread(
            checked_input,
            data,
            field=field,
            mime_types=INPUT_MIME_TYPES,
            max_bytes=self._current.settings.inputs.max_bytes,
            max_pixels=self._current.settings.inputs.max_pixels,
        )
        return Blob(mime_type=facts.mime_type, data=data, width=facts.width, height=facts.height)

    async def _delivered(self, images: Sequence[Blob]) -> list[media_pb2.Image]:
        size = sum(len(image.data) for image in images)
        allowed = self._current.settings.server.max_response_bytes - ANSWER_MARGIN
        if size > allowed:
            raise OutputTooLargeError(
                f"The pictures have {size} bytes together and an answer holds {allowed}.",
                Violation("delivery", "ask for fewer or smaller pictures, or for JPEG or WebP"),
            )
        return [await _image(image) for image in images]


async def _scaled_down(
    images: Sequence[Blob], capability: model_service_pb2.EditImageCapability
) -> tuple[list[Blob], list[media_pb2.Warning]]:
    """Make what is larger than the model takes small enough, and say so."""
    scaled, warnings = [], []
    for index, image in enumerate(images):
        limits = {"max_bytes": capability.max_input_bytes, "max_pixels": capability.max_input_pixels}
        if len(image.data) <= limits["max_bytes"] and image.width * image.height <= limits["max_pixels"]:
            scaled.append(image)
            continue
        field = f"images[{index}]"
        data = await asyncio.to_thread(shrunk, image.data, field=field, **limits)
        facts = probed(data, field=field)
        scaled.append(Blob(mime_type=facts.mime_type, data=data, width=facts.width, height=facts.height))
        message = f"was scaled down from {image.width}x{image.height} to {facts.width}x{facts.height} pixels"
        warnings.append(media_pb2.Warning(reason=media_pb2.WARNING_REASON_INPUT_REDUCED, field=field, message=message))
    return scaled, warnings


async def _image(blob: Blob) -> media_pb2.Image:
    image = media_pb2.Image(mime_type=blob.mime_type, seed=blob.seed)
    if blob.width:
        image.size.width, image.size.height = blob.width, blob.height
    if blob.uri:
        image.uri = blob.uri
        if blob.expire_time is not None:
            image.expire_time.FromDatetime(blob.expire_time)
    else:
        image.data = blob.data
        image.size_bytes = len(blob.data)
        # Hashing releases the interpreter lock, so megabytes need not hold up the other calls.
        digest = await asyncio.to_thread(hashlib.sha256, blob.data)
        image.sha256 = digest.hexdigest()
    return image


def _size(result: ImageResult) -> media_pb2.Size | None:
    if result.effective_size is None:
        return None
    width, height = result.effective_size
    return media_pb2.Size(width=width, height=height)
