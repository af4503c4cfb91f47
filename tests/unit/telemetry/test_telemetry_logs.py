"""Log lines: which call they belong to, which are left out, and what is exported of them."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import structlog
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from pixvox import logs
from pixvox.errors import InternalError
from pixvox.settings import LogSettings
from pixvox.telemetry import Call, calling

SAID = "what was said"
SPAN = NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1)))


@pytest.fixture(autouse=True)
def restored():
    """The logging of the process as it was."""
    root, sdk = logging.getLogger(), logging.getLogger("opentelemetry")
    before = root.handlers[:], root.level, sdk.handlers[:], sdk.propagate
    yield
    root.handlers[:], sdk.handlers[:], sdk.propagate = before[0], before[2], before[3]
    root.setLevel(before[1])
    structlog.reset_defaults()


@pytest.fixture
def written(capsys):
    """Tells the lines on standard error, after a set-up with some settings."""

    def set_up(**settings: object):
        logs.set_up(LogSettings(format="json", **settings))
        return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return set_up


@pytest.fixture
def exported():
    """The records that are exported."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))

    def records() -> list[object]:
        return [one.log_record for one in exporter.get_finished_logs()]

    return SimpleNamespace(telemetry=SimpleNamespace(log_records=provider), records=records)


def log() -> structlog.stdlib.BoundLogger:
    return structlog.get_logger("pixvox.tests")


def test_a_line_within_a_call_has_the_ids_of_request_trace_and_span(written):
    lines = written()
    with calling(Call("x", request_id="r-1")), trace.use_span(SPAN):
        log().warning("slow", seconds=3)
        logging.getLogger("library").warning("said %s", "so")
    for line in lines():
        assert (line["request_id"], line["trace_id"], line["span_id"]) == ("r-1", f"{0xA1:032x}", f"{0xB2:016x}")


def test_a_line_outside_of_calls_has_none_of_them(written):
    lines = written()
    log().info("serving")
    (line,) = lines()
    assert set(line) == {"event", "level", "timestamp"}


def test_what_a_line_says_itself_is_not_overwritten(written):
    lines = written()
    with calling(Call("x", request_id="r-1")), trace.use_span(SPAN):
        log().info("call", request_id="r-2", trace_id=None)
    (line,) = lines()
    assert line["request_id"] == "r-2"
    assert "trace_id" not in line


def test_an_exception_is_written_with_its_traceback_and_without_its_message_which_may_quote_a_caller(written):
    lines = written()
    try:
        try:
            raise ValueError("what was said")
        except ValueError as first:
            raise KeyError("what was said") from first
    except KeyError as error:
        log().error("failed", exc_info=error)
        log().error("failed", exc_info=True)
        logging.getLogger("library").exception("failed")
    for line in lines():
        assert [last for last in line["exception"].splitlines() if not last.startswith(" ")] == [
            "ValueError",
            "KeyError",
        ]
        assert line["exception"].count("test_telemetry_logs.py") == 2


def test_an_exception_of_ours_is_written_with_its_message_which_quotes_nobody(written):
    lines = written()
    log().error("failed", exc_info=InternalError("The service failed."))
    (line,) = lines()
    assert line["exception"] == "pixvox.errors.InternalError: The service failed."


def say_call(code: str, request_id: str) -> None:
    log().info(logs.CALL, code=code, request_id=request_id, method="x")


def test_by_default_every_call_has_its_line(written):
    lines = written()
    for number in range(50):
        say_call("OK", str(number))
    assert len(lines()) == 50


def test_of_calls_that_went_well_a_share_is_written_and_of_the_others_all(written):
    lines = written(sample=0.1)
    for number in range(2000):
        say_call("OK", f"request-{number}")
    for number in range(20):
        say_call("UNAVAILABLE", f"request-{number}")
    log().info("something else", code="OK")
    found = lines()
    assert 140 < len([line for line in found if line.get("code") == "OK" and line["event"] == "call"]) < 260
    assert len([line for line in found if line.get("code") == "UNAVAILABLE"]) == 20
    assert found[-1]["event"] == "something else"


def test_a_share_of_zero_writes_what_went_wrong_alone(written):
    lines = written(sample=0.0)
    say_call("OK", "a")
    say_call("CANCELLED", "b")
    assert [line["code"] for line in lines()] == ["CANCELLED"]


def test_a_request_that_comes_again_is_written_again_or_left_out_again():
    for number in range(200):
        first = logs.is_written("OK", f"request-{number}", 0.5)
        assert logs.is_written("OK", f"request-{number}", 0.5) is first
        # A larger share holds what a smaller one does.
        assert logs.is_written("OK", f"request-{number}", 0.7) >= first
        assert logs.is_written("OK", f"request-{number}", 1.0)


def test_a_line_is_exported_with_its_fields_and_the_trace_that_it_belongs_to(written, exported):
    written()
    with logs.exported(exported.telemetry), calling(Call("x", request_id="r-1")), trace.use_span(SPAN):
        log().info("call", code="OK", seconds=1.5, model=None, targets=["a", "b"], where={"x": 1}, whole=True)
    (record,) = exported.records()
    assert record.body == "call"
    assert (record.severity_number, record.severity_text) == (SeverityNumber.INFO, "INFO")
    assert (record.trace_id, record.span_id, record.trace_flags) == (0xA1, 0xB2, 1)
    assert dict(record.attributes) == {
        "code": "OK",
        "seconds": 1.5,
        "request_id": "r-1",
        "targets": ("a", "b"),
        "where": "{'x': 1}",
        "whole": True,
    }
    assert record.timestamp > 1e18


@pytest.mark.parametrize(
    ("level", "severity"),
    [("debug", "DEBUG"), ("info", "INFO"), ("warning", "WARN"), ("error", "ERROR"), ("critical", "FATAL")],
)
def test_levels_are_those_of_the_data_model(written, exported, level, severity):
    written(level="debug")
    with logs.exported(exported.telemetry):
        getattr(log(), level)("x")
        logging.getLogger("library").log(getattr(logging, level.upper()), "x")
    assert [record.severity_text for record in exported.records()] == [severity] * 2


def test_what_is_below_the_level_is_not_exported(written, exported):
    written(level="warning")
    with logs.exported(exported.telemetry):
        log().info("x")
        logging.getLogger("library").info("x")
    assert exported.records() == []


def test_an_exception_is_exported_without_its_message_which_may_quote_a_caller(written, exported):
    written()
    with logs.exported(exported.telemetry):
        try:
            raise KeyError(SAID)
        except KeyError as error:
            log().error("failed", exc_info=error)
            log().error("failed", exc_info=True)
            logging.getLogger("library").exception("failed")
    assert len(exported.records()) == 3
    for record in exported.records():
        assert record.attributes["exception.type"] == "KeyError"
        assert "test_telemetry_logs.py" in record.attributes["exception.stacktrace"]
        assert SAID not in f"{record.body} {dict(record.attributes)}"


def test_what_the_exporters_say_is_not_exported(written, exported):
    written()
    with logs.exported(exported.telemetry):
        logging.getLogger("urllib3.connectionpool").warning("Retrying")
    assert exported.records() == []


def test_lines_after_the_end_are_not_exported(written, exported):
    written()
    with logs.exported(exported.telemetry):
        log().info("within")
    log().info("after")
    assert [record.body for record in exported.records()] == ["within"]


def test_without_a_destination_there_is_no_further_handler(written):
    written()
    before = logging.getLogger().handlers[:]
    with logs.exported(SimpleNamespace(log_records=None)):
        assert logging.getLogger().handlers == before
