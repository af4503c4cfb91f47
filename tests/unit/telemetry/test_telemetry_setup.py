"""What a server's telemetry is made of, by its options and by what the SDK takes from the environment."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pixvox
from pixvox.telemetry import Telemetry, exporting, incoming_context, otlp
from pixvox.telemetry.buckets import BUCKETS
from pixvox.telemetry.options import Options
from pixvox.telemetry.resources import resource
from pixvox.telemetry.setup import propagator

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """No variable of the machine's own."""
    import os

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("Otel")]


def closed(telemetry: Telemetry) -> Telemetry:
    telemetry.close()
    return telemetry


def test_by_default_nothing_leaves_the_process():
    telemetry = Telemetry()
    assert not telemetry.recording
    assert isinstance(telemetry.tracer, trace.NoOpTracer)
    assert telemetry.log_records is None
    assert threads() == []
    telemetry.instruments.call_duration.record(1.0, {"rpc.method": "x"})
    assert b"rpc_server_call_duration_seconds_count" in telemetry.metrics_text()
    telemetry.close()


def test_disabled_there_is_nothing_at_all(exporter):
    telemetry = Telemetry(
        Options(disabled=True, traces=("otlp",), metrics=("otlp",), logs=("otlp",)), exporter=exporter
    )
    with telemetry.tracer.start_as_current_span("x"):
        telemetry.instruments.call_duration.record(1.0)
    telemetry.show_digest(lambda: "1f")
    assert telemetry.metrics_text() == b""
    assert telemetry.log_records is None
    assert threads() == []
    telemetry.close()
    assert exporter.get_finished_spans() == ()


def test_an_exporter_at_hand_gets_every_span(exporter):
    telemetry = Telemetry(exporter=exporter)
    with telemetry.tracer.start_as_current_span("outer"), telemetry.tracer.start_as_current_span("inner"):
        pass
    telemetry.close()
    assert [span.name for span in exporter.get_finished_spans()] == ["inner", "outer"]
    assert threads() == []


def test_the_sampler_never_has_an_exporter_started_that_it_leaves_without_work(exporter):
    telemetry = closed(Telemetry(Options(sampler="always_off"), exporter=exporter))
    assert not telemetry.recording


def test_a_file_gets_a_span_on_a_line(tmp_path):
    telemetry = Telemetry(Options(span_file=str(tmp_path / "spans")))
    with telemetry.tracer.start_as_current_span("drawn", attributes={"n": 1}):
        pass
    telemetry.close()
    (line,) = (tmp_path / "spans").read_text().splitlines()
    span = json.loads(line)
    assert (span["name"], span["attributes"]) == ("drawn", {"n": 1})
    assert span["resource"]["attributes"]["service.name"] == "pixvox"


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Telemetry(Options(span_file=str(tmp_path / "nowhere" / "spans"), metrics=("console",)))
    assert threads() == []


def test_the_console_gets_what_it_is_asked_for(capsys):
    telemetry = Telemetry(Options(traces=("console",), metrics=("console",), logs=("console",)))
    with telemetry.tracer.start_as_current_span("drawn"):
        telemetry.instruments.call_duration.record(1.0)
    assert telemetry.log_records is not None
    telemetry.log_records.get_logger("x").emit(body="a line")
    telemetry.close()
    said = capsys.readouterr().out
    assert '"drawn"' in said
    assert "rpc.server.call.duration" in said
    assert "a line" in said


def test_prometheus_and_none_push_nothing():
    assert threads() == []
    telemetry = Telemetry(Options(traces=("none", "otlp"), metrics=("prometheus",), logs=("none",)))
    assert threads() == []
    assert not telemetry.recording
    telemetry.close()


@pytest.mark.parametrize(("protocol", "home"), [("grpc", "proto.grpc"), ("http/protobuf", "proto.http")])
def test_the_protocol_decides_about_the_exporter(protocol, home):
    for make in (otlp.spans, otlp.metrics, otlp.logs):
        exporter = make(protocol)
        assert home in type(exporter).__module__
        exporter.shutdown()


