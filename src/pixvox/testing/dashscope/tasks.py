"""Asynchronous tasks: created, polled, cancelled, listed.

Source: dashscope reference 2.4 to 2.6.
"""

from __future__ import annotations

import datetime
import math
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pixvox.testing.dashscope import image_requests, images
from pixvox.testing.dashscope.envelope import Answer, RefusedError, encoded, succeeded
from pixvox.testing.dashscope.faults import PartlyFailed, TaskFailed, TaskUnknown

if TYPE_CHECKING:
    from pixvox.testing.dashscope.image_requests import ImageRequest
    from pixvox.testing.dashscope.vendor import Behaviour, Call

# Times carry no zone; Beijing's is presumed. [guess]
_ZONE = datetime.timezone(datetime.timedelta(hours=8))

_Status = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as it stands.

    Attributes:
        task_id: Its id.
        model: Its model.
        status: As a poll would be told.
    """

    task_id: str
    model: str
    status: str


@dataclass(slots=True)
class _Task:
    task_id: str
    request: ImageRequest
    created: float = field(default_factory=time.time)
    polls: int = 0
    ended: _Status | None = None
    ended_at: float = 0.0
    output: dict[str, object] = field(default_factory=dict)
    usage: dict[str, object] | None = None

    def status(self, behaviour: Behaviour) -> _Status:
        """Return the state of now."""
        if self.ended is not None:
            return self.ended
        age = time.time() - self.created if behaviour.task_unit == "seconds" else self.polls
        if age < behaviour.task_pending:
            return "PENDING"
        return "RUNNING" if age < behaviour.task_pending + behaviour.task_running else "SUCCEEDED"

    def end(self, status: _Status) -> None:
        """Note that the task will not change any more."""
        self.ended, self.ended_at = status, time.time()


class Tasks:
    """The tasks of the account."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}

    def records(self, behaviour: Behaviour) -> tuple[TaskRecord, ...]:
        """Return the tasks in the order of their making."""
        return tuple(
            TaskRecord(task.task_id, task.request.name, task.status(behaviour)) for task in self._tasks.values()
        )

    async def create(self, call: Call) -> Answer:
        """Begin a task."""
        if call.headers.get("X-DashScope-Async", "").lower() != "enable":
            raise RefusedError(403, "AccessDenied", "The API does not support synchronous calls.")
        if call.tail == "text2image":
            request = image_requests.of_prompt(call)
        else:
            request = await image_requests.of_messages(call, asynchronous=True)
        task = _Task(str(uuid.uuid4()), request)
        self._tasks[task.task_id] = task
        return succeeded(call.request_id, output={"task_status": "PENDING", "task_id": task.task_id})

    async def get(self, call: Call) -> Answer:
        """Tell how a task stands."""
        if call.effects.one(TaskUnknown) is not None:
            self._tasks.pop(call.tail, None)
        task = self._tasks.get(call.tail)
        if task is None:
            return succeeded(call.request_id, output={"task_id": call.tail, "task_status": "UNKNOWN"})
        self._advance(call, task)
        output = {"task_id": task.task_id, "task_status": task.status(call.vendor.behaviour), **_times(task)}
        task.polls += 1
        return succeeded(call.request_id, output={**output, **task.output}, usage=task.usage)

    async def cancel(self, call: Call) -> Answer:
        """Cancel a task that is still PENDING."""
        task = self._tasks.get(call.tail)
        if task is None or task.status(call.vendor.behaviour) != "PENDING":
            # That it is an error is documented, its code is not. [guess]
            raise RefusedError(400, "UnsupportedOperation", "Only a task that is PENDING can be canceled.")
        task.end("CANCELED")
        return succeeded(call.request_id)

    async def list(self, call: Call) -> Answer:
        """List tasks, the newest first; of the documented filters, model and status are emulated."""
        query = call.query
        number, size = (_page_number(query.get(name), default) for name, default in (("page_no", 1), ("page_size", 10)))
        wanted_model, wanted_status = query.get("model_name"), query.get("status")
        found = [
            record
            for record in reversed(self.records(call.vendor.behaviour))
            if wanted_model in {None, record.model} and wanted_status in {None, record.status}
        ]
        page = found[(number - 1) * size : number * size]
        # The members of an entry are not documented. [guess]
        data = [{"task_id": task.task_id, "model_name": task.model, "status": task.status} for task in page]
        members = {"total": len(found), "data": data, "page_no": number, "page_size": size}
        pages = {"total_page": math.ceil(len(found) / size), "request_id": call.request_id}
        return Answer(200, encoded({**members, **pages}))

    def _advance(self, call: Call, task: _Task) -> None:
        """Let a task fail as ordered, or succeed when its time has come."""
        if task.ended is not None:
            return
        failed = call.effects.one(TaskFailed)
        if failed is not None:
            task.end("FAILED")
            task.output = {"code": failed.code, "message": failed.message}
        elif call.effects.one(PartlyFailed) is not None or task.status(call.vendor.behaviour) == "SUCCEEDED":
            task.end("SUCCEEDED")
            _succeed(call, task)


def _succeed(call: Call, task: _Task) -> None:
    request = task.request
    urls = images.links(call.vendor, request, call.effects)
    partly = call.effects.one(PartlyFailed)
    failed = min(partly.count, len(urls)) if partly is not None else 0
    task.usage = images.usage(request, len(urls) - failed)
    if request.model.task == "image-generation":
        task.output = {"finished": True, "choices": images.choices(request, urls[failed:])}
        return
    # Documented for text2image is the count alone.
    task.usage = {"image_count": len(urls) - failed}
    results: list[dict[str, object]] = [_result(request, url) for url in urls[failed:]]
    if partly is not None:
        results += [{"code": partly.code, "message": partly.message}] * failed
    task.output = {"results": results}
    # The Qwen models are not documented to have it.
    if request.name.startswith("wan") or failed:
        task.output["task_metrics"] = {"TOTAL": len(urls), "SUCCEEDED": len(urls) - failed, "FAILED": failed}


def _result(request: ImageRequest, url: str) -> dict[str, object]:
    rewritten = {"actual_prompt": f"{request.prompt}, in detail"} if request.extends else {}
    return {"orig_prompt": request.prompt, **rewritten, "url": url}


def _times(task: _Task) -> dict[str, object]:
    times: dict[str, object] = {"submit_time": _time(task.created), "scheduled_time": _time(task.created)}
    if task.ended is not None:
        times["end_time"] = _time(task.ended_at)
    return times


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, _ZONE).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _page_number(text: str | None, default: int) -> int:
    return max(1, int(text)) if text is not None and text.isdecimal() else default
