"""Pictures made and edited: asked for, read, and handed on as the caller wants them."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import msgspec

from pixvox import telemetry
from pixvox.errors import InvalidMediaError, PixvoxError, ProviderInternalError
from pixvox.media.images import probed
from pixvox.provider import Blob, ImageResult
from pixvox.providers.dashscope import image_wire, wording
from pixvox.providers.dashscope.image_wire import Answer
from pixvox.providers.dashscope.models import preferred
from pixvox.providers.dashscope.refusals import Complaint, error_of, request_id_of
from pixvox.providers.dashscope.tasks import Tasks, Work
from pixvox.upstream import Safety
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.providers.dashscope.account import Account
    from pixvox.providers.dashscope.config import Config
    from pixvox.providers.dashscope.image_wire import Request
    from pixvox.providers.dashscope.models import ImageModel
    from pixvox.upstream import Reply
    from pixvox.v1 import image_service_pb2, model_service_pb2

MULTIMODAL = "/services/aigc/multimodal-generation/generation"
TEXT_TO_IMAGE = "/services/aigc/text2image/image-synthesis"
RESULT_LIFE = datetime.timedelta(hours=24)
# The largest picture of any model has 2048 * 2048 pixels, 16 MiB without any compression.
MAX_RESULT_BYTES = 32 * 1024 * 1024

_GENERATION = "image generation"
_EDITING = "image editing"
_MIME_TYPE = "image/png"


class DashScopeImages:
    """The verbs of `pixvox.provider.ImageGenerator` and `ImageEditor`."""

    def __init__(self, config: Config, account: Account) -> None:
        self._account = account
        self._tasks = Tasks(account, config.poll_seconds)
        self._models = preferred(config.image_model, config.image_edit_model, config.extra_models)

    def models(self) -> list[model_service_pb2.Model]:
        """Return the capability table, the preferred models first."""
        return [model.message for model in self._models.values()]

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make pictures; at once, or by a task where the model has tasks."""
        self._account.check_ready()
        known = self._models[model.id]
        telemetry.took_lane("task" if known.has_tasks else "at_once")
        output = model.generate_image.output
        size = image_wire.size_asked(request, output)
        with self._account.told():
            if known.has_tasks:
                body = image_wire.encoded_task(request, known, size)
                answer = await self._made_by_task(body, request, known)
            else:
                body = image_wire.encoded_messages(request, known, size)
                answer = await self._made_at_once(body, request, known, _GENERATION)
            warnings = _option_warnings(request, known)
            return await self._result(answer, request, request.delivery or output.deliveries[0], size, warnings)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit pictures. No model takes a mask, so that there is none."""
        self._account.check_ready()
        known = self._models[model.id]
        telemetry.took_lane("at_once")
        output = model.edit_image.output
        size = image_wire.size_asked(request, output)
        with self._account.told():
            body = await asyncio.to_thread(image_wire.encoded_messages, request, known, size, images)
            answer = await self._made_at_once(body, request, known, _EDITING)
            warnings = [*_option_warnings(request, known), *_input_warnings(images)]
            return await self._result(answer, request, request.delivery or output.deliveries[0], size, warnings)

    async def _made_at_once(self, body: bytes, request: Request, model: ImageModel, operation: str) -> Answer:
        reply = await self._account.http.call(
            "POST", MULTIMODAL, body=body, safety=Safety.BILLABLE, operation=operation
        )
        if reply.status != 200:
            raise self._account.refused(reply, private=_private(request), pause=model.pause)
        return dataclasses.replace(self._read(reply, request, model), begun=reply)

    async def _made_by_task(
        self, body: bytes, request: image_service_pb2.GenerateImageRequest, model: ImageModel
    ) -> Answer:
        work = Work(TEXT_TO_IMAGE, body, _GENERATION, _private(request), model.pause)
        task, answer = await self._tasks.finished(work, lambda reply: self._read(reply, request, model))
        return dataclasses.replace(answer, request_id=task.request_id, begun=task.begun)

    def _read(self, reply: Reply, request: Request, model: ImageModel) -> Answer:
        """Return an answer that has at least one picture."""
        try:
            answer = image_wire.decoded(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            message = "The provider's answer makes no sense; the pictures may have been made and billed."
            raise self._internal(message, request_id_of(reply)) from error
        complaint = answer if isinstance(answer, Complaint) else answer.complaint
        if isinstance(answer, Answer) and answer.urls:
            return dataclasses.replace(answer, request_id=answer.request_id or request_id_of(reply))
        if complaint is None:
            raise self._internal("The provider answered without a picture.", answer.request_id or request_id_of(reply))
        raise error_of(complaint, region=self._account.region, private=_private(request), pause=model.pause)

    async def _result(
        self,
        answer: Answer,
        request: Request,
        delivery: media_pb2.Delivery.ValueType,
        size: tuple[int, int] | None,
        warnings: list[media_pb2.Warning],
    ) -> ImageResult:
        if delivery == media_pb2.DELIVERY_INLINE:
            images = await self._downloaded(answer)
        else:
            images = _linked(answer)
        return ImageResult(
            images=images,
            receipt=media_pb2.Receipt(
                region=self._account.region,
                provider_request_id=answer.request_id,
                usage=media_pb2.Usage(images=answer.billed or len(answer.urls)),
            ),
            warnings=(*warnings, *_answer_warnings(answer, request.n or 1, size)),
            effective_size=size,
        )

    async def _downloaded(self, answer: Answer) -> tuple[Blob, ...]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._download(url, answer)) for url in answer.urls]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return tuple(task.result() for task in tasks)

    async def _download(self, url: str, answer: Answer) -> Blob:
        try:
            data = await self._account.results.fetch(url, max_bytes=MAX_RESULT_BYTES, follows=answer.begun)
        except PixvoxError as error:
            error.metadata = self._metadata(answer.request_id) | error.metadata
            raise
        try:
            facts = probed(data)
        except InvalidMediaError as error:
            raise self._internal("The provider's result is no picture.", answer.request_id) from error
        return Blob(facts.mime_type, data, width=facts.width, height=facts.height)

    def _internal(self, message: str, request_id: str) -> ProviderInternalError:
        return ProviderInternalError(message, metadata=self._metadata(request_id))

    @staticmethod
    def _metadata(request_id: str) -> dict[str, str]:
        return {"provider_request_id": wording.identifier(request_id), "replay": "accepted"}


def expire_time(url: str, now: datetime.datetime) -> datetime.datetime:
    """Return when a result's address stops working: 24 hours after its receipt, or earlier if it says so itself."""
    latest = now + RESULT_LIFE
    stated = parse_qs(urlsplit(url).query).get("Expires", [""])[0]
    if not stated.isdecimal() or len(stated) > 11:
        return latest
    return min(latest, datetime.datetime.fromtimestamp(int(stated), datetime.UTC))