def test_no_compression_may_be_said_aloud(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    otlp.spans("grpc").shutdown()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-5"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-3"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
    ],
)
def test_a_variable_that_the_sdk_cannot_use_is_refused_under_its_name(monkeypatch, name, value):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY)
    monkeypatch.setenv(name, value)
    family = "|".join(
        {name, name[: len("OTEL_BSP_")], name[: len("OTEL_EXPORTER_OTLP_")], name[: len("OTEL_METRIC_EXPORT_")]}
    )
    with pytest.raises(ValueError, match=family):
        Telemetry(Options(traces=("otlp",), metrics=("otlp",), logs=("otlp",)))
    assert threads() == []


def test_the_limits_of_the_sdk_hold(monkeypatch, exporter):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    telemetry = Telemetry(exporter=exporter)
    telemetry.tracer.start_span("x", attributes={"a": "12345", "b": "2", "c": "3"}).end()
    telemetry.close()
    (span,) = exporter.get_finished_spans()
    assert span.attributes == {"b": "2", "c": "3"}
    assert span.dropped_attributes == 1


def test_the_whole_service_tells_its_name_its_version_and_an_instance():
    first, second = resource().attributes, resource().attributes
    assert first["service.name"] == "pixvox"
    assert first["service.version"] == pixvox.__version__
    assert first["service.instance.id"] != second["service.instance.id"]


def test_the_environment_names_the_service_and_adds_to_it(monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,service.version=sha-1,team=media%20lab")
    assert resource().attributes["service.name"] == "other"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "drawings")
    attributes = resource().attributes
    assert (attributes["service.name"], attributes["service.version"]) == ("drawings", "sha-1")
    assert attributes["team"] == "media lab"


def test_an_instance_id_that_is_given_is_kept_where_there_is_one_process(monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=machine-7")
    assert resource().attributes["service.instance.id"] == "machine-7"


def test_every_histogram_has_its_buckets():
    telemetry = closed(Telemetry())
    there = {one.name for one in vars(telemetry.instruments).values() if isinstance(one, Histogram)}
    assert there == set(BUCKETS)
    for bounds in BUCKETS.values():
        assert list(bounds) == sorted(set(bounds))


def test_a_call_of_twenty_minutes_still_falls_into_a_bucket():
    telemetry = Telemetry()
    telemetry.instruments.call_duration.record(1199.0)
    text = telemetry.metrics_text().decode()
    telemetry.close()
    (line,) = [line for line in text.splitlines() if "call_duration_seconds_bucket" in line and 'le="1200"' in line]
    assert line.endswith(" 1.0")


def test_the_callers_trace_is_found_in_its_metadata():
    context = incoming_context({"traceparent": "00-000000000000000000000000000000a1-00000000000000b2-01"})
    found = trace.get_current_span(context).get_span_context()
    assert (found.trace_id, found.span_id, found.is_remote) == (0xA1, 0xB2, True)
    assert {"traceparent", "tracestate"} <= set(propagator().fields)


class Stuck(SpanExporter):
    """Takes as long as it is let."""

    def __init__(self) -> None:
        self.begun, self.let = threading.Event(), threading.Event()
        self.ended = False

    def export(self, spans: object) -> SpanExportResult:
        self.begun.set()
        self.let.wait(60)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.ended = True


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    one = Stuck()
    yield one
    one.let.set()


def test_an_exporter_that_is_stuck_is_cut_off_and_left_alone(monkeypatch, stuck):
    monkeypatch.setattr(exporting, "FLUSH_SECONDS", 0.2)
    monkeypatch.setattr(exporting, "CUT_SECONDS", 0.2)
    telemetry = Telemetry(exporter=stuck)
    telemetry.tracer.start_span("x").end()
    assert stuck.begun.wait(5)
    started = time.monotonic()
    telemetry.close()
    assert time.monotonic() - started < 2
    assert stuck.ended


def test_a_stuck_exporter_does_not_keep_the_others_from_their_last_spans(monkeypatch, stuck, tmp_path):
    monkeypatch.setattr(exporting, "FLUSH_SECONDS", 1.0)
    monkeypatch.setattr(exporting, "CUT_SECONDS", 0.1)
    telemetry = Telemetry(Options(span_file=str(tmp_path / "spans")), exporter=stuck)
    telemetry.tracer.start_span("first").end()
    assert stuck.begun.wait(5)
    telemetry.tracer.start_span("last").end()
    telemetry.close()
    assert [json.loads(line)["name"] for line in (tmp_path / "spans").read_text().splitlines()] == ["first", "last"]
