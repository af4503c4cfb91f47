"""Exporters that never hold up a call: each in its own thread, behind a bounded queue, and with a bounded end.

The queues, their bounds and the threads are the SDK's, which takes them from `OTEL_BSP_*`, `OTEL_BLRP_*` and
`OTEL_METRIC_EXPORT_*`. Here it gets exporters that complain with measure and can be cut off.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, TypeVar

from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    ConsoleLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from pixvox.telemetry.complaints import Exports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

    from pixvox.telemetry.options import Destination, Options

Exporter = TypeVar("Exporter")

# What is queued at the end gets this long to be sent; then it is cut off, and its thread gets this long to notice.
FLUSH_SECONDS = 3.0
CUT_SECONDS = 1.0
# A file and an exporter of this process take spans more often than a receiver.
NEAR_DELAY_MILLISECONDS = 200


class Outlets:
    """All that telemetry leaves through, to be closed together."""

    def __init__(self) -> None:
        self._ends: list[tuple[Callable[[], object], Callable[[], None]]] = []

    def spans(self, options: Options) -> list[SpanProcessor]:
        """Return what takes finished spans where the options say.

        Raises:
            ValueError: A variable of the environment cannot be used.
        """
        with naming("OTEL_EXPORTER_OTLP_*"):
            exporters = _exporters(
                options.traces,
                lambda: ConsoleSpanExporter(out=sys.stdout, formatter=_json_line),
                lambda: _otlp().spans(options.traces_protocol),
            )
        with naming("OTEL_BSP_*"):
            return [self._of_spans(exporter) for exporter in exporters]

    def spans_into(self, exporter: SpanExporter) -> SpanProcessor:
        """Return what takes finished spans for an exporter that is at hand."""
        return self._of_spans(exporter, delay=NEAR_DELAY_MILLISECONDS)

    def spans_into_file(self, file: IO[str]) -> SpanProcessor:
        """Return what takes finished spans for a file: an object of JSON on a line."""
        return self.spans_into(ConsoleSpanExporter(out=file, formatter=_json_line))

    def metrics(self, options: Options) -> list[MetricReader]:
        """Return what pushes metrics where the options say.

        Raises:
            ValueError: A variable of the environment cannot be used.
        """
        with naming("OTEL_EXPORTER_OTLP_*"):
            exporters = _exporters(
                options.metrics,
                lambda: ConsoleMetricExporter(out=sys.stdout),
                lambda: _otlp().metrics(options.metrics_protocol),
            )
        with naming("OTEL_METRIC_EXPORT_*"):
            return [self._of_metrics(exporter) for exporter in exporters]

    def logs(self, options: Options) -> list[LogRecordProcessor]:
        """Return what takes log lines where the options say.

        Raises:
            ValueError: A variable of the environment cannot be used.
        """
        with naming("OTEL_EXPORTER_OTLP_*"):
            exporters = _exporters(
                options.logs,
                lambda: ConsoleLogRecordExporter(out=sys.stdout),
                lambda: _otlp().logs(options.logs_protocol),
            )
        with naming("OTEL_BLRP_*"):
            return [self._of_logs(exporter) for exporter in exporters]

    def close(self) -> None:
        """Send what is queued, within `FLUSH_SECONDS`; after `CUT_SECONDS` more, no thread is waited for any longer."""
        threads = [threading.Thread(target=stop, daemon=True) for stop, _ in self._ends]
        for thread in threads:
            thread.start()
        if not _joined(threads, FLUSH_SECONDS):
            for thread, (_, cut) in zip(threads, self._ends, strict=True):
                if thread.is_alive():
                    cut()
            _joined(threads, CUT_SECONDS)
        self._ends.clear()

    def _of_spans(self, exporter: SpanExporter, delay: int | None = None) -> SpanProcessor:
        watched = _Spans(exporter)
        processor = BatchSpanProcessor(watched, schedule_delay_millis=delay)
        self._ends.append((processor.shutdown, watched.shutdown))
        return processor

    def _of_metrics(self, exporter: MetricExporter) -> MetricReader:
        watched = _Metrics(exporter)
        reader = PeriodicExportingMetricReader(watched)
        self._ends.append((reader.shutdown, watched.shutdown))
        return reader

    def _of_logs(self, exporter: LogRecordExporter) -> LogRecordProcessor:
        watched = _Logs(exporter)
        processor = BatchLogRecordProcessor(watched)
        self._ends.append((processor.shutdown, watched.shutdown))
        return processor


@contextlib.contextmanager
def naming(variables: str) -> Iterator[None]:
    """Name the variables of the environment over which the SDK raises a ValueError in the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{variables}: {error}") from error


class _Spans(SpanExporter):
    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._exports = Exports("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exports.watched(len(spans), lambda: self._exporter.export(spans), SpanExportResult.FAILURE)

    def shutdown(self) -> None:
        if self._exports.end():
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Metrics(MetricExporter):
    def __init__(self, exporter: MetricExporter) -> None:
        # What an exporter prefers is asked of it by the reader, under these names.
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._exports = Exports("metrics")

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: object) -> MetricExportResult:
        return self._exports.watched(
            1, lambda: self._exporter.export(metrics_data, timeout_millis), MetricExportResult.FAILURE
        )

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        if self._exports.end():
            self._exporter.shutdown(timeout_millis)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Logs(LogRecordExporter):
    def __init__(self, exporter: LogRecordExporter) -> None:
        self._exporter = exporter
        self._exports = Exports("logs")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return self._exports.watched(len(batch), lambda: self._exporter.export(batch), LogRecordExportResult.FAILURE)

    def shutdown(self) -> None:
        if self._exports.end():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it without types

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _exporters(
    destinations: Sequence[Destination], console: Callable[[], Exporter], otlp: Callable[[], Exporter]
) -> list[Exporter]:
    if "none" in destinations:
        return []
    # Prometheus fetches, at the side port.
    makers = {"console": console, "otlp": otlp}
    return [makers[destination]() for destination in dict.fromkeys(destinations) if destination in makers]


def _otlp() -> ModuleType:
    from pixvox.telemetry import otlp  # noqa: PLC0415 - most do without what it loads

    return otlp


def _joined(threads: Sequence[threading.Thread], seconds: float) -> bool:
    """Wait for threads to end; tell whether all of them did."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def _json_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
