"""Keeps calls away from a target that fails, and tries it with a few of them before it is used again."""

from __future__ import annotations

import enum
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.errors import PixvoxError, reason_name
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1.model_service_pb2 import BREAKER_STATE_CLOSED, BREAKER_STATE_HALF_OPEN, BREAKER_STATE_OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.v1.model_service_pb2 import BreakerState

# The target does not work, whoever calls it with whatever.
FAILURES = frozenset(
    {
        reasons.ERROR_REASON_PROVIDER_UNAVAILABLE,
        reasons.ERROR_REASON_PROVIDER_DISCONNECTED,
        reasons.ERROR_REASON_PROVIDER_INTERNAL,
        reasons.ERROR_REASON_PROVIDER_TIMEOUT,
        reasons.ERROR_REASON_OUTCOME_UNKNOWN,
        reasons.ERROR_REASON_PROVIDER_CREDENTIALS,
        reasons.ERROR_REASON_PROVIDER_BILLING,
        reasons.ERROR_REASON_PROVIDER_CONFIG,
        reasons.ERROR_REASON_PROVIDER_NOT_CONFIGURED,
        reasons.ERROR_REASON_MODEL_ENDPOINT_MISMATCH,
    }
)
# Only a provider that works says these. What the service itself may find wrong is not among them: a request that was
# refused before it was sent says nothing about the target, and must not close its circuit.
ANSWERS = frozenset(
    {
        reasons.ERROR_REASON_INVALID_PARAMETER,
        reasons.ERROR_REASON_INVALID_INPUT,
        reasons.ERROR_REASON_INVALID_AUDIO,
        reasons.ERROR_REASON_INPUT_DOWNLOAD_FAILED,
        reasons.ERROR_REASON_CONTENT_BLOCKED,
        reasons.ERROR_REASON_CONTENT_BLOCKED_INPUT,
        reasons.ERROR_REASON_CONTENT_BLOCKED_OUTPUT,
        reasons.ERROR_REASON_VOICE_QUOTA,
        reasons.ERROR_REASON_PROVIDER_ACCESS_DENIED,
        reasons.ERROR_REASON_PROVIDER_REJECTED,
        reasons.ERROR_REASON_CONFLICT,
        reasons.ERROR_REASON_TASK_NOT_FOUND,
        reasons.ERROR_REASON_OUTPUT_TOO_LARGE,
    }
)

_SLICES = 10


class Outcome(enum.Enum):
    """What the end of a call says about its target."""

    SUCCESS = enum.auto()
    FAILURE = enum.auto()
    NEUTRAL = enum.auto()


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what the error that ended a call, or None, says about its target."""
    if error is None:
        return Outcome.SUCCESS
    if isinstance(error, PixvoxError):
        if error.reason in FAILURES:
            return Outcome.FAILURE
        # What a provider said with a code of its own was said by a provider that works.
        if error.reason in ANSWERS or (error.metadata.get("provider_code") and not _exhausted(error)):
            return Outcome.SUCCESS
    return Outcome.NEUTRAL


def cause_of(error: BaseException | None) -> str:
    """Return the reason of an error for a sentence about it."""
    return reason_name(error.reason) if isinstance(error, PixvoxError) else ""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a circuit opens and closes; the fields are those of `pixvox.settings.TargetSettings`."""

    failures: int = 5
    error_rate: float = 0.5
    min_calls: int = 10
    window_seconds: float = 30.0
    open_seconds: float = 10.0
    probes: int = 1


