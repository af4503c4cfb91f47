"""Makes the spans of the worker and sends them over OTLP/HTTP.

One SERVER span per request, with the children `queue`, `inference` and, in that, `encode`: until the first step is over.
Names follow the OpenTelemetry conventions for HTTP (stable) and GenAI (1.42-dev), as literals because the latter still
move. Prompts, pictures and sound never become attributes. Sampler, headers, time limits and resource attributes are those
of the standard variables `OTEL_*`, which the SDK reads itself.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from pixvox_worker import __version__
from pixvox_worker.jobs import State
from pixvox_worker.tasks import PictureTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue
    from starlette.types import Scope

    from pixvox_worker.jobs import Job

_NANOSECONDS = 1_000_000_000


class Spans:
    """The tracer of one worker. Spans are sent by a thread of its own, and dropped where nobody takes them."""

    def __init__(self, endpoint: str, service_name: str, model: str) -> None:
        resource = Resource.create({SERVICE_NAME: service_name, SERVICE_VERSION: __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("pixvox_worker", __version__)
        self._model = model

    def begin(self, scope: Scope, headers: Mapping[bytes, bytes], request_id: str) -> Request:
        """The span of a request that comes in, as a child of the caller's."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        span = self._tracer.start_span(
            scope["method"],
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=_of_request(scope, request_id),
        )
        return Request(span, self._tracer, self._model)

    def close(self) -> None:
        """Send what is left; takes seconds where the collector does not answer."""
        self._provider.shutdown()


class Request:
    """The span of one request, and those of its job."""

    def __init__(self, span: Span, tracer: Tracer, model: str) -> None:
        self._span = span
        self._tracer = tracer
        self._model = model
        self._context = trace.set_span_in_context(span)

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def add(self, job: Job) -> None:
        """The spans of a job that is over, also after the end of the request that only began it."""
        if self._span.is_recording():
            self._span.set_attribute("pixvox.worker.job.state", job.state.value)
            if _is_fault(job):
                self._fail(_error_type(job))
        ended = job.finished_at or job.created_at
        self._between("queue", self._context, job.created_at, job.started_at or ended, job, _of_job(job))
        if job.started_at is None:
            return
        working = {**_of_job(job), **_of_task(job), "gen_ai.request.model": self._model}
        inference = self._between("inference", self._context, job.started_at, ended, job, working)
        self._between("encode", inference, job.started_at, job.first_step_at or ended, job, _of_job(job))

    def end(self, scope: Scope, status: int | None) -> None:
        """The answer is out; None where there was nobody left to read one."""
        route = getattr(scope.get("route"), "path", None)
        if route is not None:
            self._span.update_name(f"{scope['method']} {route}")
            self._span.set_attribute("http.route", route)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:
                self._fail(str(status))
        self._span.end()

    def _fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def _between(
        self, name: str, parent: Context, begun: float, ended: float, job: Job, attributes: dict[str, AttributeValue]
    ) -> Context:
        """A span that is over; the failure belongs to the one during which it came."""
        span = self._tracer.start_span(
            name, context=parent, attributes=attributes, start_time=int(begun * _NANOSECONDS)
        )
        if job.failure is not None and ended == job.finished_at:
            span.set_attribute("error.type", _error_type(job))
            if job.state is State.FAILED:
                span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=int(ended * _NANOSECONDS))
        return trace.set_span_in_context(span)


def _of_request(scope: Scope, request_id: str) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "pixvox.request_id": request_id,
    }
    if server := scope.get("server"):
        attributes["server.address"] = server[0]
        if server[1] is not None:
            attributes["server.port"] = server[1]
    return attributes


def _of_job(job: Job) -> dict[str, AttributeValue]:
    return {"pixvox.worker.job.id": job.job_id, "pixvox.worker.job.state": job.state.value}


def _of_task(job: Job) -> dict[str, AttributeValue]:
    task = job.task
    attributes: dict[str, AttributeValue] = {
        "pixvox.worker.task": task.kind,
        "pixvox.worker.steps": task.all_steps,
        "pixvox.worker.steps.done": job.step,
        "pixvox.worker.batch.size": job.batch_size,
    }
    if isinstance(task, PictureTask):
        attributes |= {
            "gen_ai.request.image.width": task.width,
            "gen_ai.request.image.height": task.height,
            "gen_ai.request.choice.count": task.layers or task.count,
        }
    return attributes


def _is_fault(job: Job) -> bool:
    return job.state is State.FAILED and job.failure is not None and job.failure.status >= 500


def _error_type(job: Job) -> str:
    return "_OTHER" if job.failure is None else job.failure.type
