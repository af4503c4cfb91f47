"""Telemetry that cannot be sent: how often that is told, and what is told."""

from __future__ import annotations

import logging

import pytest
import structlog
from structlog.testing import capture_logs

from pixvox.telemetry import complaints
from pixvox.telemetry.complaints import FIRST_PAUSE, LONGEST_PAUSE, Complaints, Exports, Pauses


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sdk(clock):
    """A logger of the SDK that goes through Complaints."""
    parent = logging.getLogger(complaints.SDK)
    before = parent.handlers[:], parent.propagate
    complaints.hear()
    parent.handlers[:] = [Complaints(clock)]
    yield logging.getLogger(f"{complaints.SDK}.exporter.otlp.tests")
    parent.handlers[:], parent.propagate = before


@pytest.fixture
def lines():
    structlog.reset_defaults()
    with capture_logs() as caught:
        yield caught


def failing(exports: Exports, items: int = 1, logger: logging.Logger | None = None, said: str = "no") -> bool:
    def export() -> bool:
        if logger is not None:
            logger.warning("trying again")
            logger.error(said)
        return False

    return exports.watched(items, export, False)


def test_pauses_double_up_to_a_bound(clock):
    pauses = Pauses(clock)
    begun = []
    for _ in range(24 * 3600):
        if pauses.over():
            begun.append(pauses.seconds)
        clock.now += 1
    assert begun[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert begun[-1] == LONGEST_PAUSE
    assert len(begun) < 32


def test_failures_are_told_once_then_after_pauses_with_all_that_was_lost(clock, sdk, lines):
    exports = Exports("traces", clock)
    for _ in range(100):
        failing(exports, 3, sdk)
    assert len(lines) == 1
    assert lines[0] == {
        "event": "telemetry is not exported",
        "log_level": "warning",
        "signal": "traces",
        "lost": 3,
        "reason": "no",
        "next_warning_seconds": FIRST_PAUSE,
    }
    clock.now += FIRST_PAUSE
    failing(exports, 3, sdk)
    assert [line["lost"] for line in lines] == [3, 303]


def test_it_is_told_when_exports_work_again_and_the_next_failure_is_told_at_once(clock, sdk, lines):
    exports = Exports("logs", clock)
    failing(exports)
    failing(exports)
    assert exports.watched(1, lambda: True, False)
    exports.watched(1, lambda: True, False)
    failing(exports)
    assert [line["event"] for line in lines] == [
        "telemetry is not exported",
        "telemetry is exported again",
        "telemetry is not exported",
    ]
    assert lines[1]["lost"] == 2
    assert lines[2]["lost"] == 1


def test_signals_complain_each_for_itself(clock, sdk, lines):
    failing(Exports("traces", clock), logger=sdk)
    failing(Exports("metrics", clock), logger=sdk)
    assert [(line["signal"], line["reason"]) for line in lines] == [("traces", "no"), ("metrics", "no")]


def test_credentials_in_an_endpoint_are_not_told(clock, sdk, lines):
    failing(Exports("traces", clock), logger=sdk, said="Failed to export to https://user:hush@collector:4317")
    assert lines[0]["reason"] == "Failed to export to https://collector:4317"


def test_after_the_end_nothing_is_exported_and_nothing_told(clock, lines):
    exports = Exports("traces", clock)
    assert exports.end()
    assert not exports.end()
    assert exports.watched(1, lambda: pytest.fail("exported"), False) is False
    assert lines == []


def test_what_the_sdk_says_beside_exports_is_let_through_once(clock, sdk, lines):
    for _ in range(50):
        sdk.warning("Queue full, dropping %s.", "Span")
    sdk.error("Something else")
    assert [(line["said"], line["log_level"]) for line in lines] == [
        ("Queue full, dropping Span.", "warning"),
        ("Something else", "error"),
    ]
    assert {line["logger"] for line in lines} == {sdk.name}
    clock.now += FIRST_PAUSE
    sdk.warning("Queue full, dropping %s.", "Span")
    assert len(lines) == 3


def test_an_export_that_raises_leaves_the_rest_as_it_was(clock, sdk, lines):
    def export() -> bool:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        Exports("traces", clock).watched(1, export, False)
    sdk.warning("told")
    assert [line["said"] for line in lines] == ["told"]