class CircuitBreaker:
    """Counts how calls end, and says whether the next one may be sent.

    Closed, it lets everything through, until so many calls in a row have failed or such a share of those of the latest
    seconds. Open, it lets nothing through for a while; then it is half-open and lets a few calls through as probes. It
    closes when as many as that have succeeded, and opens again with the first that fails. A probe that says nothing, for
    instance because its caller left, gives its place back.
    """

    def __init__(
        self,
        rules: BreakerRules,
        *,
        changed: Callable[[BreakerState.ValueType, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start closed.

        Args:
            rules: When it opens and closes.
            changed: Is called with every new state and why it was taken.
            clock: In seconds.
        """
        self.reason = ""
        self._rules = rules
        self._changed = changed
        self._clock = clock
        self._state: BreakerState.ValueType = BREAKER_STATE_CLOSED
        # Grows with each state, so that a call cannot speak for a later one than it was let through in.
        self._era = 0
        self._opened_at = 0.0
        self._in_a_row = 0
        self._probing = 0
        self._succeeded = 0
        self._window = _Window(rules.window_seconds)

    @property
    def state(self) -> BreakerState.ValueType:
        """What a call would find now."""
        if self._state == BREAKER_STATE_OPEN and self.rest() <= 0:
            return BREAKER_STATE_HALF_OPEN
        return self._state

    def rest(self) -> float:
        """Return how many seconds it stays open, 0 if it is not."""
        if self._state != BREAKER_STATE_OPEN:
            return 0.0
        return max(0.0, self._opened_at + self._rules.open_seconds - self._clock())

    def passes(self) -> bool:
        """Return whether a call may be sent now."""
        if self._state == BREAKER_STATE_CLOSED:
            return True
        if self._state == BREAKER_STATE_OPEN:
            return self.rest() <= 0
        return self._probing + self._succeeded < self._rules.probes

    def enter(self) -> int:
        """Let a call through, which `passes` has allowed, and return what `settle` wants to know of it."""
        if self._state == BREAKER_STATE_OPEN:
            self._become(BREAKER_STATE_HALF_OPEN, f"{self._rules.open_seconds:g} s are over")
        if self._state == BREAKER_STATE_HALF_OPEN:
            self._probing += 1
        return self._era

    def settle(self, era: int, outcome: Outcome, cause: str = "") -> None:
        """Take in how a call ended, once for each `enter`.

        Args:
            era: From `enter`. What ends in a later one says nothing any more.
            outcome: Of the call.
            cause: The reason of its error, for people.
        """
        if era != self._era:
            return
        if self._state == BREAKER_STATE_HALF_OPEN:
            self._probing -= 1
        if outcome is Outcome.FAILURE:
            self.fail(cause)
        elif outcome is Outcome.SUCCESS:
            self._succeed()

    def fail(self, cause: str) -> None:
        """Take in a failure of a call that has been settled before, such as a stream that broke after it had begun."""
        if self._state == BREAKER_STATE_HALF_OPEN:
            self._open(f"a probe failed with {cause}")
        elif self._state == BREAKER_STATE_CLOSED:
            self._in_a_row += 1
            self._window.add(self._clock(), failed=True)
            if what := self._too_much():
                self._open(f"{what} failed, the last with {cause}")

    def reconfigure(self, rules: BreakerRules) -> None:
        """Go by other rules from now on; what was counted stays."""
        self._rules = rules
        self._window.seconds = rules.window_seconds
        if self._state == BREAKER_STATE_CLOSED:
            return
        if not rules.failures and not rules.error_rate:
            self._close("the settings let it never open")
        elif self._state == BREAKER_STATE_HALF_OPEN and self._succeeded >= rules.probes:
            self._close(f"{self._succeeded} probes succeeded")

    def _succeed(self) -> None:
        if self._state == BREAKER_STATE_CLOSED:
            self._in_a_row = 0
            self._window.add(self._clock(), failed=False)
        elif self._state == BREAKER_STATE_HALF_OPEN:
            self._succeeded += 1
            if self._succeeded >= self._rules.probes:
                self._close(f"{self._succeeded} of {self._rules.probes} probes succeeded")

    def _too_much(self) -> str:
        """Return what has failed too often, or an empty text."""
        rules = self._rules
        if rules.failures and self._in_a_row >= rules.failures:
            return f"{self._in_a_row} calls in a row"
        calls, failed = self._window.totals(self._clock())
        if rules.error_rate and calls >= rules.min_calls and failed >= rules.error_rate * calls:
            return f"{failed} of {calls} calls in {rules.window_seconds:g} s"
        return ""

    def _open(self, reason: str) -> None:
        self._opened_at = self._clock()
        self._become(BREAKER_STATE_OPEN, reason)

    def _close(self, reason: str) -> None:
        self._in_a_row = 0
        self._window = _Window(self._rules.window_seconds)
        self._become(BREAKER_STATE_CLOSED, reason)

    def _become(self, state: BreakerState.ValueType, reason: str) -> None:
        self._state = state
        self._era += 1
        self._probing = self._succeeded = 0
        # While probes run, what a person wants to know is still why it opened.
        if state != BREAKER_STATE_HALF_OPEN:
            self.reason = reason if state == BREAKER_STATE_OPEN else ""
        self._changed(state, reason)


class _Window:
    """Counts of the latest seconds, in slices that fall out one by one: they look back between 0.9 and 1.0 of the time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Beginning, calls, failures.
        self._slices: deque[tuple[float, int, int]] = deque()
        self._calls = 0
        self._failed = 0

    def add(self, now: float, *, failed: bool) -> None:
        begin, calls, failures = now, 0, 0
        if self._slices and now - self._slices[-1][0] < self.seconds / _SLICES:
            begin, calls, failures = self._slices.pop()
        self._slices.append((begin, calls + 1, failures + failed))
        self._calls += 1
        self._failed += failed
        self._forget(now)

    def totals(self, now: float) -> tuple[int, int]:
        self._forget(now)
        return self._calls, self._failed

    def _forget(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] >= self.seconds:
            _, calls, failures = self._slices.popleft()
            self._calls -= calls
            self._failed -= failures


def _exhausted(error: PixvoxError) -> bool:
    return error.reason in {reasons.ERROR_REASON_RATE_LIMITED, reasons.ERROR_REASON_QUOTA_EXCEEDED}
