"""What became of a job: its state, its result, and taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from pixvox_worker.failures import Cancelled, NotReady
from pixvox_worker.jobs import PictureJob
from pixvox_worker.openapi import also, failures
from pixvox_worker.routes.process import answer
from pixvox_worker.schemas import ErrorBody, JobStatus, ProcessAnswer

if TYPE_CHECKING:
    from pixvox_worker.app import Worker
    from pixvox_worker.jobs import Job

router = APIRouter(tags=["jobs"])
_NOT_YET: dict[int | str, dict[str, Any]] = {202: {"model": JobStatus, "description": "Not over yet."}}


@router.get("/job/{job_id}/status", responses=failures(401, 404, 410))
@router.get("/v1/jobs/{job_id}/status", include_in_schema=False)
async def status(request: Request, job_id: str) -> JobStatus:
    """Where the job is."""
    worker: Worker = request.app.state.worker
    return _status(worker, worker.jobs.get(job_id))


@router.get(
    "/job/{job_id}/result",
    response_model=ProcessAnswer,
    responses={
        **_NOT_YET,
        **also("image/png", "As `/process` answers."),
        **failures(401, 404, 409, 410, 500, 503, 504),
    },
)
@router.get("/v1/jobs/{job_id}/result", include_in_schema=False)
async def result(request: Request, job_id: str) -> Response:
    """200 with the answer of `/process`, 202 while it is not over, 409 when it was cancelled, or its own failure."""
    worker: Worker = request.app.state.worker
    job = worker.jobs.get(job_id)
    if not job.over:
        return JSONResponse(_status(worker, job).model_dump(), 202, {"Retry-After": "1"})
    if isinstance(job.failure, Cancelled):
        raise NotReady(job.failure.message)
    if job.failure is not None:
        raise job.failure
    if not isinstance(job, PictureJob):
        message = "Speech goes to the caller that asked for it, and is not kept."
        raise NotReady(message)
    return await answer(job, worker, request)


@router.post("/job/{job_id}/cancel", status_code=202, responses=failures(401, 404, 410))
@router.post("/v1/jobs/{job_id}/cancel", status_code=202, include_in_schema=False)
async def cancel(request: Request, job_id: str) -> JobStatus:
    """Take the job back; saying so twice, or after its end, changes nothing."""
    worker: Worker = request.app.state.worker
    job = worker.jobs.get(job_id)
    worker.inference.cancel(job)
    return _status(worker, job)


def _status(worker: Worker, job: Job) -> JobStatus:
    return JobStatus(
        job_id=job.job_id,
        status=job.state.value,
        progress=round(job.progress, 4),
        step=job.step,
        steps=job.task.all_steps,
        queue_position=worker.inference.position(job),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=None if job.failure is None else ErrorBody.model_validate(job.failure.body()),
    )
