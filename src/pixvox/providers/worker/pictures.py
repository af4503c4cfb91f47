"""From the files that a worker made to what its caller gets: in the wanted format, with what was done otherwise than asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pixvox.errors import InvalidMediaError
from pixvox.media.images import encoded, mime_type_of, probed, upright
from pixvox.provider import Blob, ImageResult
from pixvox.providers.worker.refusals import senseless
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.providers.worker.image_wire import Request


async def blob_of(file: bytes, wanted: media_pb2.ImageFormat.ValueType, seed: int | None, request_id: str) -> Blob:
    """Return a picture, made into the wanted format if the worker gave another one.

    Raises:
        ProviderInternalError: It is no picture.
    """
    try:
        facts = probed(file)
        if facts.mime_type != mime_type_of(wanted):
            file = await asyncio.to_thread(lambda: encoded(upright(file), wanted, text={}))
            facts = probed(file)
    except InvalidMediaError as error:
        raise senseless("answered with a picture that cannot be read", request_id) from error
    return Blob(facts.mime_type, file, width=facts.width, height=facts.height, seed=seed)


def result_of(blobs: Sequence[Blob], request: Request, size: tuple[int, int] | None, request_id: str) -> ImageResult:
    """Return the answer to a request.

    Args:
        blobs: What was made, at least one.
        request: That was answered.
        size: (width, height) that was asked of the worker, or None.
        request_id: The worker's.
    """
    receipt = media_pb2.Receipt(provider_request_id=request_id, usage=media_pb2.Usage(images=len(blobs)))
    return ImageResult(tuple(blobs), receipt, tuple(_warnings(request, blobs, size)), size)


def _warnings(request: Request, blobs: Sequence[Blob], size: tuple[int, int] | None) -> list[media_pb2.Warning]:
    ignored, adjusted = media_pb2.WARNING_REASON_FIELD_IGNORED, media_pb2.WARNING_REASON_VALUE_ADJUSTED
    found: list[tuple[media_pb2.WarningReason.ValueType, str, str]] = []
    if request.prompt_extend:
        found.append((ignored, "prompt_extend", "The worker takes the prompt as it is."))
    if request.watermark:
        found.append((ignored, "watermark", "The worker puts no mark on pictures."))
    if len(blobs) < (request.n or 1):
        found.append((adjusted, "n", f"The worker made {len(blobs)} of {request.n} pictures."))
    made = blobs[0].width, blobs[0].height
    if size is not None and made != size:
        found.append((adjusted, "size", f"The worker made {made[0]}x{made[1]} pixels."))
    return [media_pb2.Warning(reason=reason, field=field, message=message) for reason, field, message in found]
