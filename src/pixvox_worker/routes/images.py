"""OpenAI's routes for pictures, with the names that vLLM-Omni adds, in one piece or as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from pixvox_worker import pictures
from pixvox_worker.jobs import PictureJob, Preview, Progress
from pixvox_worker.openapi import also, body, failures
from pixvox_worker.routes import waiting
from pixvox_worker.routes.reading import fields_and_pictures
from pixvox_worker.schemas import ImageAnswer, ImageData, ImageRequest
from pixvox_worker.tasks import IMAGE_EDITING, TEXT_TO_IMAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from PIL.Image import Image
    from starlette.types import Receive, Scope, Send

    from pixvox_worker.app import Worker
    from pixvox_worker.failures import Failure

router = APIRouter(tags=["images"])
_QUIET_SECONDS = 10.0
# After the deadline, for a caller that reads what is there.
_TO_READ_SECONDS = 30.0
_log = logging.getLogger(__name__)
_ANSWERS = {
    **also("text/event-stream", "The pictures; events with `stream`."),
    **failures(400, 401, 404, 413, 415, 429, 500, 503, 504),
}


@router.post(
    "/v1/images/generations",
    response_model=ImageAnswer,
    openapi_extra=body(ImageRequest),
    responses=_ANSWERS,
)
async def generations(request: Request) -> Response:
    """Pictures from a text."""
    return await _make(request, TEXT_TO_IMAGE, "image_generation")


@router.post(
    "/v1/images/edits",
    response_model=ImageAnswer,
    openapi_extra=body(ImageRequest, files="image", several=True),
    responses=_ANSWERS,
)
async def edits(request: Request) -> Response:
    """Pictures from a text and pictures; a form, or JSON with `images` as base64 or data: URLs."""
    return await _make(request, IMAGE_EDITING, "image_edit")


async def _make(request: Request, kind: str, event: str) -> Response:
    worker: Worker = request.app.state.worker
    fields, images = await fields_and_pictures(request, worker)
    parsed = ImageRequest.model_validate(fields)
    task = worker.reader.from_images_api(parsed, images if kind == IMAGE_EDITING else (), kind)
    job = PictureJob(task, worker.reader.deadline(request, parsed.timeout))
    waiting.admit(worker, job)
    if parsed.stream:
        return _Stream(worker, job, _events(worker, job, parsed, event))
    await waiting.result(request, worker, job)
    return await _answer(job, parsed)


async def _answer(job: PictureJob, parsed: ImageRequest) -> Response:
    encoded = [await _text(image, parsed) for image in job.images]
    content = ImageAnswer(
        created=int(job.created_at),
        data=[ImageData(b64_json=text, seed=job.task.seed_of(number)) for number, text in enumerate(encoded)],
        output_format=_format(parsed),
        size=_size(job),
        seed=job.task.seed,
        processing_time=round(job.exec_seconds, 6),
    )
    return JSONResponse(content.model_dump(), headers={"X-Job-Id": job.job_id})


class _Stream(StreamingResponse):
    """Takes the job back when the caller leaves, even before the first event, when no generator has begun to run."""

    def __init__(self, worker: Worker, job: PictureJob, events: AsyncIterator[bytes]) -> None:
        headers = {"X-Job-Id": job.job_id, "Cache-Control": "no-cache"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._worker = worker
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds = max(0.0, self._job.deadline - time.monotonic()) + _TO_READ_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            _log.info("nobody reads the pictures any more", extra={"job": self._job.job_id})
        finally:
            self._worker.inference.cancel(self._job)
            self._worker.jobs.drop(self._job)


async def _events(worker: Worker, job: PictureJob, parsed: ImageRequest, name: str) -> AsyncIterator[bytes]:
    """Progress, previews and the pictures."""
    happened = job.listen()
    while True:
        try:
            event = await asyncio.wait_for(happened.get(), _QUIET_SECONDS)
        except TimeoutError:
            # A line that clients skip: whatever is in between sees that the connection lives.
            yield f": {job.state} {worker.inference.position(job) or 0}\n\n".encode()
            continue
        if event is None:
            break
        if isinstance(event, Progress):
            yield _progress(job, event)
        else:
            yield await _preview(job, event, parsed, name)
    async for last in _ending(job, parsed, name):
        yield last


def _progress(job: PictureJob, event: Progress) -> bytes:
    share = round(event.step / event.steps, 4)
    return _event("x.progress", job_id=job.job_id, step=event.step, steps=event.steps, progress=share)


async def _preview(job: PictureJob, event: Preview, parsed: ImageRequest, name: str) -> bytes:
    text = await _text(event.image, parsed)
    common = _common(job, parsed, text, event.image)
    return _event(f"{name}.partial_image", **common, partial_image_index=event.index)


async def _ending(job: PictureJob, parsed: ImageRequest, name: str) -> AsyncIterator[bytes]:
    if job.failure is not None:
        yield _error(job.failure)
    for number, image in enumerate(job.images):
        text = await _text(image, parsed)
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        seed = job.task.seed_of(number)
        common = _common(job, parsed, text, image)
        yield _event(f"{name}.completed", **common, usage=usage, seed=seed, index=number)


def _error(failure: Failure) -> bytes:
    return _event("error", error=failure.body())


def _common(job: PictureJob, parsed: ImageRequest, text: str, image: Image) -> dict[str, object]:
    return {
        "b64_json": text,
        "created_at": int(time.time()),
        "size": _size(job),
        "quality": parsed.quality or "auto",
        "background": "opaque" if _format(parsed) == "jpeg" else pictures.background(image),
        "output_format": _format(parsed),
    }


def _event(name: str, **content: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **content})}\n\n".encode()


async def _text(image: Image, parsed: ImageRequest) -> str:
    data = await asyncio.to_thread(pictures.encode, image, _format(parsed), parsed.output_compression)
    return base64.b64encode(data).decode()


def _format(parsed: ImageRequest) -> str:
    return "jpeg" if parsed.output_format == "jpg" else parsed.output_format


def _size(job: PictureJob) -> str:
    return f"{job.task.width}x{job.task.height}"
