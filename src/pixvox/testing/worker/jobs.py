"""The jobs of the emulated worker: begun, asked after, fetched, called off."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Protocol

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.worker.answers import failure, numbered

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


class Over(Protocol):
    """Is told that a job is over."""

    def __call__(self, *, cancelled: bool) -> None:
        """Take note of it."""
        ...


class Jobs:
    """All jobs, by their numbers."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[web.Response]] = {}
        self._streams: dict[str, asyncio.Event] = {}

    def begun(self, work: Coroutine[None, None, web.Response], over: Over) -> web.Response:
        """Begin a job, and return the answer that says so."""
        job_id = uuid.uuid4().hex
        task = asyncio.create_task(work)
        task.add_done_callback(lambda ended: over(cancelled=ended.cancelled()))
        self._tasks[job_id] = task
        headers = numbered({"Location": f"/job/{job_id}/status"})
        return web.json_response({"job_id": job_id, "status": "queued"}, status=202, headers=headers)

    @contextlib.contextmanager
    def streaming(self, job_id: str) -> Iterator[asyncio.Event]:
        """Give what is set when the job of a stream is called off during the block."""
        called_off = self._streams[job_id] = asyncio.Event()
        try:
            yield called_off
        finally:
            del self._streams[job_id]

    def answer(self, method: str, path: str) -> web.Response:
        """Return the answer to a request for a job: ``/job/{id}/status``, ``result`` or ``cancel``."""
        *_, job_id, what = path.split("/")
        task, stream = self._tasks.get(job_id), self._streams.get(job_id)
        if task is None and stream is None:
            return failure(404, "not_found_error")
        if (what == "cancel") != (method == "POST"):
            return failure(405, "method_not_allowed")
        if what == "cancel":
            _call_off(task, stream)
        if what in {"cancel", "status"}:
            state = _state(task)
            return web.json_response(
                _status(job_id, state), status=202 if what == "cancel" else 200, headers=numbered()
            )
        return _result(job_id, task)

    async def aclose(self) -> None:
        """End everything."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _call_off(task: asyncio.Task[web.Response] | None, stream: asyncio.Event | None) -> None:
    if task is not None:
        task.cancel()
    if stream is not None:
        stream.set()


def _state(task: asyncio.Task[web.Response] | None) -> str:
    if task is None or not task.done():
        return "cancelled" if task is not None and task.cancelling() else "running"
    if task.cancelled():
        return "cancelled"
    return "completed" if task.exception() is None and task.result().status == 200 else "failed"


def _status(job_id: str, state: str) -> dict[str, object]:
    return {
        "job_id": job_id,
        "status": state,
        "progress": 1.0 if state == "completed" else 0.0,
        "step": 0,
        "steps": 0,
        "queue_position": None,
        "created_at": 0.0,
        "started_at": 0.0,
        "finished_at": None,
        "error": None,
    }


def _result(job_id: str, task: asyncio.Task[web.Response] | None) -> web.Response:
    if task is None or not task.done():
        return web.json_response(_status(job_id, "running"), status=202, headers=numbered({"Retry-After": "1"}))
    if task.cancelled():
        return failure(409, "conflict_error")
    made = task.result()
    return web.Response(status=made.status, body=made.body, content_type="application/json", headers=numbered())
