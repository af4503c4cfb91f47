"""The exporters of OTLP, which are loaded where they are asked for.

They read `OTEL_EXPORTER_OTLP_*` themselves.
Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from grpc import Compression
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.exporter import InvalidCompressionValueException
from opentelemetry.exporter.otlp.proto.grpc.exporter import logger as grpc_logger
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

from pixvox.telemetry import complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

    from pixvox.telemetry.options import Protocol

T = TypeVar("T")


def spans(protocol: Protocol) -> SpanExporter:
    """Return what sends spans.

    Raises:
        ValueError: A variable of the environment cannot be used, here as in the others.
    """
    return _over_grpc(GrpcSpans) if protocol == "grpc" else HttpSpans()


def metrics(protocol: Protocol) -> MetricExporter:
    """Return what sends metrics."""
    return _over_grpc(GrpcMetrics) if protocol == "grpc" else HttpMetrics()


def logs(protocol: Protocol) -> LogRecordExporter:
    """Return what sends log lines."""
    return _over_grpc(GrpcLogs) if protocol == "grpc" else HttpLogs()


def _over_grpc(exporter: Callable[..., T]) -> T:
    complaints.hear_all_of(grpc_logger)
    try:
        return exporter()
    except InvalidCompressionValueException as error:
        # These exporters (1.45.2) know gzip alone, though the standard has a word for none.
        if '"none"' in str(error):
            return exporter(compression=Compression.NoCompression)
        raise ValueError(str(error)) from error
    except (KeyError, RuntimeError) as error:
        raise ValueError(str(error)) from error
