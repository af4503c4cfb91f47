"""`/process`: one picture in, one picture out, at once or as a job."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pixvox_worker import pictures
from pixvox_worker.jobs import PictureJob
from pixvox_worker.openapi import also, body, failures
from pixvox_worker.routes import waiting
from pixvox_worker.routes.reading import fields_and_pictures
from pixvox_worker.schemas import Accepted, ProcessAnswer, ProcessRequest

if TYPE_CHECKING:
    from pixvox_worker.app import Worker

router = APIRouter(tags=["process"])


@router.post(
    "/process",
    response_model=ProcessAnswer,
    openapi_extra=body(ProcessRequest, files="image"),
    responses={
        202: {"model": Accepted, "description": "Let in as a job; Location says where to ask."},
        **also("image/png", "The picture; without JSON around it where only pictures are accepted."),
        **failures(400, 401, 404, 413, 415, 429, 500, 503, 504),
    },
)
async def process(request: Request) -> Response:
    """Edit a picture, or make one from text where the model does that."""
    worker: Worker = request.app.state.worker
    fields, images = await fields_and_pictures(request, worker)
    parsed = ProcessRequest.model_validate(fields)
    task = worker.reader.from_process(parsed, images)
    later = parsed.options.respond_async or "respond-async" in request.headers.get("prefer", "")
    job = PictureJob(task, worker.reader.deadline(request, parsed.options.timeout), kept=later)
    waiting.admit(worker, job)
    if later:
        accepted = Accepted(job_id=job.job_id, status=job.state).model_dump()
        return JSONResponse(accepted, 202, {"Location": f"/job/{job.job_id}/status"})
    await waiting.result(request, worker, job)
    return await answer(job, worker, request)


async def answer(job: PictureJob, worker: Worker, request: Request) -> Response:
    """The picture of a completed job: as it is for those who accept only pictures, else in JSON."""
    data = await asyncio.to_thread(pictures.encode, job.images[0])
    if request.headers.get("accept", "").startswith("image/"):
        return Response(data, media_type="image/png", headers={"X-Seed": str(job.task.seed)})
    picture = base64.b64encode(data).decode()
    content = ProcessAnswer(
        success=True,
        processed_image=picture,
        processed_image_base64=picture,
        processing_time=round(job.exec_seconds, 6),
        model_used=worker.settings.model_id,
        message="The picture is done.",
        seed=job.task.seed,
    )
    return JSONResponse(content.model_dump())
