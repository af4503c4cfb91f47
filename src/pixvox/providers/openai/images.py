"""Pictures made and edited: asked for, read, and handed on as the caller wants them."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import msgspec

from pixvox import telemetry
from pixvox.errors import InvalidMediaError, PixvoxError
from pixvox.media.images import encoded, mime_type_of, probed, upright
from pixvox.provider import Blob, ImageResult
from pixvox.providers.openai import image_wire
from pixvox.providers.openai.engine import senseless, without_result
from pixvox.providers.openai.masks import mask_for_engine
from pixvox.providers.openai.refusals import complaint_of, error_of, request_id_of
from pixvox.upstream import Safety
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.providers.openai.engine import Engine
    from pixvox.providers.openai.image_wire import Request
    from pixvox.upstream import Reply
    from pixvox.v1 import image_service_pb2, model_service_pb2

MAX_RESULT_BYTES = 64 * 1024 * 1024

_LANE = "at_once"


class OpenAIImages:
    """The verbs of `pixvox.provider.ImageGenerator` and `ImageEditor`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make pictures; see `pixvox.provider.ImageGenerator`."""
        engine = self._engine
        engine.check_ready()
        telemetry.took_lane(_LANE)
        output = model.generate_image.output
        size = image_wire.size_asked(request, output)
        body = msgspec.json.encode(image_wire.members(request, engine.tables[model.id], engine.dialect, size))
        reply, url = await engine.pool.call(
            "POST", "/images/generations", body=body, safety=Safety.BILLABLE, operation="image generation"
        )
        return await self._result(reply, url, request, output, size)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit pictures; see `pixvox.provider.ImageEditor`."""
        engine = self._engine
        engine.check_ready()
        telemetry.took_lane(_LANE)
        output = model.edit_image.output
        size = image_wire.size_asked(request, output)
        fields = image_wire.members(request, engine.tables[model.id], engine.dialect, size)
        ignored = fields.pop("kwargs", None) is not None
        if mask is not None:
            mask = await asyncio.to_thread(mask_for_engine, mask, clear=engine.dialect.clear_mask)
        body, content_type = await asyncio.to_thread(image_wire.encoded_form, fields, images, mask, engine.dialect)
        reply, url = await engine.pool.call(
            "POST",
            "/images/edits",
            body=body,
            headers={"content-type": content_type},
            safety=Safety.BILLABLE,
            operation="image editing",
        )
        result = await self._result(reply, url, request, output, size)
        if not ignored:
            return result
        warning = _warning(
            media_pb2.WARNING_REASON_FIELD_IGNORED, "provider_options", "The engine takes none with files."
        )
        return dataclasses.replace(result, warnings=(*result.warnings, warning))

    async def _result(
        self,
        reply: Reply,
        url: str,
        request: Request,
        output: model_service_pb2.ImageOutput,
        size: tuple[int, int] | None,
    ) -> ImageResult:
        if reply.status != 200:
            raise error_of(complaint_of(reply))
        request_id = request_id_of(reply)
        formats = [mime_type_of(one) for one in ([request.format] if request.format else output.formats)]
        files, seed = await self._files(reply, url, request_id)
        wanted = request.format or output.formats[0]
        # What the answer says of a seed is said of its first picture.
        seeds = [seed, *[None] * (len(files) - 1)]
        images = [await _blob(file, wanted, formats, one, request_id) for file, one in zip(files, seeds, strict=True)]
        return ImageResult(
            images=tuple(images),
            receipt=media_pb2.Receipt(provider_request_id=request_id, usage=media_pb2.Usage(images=len(images))),
            warnings=tuple(_warnings(request, images, size)),
            effective_size=size,
        )

    async def _files(self, reply: Reply, url: str, request_id: str) -> tuple[list[bytes], int | None]:
        """Return the files of an answer, at least one, downloaded where it only names them."""
        kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind.startswith("image/"):
            return [reply.body], None
        try:
            answer = await asyncio.to_thread(image_wire.decoded, reply.body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise senseless("answered with something that makes no sense", request_id) from error
        files = [*answer.files, *[await self._download(one, url, reply) for one in answer.urls]]
        if not files:
            raise without_result(reply, "answered without a picture")
        return files, answer.seed

    async def _download(self, named: str, url: str, reply: Reply) -> bytes:
        try:
            address = urljoin(f"{url}/", named)
        except ValueError as error:
            raise senseless("named an address that is none", request_id_of(reply)) from error
        try:
            return await self._engine.results.fetch(address, max_bytes=MAX_RESULT_BYTES, follows=reply)
        except PixvoxError as error:
            metadata = {"provider_code": "", "provider_request_id": request_id_of(reply), "replay": "accepted"}
            error.metadata = metadata | error.metadata
            raise


async def _blob(
    file: bytes, wanted: media_pb2.ImageFormat.ValueType, mime_types: Sequence[str], seed: int | None, request_id: str
) -> Blob:
    """Return a picture, made into the wanted format if the engine gave another one."""
    try:
        facts = probed(file)
        if facts.mime_type not in mime_types:
            file = await asyncio.to_thread(lambda: encoded(upright(file), wanted, text={}))
            facts = probed(file)
    except InvalidMediaError as error:
        raise senseless("answered with a picture that cannot be read", request_id) from error
    return Blob(facts.mime_type, file, width=facts.width, height=facts.height, seed=seed)


def _warnings(request: Request, images: Sequence[Blob], size: tuple[int, int] | None) -> list[media_pb2.Warning]:
    warnings = [
        _warning(media_pb2.WARNING_REASON_FIELD_IGNORED, name, "The engine has no such option.")
        for name in ("prompt_extend", "watermark")
        if request.HasField(name) and getattr(request, name)
    ]
    asked = request.n or 1
    if len(images) < asked:
        message = f"The provider made {len(images)} of {asked} pictures."
        warnings.append(_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "n", message))
    made = images[0].width, images[0].height
    if size is not None and made != size:
        message = f"The provider made {made[0]}x{made[1]} pixels."
        warnings.append(_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "size", message))
    return warnings


def _warning(reason: media_pb2.WarningReason.ValueType, field: str, message: str) -> media_pb2.Warning:
    return media_pb2.Warning(reason=reason, field=field, message=message)
