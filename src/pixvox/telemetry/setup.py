"""Tracer, meter, metric registry and log records of one server."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import prometheus_client
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter, NoOpMeter, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.trace import TracerProvider

import pixvox
from pixvox.telemetry.buckets import views
from pixvox.telemetry.exporting import Outlets, naming
from pixvox.telemetry.instruments import Instruments
from pixvox.telemetry.options import Options
from pixvox.telemetry.resources import resource
from pixvox.telemetry.sampling import KeptCalls, keeps, sampler_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

# The conventions that the names of most spans and metrics come from.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


class Telemetry:
    """Tracer, meter, metric registry and log records of one server; nothing is global.

    Attributes:
        recording: Whether spans go anywhere; if not, the tracer does nothing.
        tracer: Makes the spans.
        instruments: Of the metrics.
        context_keys: Keys of call metadata that carry a trace context.
        registry: Has all metrics for Prometheus.
        log_records: Takes log lines; None if they go nowhere but to standard error.
        captures_content: Whether spans of operations hold the words that callers sent.
    """

    def __init__(self, options: Options | None = None, *, exporter: SpanExporter | None = None) -> None:
        """Set up.

        Args:
            options: What is sent where to; nothing without them.
            exporter: Gets every exported span as well, for tests and embedding.

        Raises:
            ValueError: A variable of the environment cannot be used; the text names it.
            OSError: The file for spans cannot be written.
        """
        options = options or Options()
        self.context_keys = frozenset(propagator().fields)
        self._outlets = Outlets()
        self._files = contextlib.ExitStack()
        self.registry = prometheus_client.CollectorRegistry()
        self.recording = False
        self.captures_content = options.capture_content
        self.tracer: trace.Tracer = trace.NoOpTracer()
        self.log_records: LoggerProvider | None = None
        self._meter: Meter = NoOpMeter("pixvox")
        try:
            if not options.disabled:
                self._open(options, exporter, resource())
        except (ValueError, OSError):
            self.close()
            raise
        self.instruments = Instruments(self._meter)

    def show_digest(self, digest: Callable[[], str]) -> None:
        """Make a metric of the digest of the configuration that is in force: 1, with the digest as its attribute."""
        self._meter.create_observable_gauge(
            "pixvox.config.info",
            callbacks=[lambda _: [Observation(1, {"digest": digest()})]],
            description="The configuration that is in force.",
        )

    def metrics_text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return prometheus_client.generate_latest(self.registry)

    def close(self) -> None:
        """Export what is left and stop the exporters' threads. Blocks for at most some seconds, whatever the receivers do."""
        self._outlets.close()
        self._files.close()

    def _open(self, options: Options, exporter: SpanExporter | None, source: Resource) -> None:
        pushed = self._outlets.metrics(options)
        readers = [PrometheusMetricReader(registry=self.registry), *pushed]
        # Prometheus' text has no exemplars, so that they would be collected for nobody.
        exemplars = None if pushed else AlwaysOffExemplarFilter()
        with naming("OTEL_METRICS_EXEMPLAR_FILTER"):
            metrics = MeterProvider(readers, source, exemplar_filter=exemplars, shutdown_on_exit=False, views=views())
        self._meter = metrics.get_meter("pixvox", pixvox.__version__, SCHEMA_URL)
        if options.sampler != "always_off" and (onward := self._onward(options, exporter)):
            sampler = sampler_of(options)
            traces = TracerProvider(sampler, source, shutdown_on_exit=False)
            for processor in onward:
                traces.add_span_processor(processor)
            self.recording = True
            self.tracer = traces.get_tracer("pixvox", pixvox.__version__, SCHEMA_URL)
        if processors := self._outlets.logs(options):
            self.log_records = LoggerProvider(source, shutdown_on_exit=False)
            for taker in processors:
                self.log_records.add_log_record_processor(taker)

    def _onward(self, options: Options, exporter: SpanExporter | None) -> list[SpanProcessor]:
        """Return what finished spans go through; nothing if they go nowhere."""
        processors = self._outlets.spans(options)
        if options.span_file:
            path = Path(options.span_file)
            processors.append(
                self._outlets.spans_into_file(self._files.enter_context(path.open("a", encoding="utf-8")))
            )
        if exporter is not None:
            processors.append(self._outlets.spans_into(exporter))
        if processors and keeps(options):
            return [KeptCalls(processors, failed=options.keep_failed, slow_seconds=options.slow_seconds)]
        return processors


def incoming_context(metadata: Mapping[str, str]) -> Context:
    """Return the caller's trace context, by `OTEL_PROPAGATORS`."""
    return propagator().extract(metadata)


def propagator() -> TextMapPropagator:
    """Return what reads and writes trace contexts, by `OTEL_PROPAGATORS`; its `fields` are the keys of metadata that have one.

    Raises:
        ValueError: There is no propagator of that name.
    """
    try:
        from opentelemetry import propagate  # noqa: PLC0415 - raises over the variable when it is loaded
    except ValueError as error:
        raise ValueError(f"OTEL_PROPAGATORS: {error}") from error
    return propagate.get_global_textmap()