def _linked(answer: Answer) -> tuple[Blob, ...]:
    now = datetime.datetime.now(datetime.UTC)
    width, height = answer.size or (0, 0)
    return tuple(
        Blob(_MIME_TYPE, uri=url, width=width, height=height, expire_time=expire_time(url, now)) for url in answer.urls
    )


def _private(request: Request) -> tuple[str, str]:
    return request.prompt, request.negative_prompt


def _option_warnings(request: Request, model: ImageModel) -> list[media_pb2.Warning]:
    if model.extends or not request.prompt_extend:
        return []
    message = f"{model.message.id} takes the prompt as it is and never rewrites it."
    return [_warning(media_pb2.WARNING_REASON_FIELD_IGNORED, "prompt_extend", message)]


def _input_warnings(images: Sequence[Blob]) -> list[media_pb2.Warning]:
    return [
        _warning(
            media_pb2.WARNING_REASON_INPUT_REDUCED,
            f"images[{index}]",
            f"The file has {frames} frames; only the first is used.",
        )
        for index, image in enumerate(images)
        if (frames := probed(image.data).frames) > 1
    ]


def _answer_warnings(answer: Answer, asked: int, size: tuple[int, int] | None) -> list[media_pb2.Warning]:
    warnings = []
    if len(answer.urls) < asked:
        why = f" ({wording.identifier(answer.complaint.code, 64)})" if answer.complaint is not None else ""
        message = f"The provider made {len(answer.urls)} of {asked} pictures{why}."
        warnings.append(_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "n", message))
    if size is not None and answer.size not in {None, size}:
        message = f"The provider made {'x'.join(map(str, answer.size))} pixels."
        warnings.append(_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "size", message))
    return warnings


def _warning(reason: media_pb2.WarningReason.ValueType, field: str, message: str) -> media_pb2.Warning:
    return media_pb2.Warning(reason=reason, field=field, message=message)
