"""Traces, metrics and the record of the running call: set-up, and every attribute name as our own constant.

Names follow the OpenTelemetry conventions for RPC (1.44, release candidate) and GenAI (1.42-dev). They are literals
because the GenAI names still move. Prompts, text and media never become attributes.
"""

from __future__ import annotations

import contextlib
import contextvars
import uuid
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import prometheus_client
from opentelemetry import propagate, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import pixvox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

RPC_SYSTEM_NAME = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS_CODE = "rpc.status_code"
ERROR_TYPE = "error.type"
GEN_AI_OPERATION_NAME = "gen_ai.operation.name"
GEN_AI_OUTPUT_TYPE = "gen_ai.output.type"
GEN_AI_PROVIDER_NAME = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
GEN_AI_REQUEST_SEED = "gen_ai.request.seed"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
PIXVOX_REQUEST_ID = "pixvox.request_id"
PIXVOX_IMAGES = "pixvox.usage.images"
PIXVOX_CHARACTERS = "pixvox.usage.characters"
PIXVOX_AUDIO_SECONDS = "pixvox.usage.audio_seconds"
# HTTP client spans, stable: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
HTTP_REQUEST_METHOD = "http.request.method"
HTTP_REQUEST_RESEND_COUNT = "http.request.resend_count"
HTTP_REQUEST_BODY_SIZE = "http.request.body.size"
HTTP_RESPONSE_BODY_SIZE = "http.response.body.size"
HTTP_RESPONSE_STATUS_CODE = "http.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
URL_FULL = "url.full"
PIXVOX_UPSTREAM_OPERATION = "pixvox.upstream.operation"
PIXVOX_REPLAY_CLASS = "pixvox.attempt.replay_class"
PIXVOX_EVENTS_RECEIVED = "pixvox.events.received"
PIXVOX_SOCKET_CLOSE_CODE = "pixvox.socket.close_code"
PIXVOX_SOCKET_MESSAGES_SENT = "pixvox.socket.messages.sent"
PIXVOX_SOCKET_MESSAGES_RECEIVED = "pixvox.socket.messages.received"

# The conventions count these as the server's own fault; every other code is the caller's or nobody's.
SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1200)


@dataclass(slots=True)
class Call:
    """The running RPC, for its log line and its errors.

    Attributes:
        method: Such as `pixvox.v1.ImageService/GenerateImage`.
        request_id: The caller's own, or one made here.
        provider: That serves it, once that is known.
        model: That serves it, once that is known.
    """

    method: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    provider: str = ""
    model: str = ""


_call: contextvars.ContextVar[Call] = contextvars.ContextVar("pixvox_call")


def current_call() -> Call:
    """Return the running RPC; only within one."""
    return _call.get()


@contextlib.contextmanager
def calling(call: Call) -> Iterator[Call]:
    """Make `call` the running RPC for the block."""
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)


class Telemetry:
    """Tracer, meter and metric registry of one server; nothing is global."""

    def __init__(self, *, span_file: Path | None = None, exporter: SpanExporter | None = None) -> None:
        """Set up.

        Args:
            span_file: A file to which finished spans are appended as JSON, one a line.
            exporter: Gets every finished span as well, for tests and embedding.
        """
        resource = Resource.create({"service.name": "pixvox", "service.version": pixvox.__version__})
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._file: IO[str] | None = None
        if span_file is not None:
            self._file = span_file.open("a", encoding="utf-8")
            self._traces.add_span_processor(
                BatchSpanProcessor(ConsoleSpanExporter(out=self._file, formatter=_json_line), schedule_delay_millis=200)
            )
        if exporter is not None:
            self._traces.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
        self.recording = span_file is not None or exporter is not None
        self.registry = prometheus_client.CollectorRegistry()
        self._metrics = MeterProvider(
            resource=resource,
            metric_readers=[PrometheusMetricReader(registry=self.registry)],
            shutdown_on_exit=False,
            views=[
                View(
                    instrument_name="rpc.server.call.duration",
                    aggregation=ExplicitBucketHistogramAggregation(DURATION_BUCKETS),
                )
            ],
        )
        self.tracer = self._traces.get_tracer("pixvox", pixvox.__version__) if self.recording else trace.NoOpTracer()
        meter = self._metrics.get_meter("pixvox", pixvox.__version__)
        self.call_duration = meter.create_histogram(
            "rpc.server.call.duration", unit="s", description="Duration of calls to this service."
        )
        self.calls_in_flight = meter.create_up_down_counter(
            "pixvox.calls.in_flight", unit="{call}", description="Calls that are running."
        )

    def metrics_text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return prometheus_client.generate_latest(self.registry)

    def close(self) -> None:
        """Export what is left and stop the exporters' threads. Blocks for at most some seconds."""
        self._traces.shutdown()
        self._metrics.shutdown()
        if self._file is not None:
            self._file.close()


def incoming_context(metadata: Mapping[str, str]) -> Context:
    """Return the caller's W3C trace context."""
    return propagate.extract(metadata)


def _json_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
