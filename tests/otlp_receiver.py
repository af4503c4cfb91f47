"""A receiver of OTLP as a collector is one, over gRPC and over HTTP, which can be slow or refuse."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from calling import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable, Iterator

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

SIGNALS = {
    "traces": (trace_service_pb2.ExportTraceServiceRequest, trace_service_pb2.ExportTraceServiceResponse),
    "metrics": (metrics_service_pb2.ExportMetricsServiceRequest, metrics_service_pb2.ExportMetricsServiceResponse),
    "logs": (logs_service_pb2.ExportLogsServiceRequest, logs_service_pb2.ExportLogsServiceResponse),
}


@dataclass
class Receiver:
    """What came in, and how it is answered.

    Attributes:
        address: HOST:PORT.
        requests: Of each signal.
        headers: Of every request, with small letters.
        seconds: Before an answer.
        refusal: Instead of an answer; over HTTP it is 503.
    """

    address: str = ""
    requests: dict[str, list[Any]] = field(default_factory=lambda: {signal: [] for signal in SIGNALS})
    headers: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {signal: [] for signal in SIGNALS})
    seconds: float = 0.0
    refusal: grpc.StatusCode | None = None

    async def take(self, signal: str, request: Message, headers: Iterable[tuple[str, str]]) -> Message | None:
        """Keep a request and return the answer, None for a refusal."""
        self.headers[signal].append({key.lower(): value for key, value in headers})
        await asyncio.sleep(self.seconds)
        if self.refusal is not None:
            return None
        self.requests[signal].append(request)
        return SIGNALS[signal][1]()

    def spans(self) -> list[tuple[dict[str, Any], Span]]:
        """Each span with its resource's attributes."""
        groups = ((group.resource, scope.spans) for group, scope in self._scopes("traces", "spans"))
        return [(attributes(resource.attributes), span) for resource, spans in groups for span in spans]

    def metrics(self) -> dict[str, Metric]:
        """The latest state of each metric."""
        return {metric.name: metric for _, scope in self._scopes("metrics", "metrics") for metric in scope.metrics}

    def records(self) -> list[tuple[dict[str, Any], LogRecord]]:
        """Each log record with its resource's attributes."""
        groups = ((group.resource, scope.log_records) for group, scope in self._scopes("logs", "logs"))
        return [(attributes(resource.attributes), record) for resource, records in groups for record in records]

    async def span(self, name: str) -> tuple[dict[str, Any], Span]:
        """Wait for a span."""
        await until(lambda: any(span.name == name for _, span in self.spans()), seconds=20)
        return next((resource, span) for resource, span in self.spans() if span.name == name)

    async def record(self, body: str) -> tuple[dict[str, Any], LogRecord]:
        """Wait for a log record."""
        await until(lambda: any(record.body.string_value == body for _, record in self.records()), seconds=20)
        return next((resource, record) for resource, record in self.records() if record.body.string_value == body)

    def _scopes(self, signal: str, kind: str) -> Iterator[tuple[Any, Any]]:
        for request in self.requests[signal]:
            for group in getattr(request, f"resource_{kind}"):
                for scope in getattr(group, f"scope_{kind}"):
                    yield group, scope


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: plain(pair.value) for pair in pairs}


def plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [plain(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@contextlib.asynccontextmanager
async def receiving(
    credentials: grpc.ServerCredentials | None = None, options: Iterable[tuple[str, Any]] = ()
) -> AsyncIterator[Receiver]:
    """A receiver over gRPC."""
    receiver = Receiver()
    server = grpc.aio.server(options=list(options))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Servicer("traces", receiver), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Servicer("metrics", receiver), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Servicer("logs", receiver), server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    receiver.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def receiving_http(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver over HTTP, of protobuf."""
    receiver = Receiver()

    async def post(request: web.Request) -> web.Response:
        signal = request.match_info["signal"]
        assert request.content_type == "application/x-protobuf"
        message = SIGNALS[signal][0].FromString(await request.read())
        answer = await receiver.take(signal, message, request.headers.items())
        if answer is None:
            return web.Response(status=503)
        return web.Response(body=answer.SerializeToString(), content_type="application/x-protobuf")

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/v1/{signal}", post)
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    receiver.address = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """The address of something that accepts connections and says nothing, ever."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in held:
            writer.close()


class _Servicer:
    def __init__(self, signal: str, receiver: Receiver) -> None:
        self._signal = signal
        self._receiver = receiver

    async def Export(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        answer = await self._receiver.take(self._signal, request, context.invocation_metadata() or ())
        if answer is None:
            await context.abort(self._receiver.refusal, "no")
        return answer
