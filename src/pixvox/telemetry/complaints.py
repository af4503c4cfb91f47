"""What the SDK has to say about telemetry that cannot be sent: a warning now and then, not a line for every attempt."""

from __future__ import annotations

import contextvars
import logging
import re
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

log = structlog.get_logger("pixvox.telemetry")

# The loggers of the SDK and its exporters.
SDK = "opentelemetry"
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0

# Filled with what the SDK says during an export.
_overheard: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("pixvox_overheard", default=None)
_CREDENTIALS = re.compile(r"[^\s/@]+@")


class Pauses:
    """Lets through one of many complaints: the first, then one after each pause, which doubles up to `LONGEST_PAUSE`.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = -1.0
        self.seconds = 0.0

    def over(self) -> bool:
        """Tell whether it is time for the next complaint, and begin a new pause if it is."""
        now = self._clock()
        if self.seconds and now < self._next:
            return False
        self.seconds = min(max(2 * self.seconds, FIRST_PAUSE), LONGEST_PAUSE)
        self._next = now + self.seconds
        return True

    def end(self) -> None:
        """Have the next complaint be the first again."""
        self.seconds = 0.0


class Exports:
    """Watches over the exports of one signal.

    Args:
        signal: For the log: traces, metrics or logs.
        clock: Tells the time in seconds.
    """

    def __init__(self, signal: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._signal = signal
        self._pauses = Pauses(clock)
        self._lost = 0
        self._over = False

    def end(self) -> bool:
        """Let no further export begin, and complain no more; tell whether that is new."""
        was, self._over = self._over, True
        return not was

    def watched(self, items: int, export: Callable[[], T], failure: T) -> T:
        """Export, and complain if it fails.

        Args:
            items: Spans, log lines or readings of the metrics that are lost by a failure.
            export: Does it, in the thread that this is called in.
            failure: What it returns if it fails.
        """
        if self._over:
            return failure
        said: list[str] = []
        token = _overheard.set(said)
        try:
            result = export()
        finally:
            _overheard.reset(token)
        if result is failure:
            self._failed(items, said)
        elif self._lost:
            self._works_again()
        return result

    def _failed(self, items: int, said: list[str]) -> None:
        self._lost += items
        if not self._over and self._pauses.over():
            log.warning(
                "telemetry is not exported",
                signal=self._signal,
                lost=self._lost,
                reason=_CREDENTIALS.sub("", said[-1]) if said else None,
                next_warning_seconds=self._pauses.seconds,
            )

    def _works_again(self) -> None:
        log.info("telemetry is exported again", signal=self._signal, lost=self._lost)
        self._lost = 0
        self._pauses.end()


class Complaints(logging.Handler):
    """Takes the SDK's own log: what it says about an export becomes the reason in that export's warning.

    Everything else is let through once, and again after pauses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # By logger and template, of which the SDK has a fixed number.
        self._pauses: dict[tuple[str, str], Pauses] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        if (said := _overheard.get()) is not None:
            said.append(record.getMessage())
            return
        pauses = self._pauses.setdefault((record.name, str(record.msg)), Pauses(self._clock))
        if pauses.over():
            log.log(
                record.levelno,
                "telemetry",
                said=_CREDENTIALS.sub("", record.getMessage()),
                logger=record.name,
                exc_info=record.exc_info,
                next_warning_seconds=pauses.seconds,
            )


def hear() -> None:
    """Have the SDK's log go through `Complaints`, and nowhere else, in this process."""
    logger = logging.getLogger(SDK)
    logger.handlers[:] = [Complaints()]
    logger.propagate = False


def hear_all_of(logger: logging.Logger) -> None:
    """Take from a logger of the SDK the filter that keeps back of one signal what was said of another, if it is heard here."""
    if any(isinstance(handler, Complaints) for handler in logging.getLogger(SDK).handlers):
        logger.filters.clear()
