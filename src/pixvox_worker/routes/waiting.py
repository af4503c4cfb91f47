"""Waits for a job on behalf of somebody who may hang up: then the job is taken back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pixvox_worker import telemetry
from pixvox_worker.failures import Cancelled
from pixvox_worker.jobs import State

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.types import Receive

    from pixvox_worker.app import Worker
    from pixvox_worker.jobs import Job


def ready(worker: Worker) -> None:
    """Refuse while there is no model to ask what it can do.

    Raises:
        Unavailable: it is loading, could not be loaded, or the worker is going down.
    """
    worker.inference.check_ready()


def admit(worker: Worker, job: Job) -> None:
    """Let the job in and make it findable.

    Raises:
        Failure: the worker is full or not ready.
    """
    telemetry.follow(job)
    worker.inference.submit(job)
    worker.jobs.add(job)


async def result(request: Request, worker: Worker, job: Job) -> None:
    """Return once the job is completed; it is forgotten, as its answer goes out now.

    Raises:
        Failure: why it was not completed; `Cancelled` also where nobody is left to read it.
    """
    left = asyncio.create_task(gone(request.receive))
    ended = asyncio.create_task(job.ended.wait())
    try:
        await asyncio.wait({left, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left.cancel()
        ended.cancel()
        worker.inference.cancel(job)
        worker.jobs.drop(job)
    if job.failure is not None:
        raise job.failure
    if job.state is not State.COMPLETED:
        message = "The caller is gone."
        raise Cancelled(message)


async def gone(receive: Receive) -> None:
    """Return when the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
