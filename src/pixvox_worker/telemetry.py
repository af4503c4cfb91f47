"""Which trace a request belongs to: in every log line, and in spans where the environment names a collector."""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from pixvox_worker.jobs import Job
    from pixvox_worker.settings import Settings
    from pixvox_worker.spans import Spans

NO_TRACE = "-"
# https://www.w3.org/TR/trace-context/#traceparent-header; zeros alone and version ff are invalid there.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class RequestTrace(Protocol):
    """The span of one request to the worker."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    def add(self, job: Job) -> None:
        """Tell what became of the job of this request, which is over."""
        ...

    def end(self, scope: Scope, status: int | None) -> None:
        """The answer is out; None where there was nobody left to read one."""
        ...


_trace_id: ContextVar[str] = ContextVar("worker_trace_id", default=NO_TRACE)
_request: ContextVar[RequestTrace | None] = ContextVar("worker_request_trace", default=None)


def start(settings: Settings) -> Spans | None:
    """What makes the spans, or None where they go nowhere; the SDK is imported only for the former."""
    if not settings.traces_endpoint:
        return None
    from pixvox_worker.spans import Spans  # noqa: PLC0415 - as said

    return Spans(settings.traces_endpoint, settings.otel_service_name, settings.model_id)


def enter(headers: Mapping[bytes, bytes], request: RequestTrace | None) -> None:
    """From here on this task works for the request with these headers."""
    _request.set(request)
    _trace_id.set(_named_in(headers) if request is None else request.trace_id)


def follow(job: Job) -> None:
    """Connect the job to the request that it is admitted for."""
    job.trace_id = _trace_id.get()
    request = _request.get()
    if request is not None:
        job.on_end.append(request.add)


class TraceFilter(logging.Filter):
    """Gives every record a `trace_id`, that of the request which the line is about unless it has its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass."""
        if not hasattr(record, "trace_id"):
            record.trace_id = _trace_id.get()
        return True


def _named_in(headers: Mapping[bytes, bytes]) -> str:
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b"").strip())
    return match[1].decode() if match else NO_TRACE
