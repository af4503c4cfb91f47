"""What protects one target, and its callers from it: circuit breaker, rate, places and queue, in one admission."""

from __future__ import annotations

import asyncio
import copy
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from pixvox.errors import CircuitOpenError, NotSentError, OverloadedError, PixvoxError
from pixvox.routing.breaker import CircuitBreaker, Outcome, cause_of, outcome_of
from pixvox.routing.queue import Entry, FairQueue
from pixvox.routing.rates import TokenBucket
from pixvox.routing.target_limits import TargetLimits, resolved
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1 import model_service_pb2
from pixvox.v1.model_service_pb2 import BREAKER_STATE_CLOSED, BREAKER_STATE_HALF_OPEN, BREAKER_STATE_OPEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pixvox.v1.model_service_pb2 import BreakerState

__all__ = ["Admission", "HealthObserver", "TargetHealth", "TargetLimits", "resolved"]

log = structlog.get_logger("pixvox.routing")

# After a rate limit that does not say for how long, and the most that one is believed.
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
# How much the latest call counts in the mean of durations.
_LATEST_SHARE = 0.2
# Until a probe's end tells more, if no call has ended yet.
_PROBE_SECONDS = 1.0
# A call that is cut off at its deadline counts as a failure if it ran so many times as long as calls do. If less were
# enough, a caller with short deadlines could close the target to all others.
_OVERDUE = 2.0
# A client that keeps the same deadline may cancel a little before it.
_DEADLINE_SLACK_SECONDS = 0.1

_EVENTS = {
    BREAKER_STATE_CLOSED: "circuit closed",
    BREAKER_STATE_OPEN: "circuit opened",
    BREAKER_STATE_HALF_OPEN: "circuit half-open",
}


class HealthObserver(Protocol):
    """Counts what happens at targets."""

    def waited(self, name: str, seconds: float) -> None:
        """Take in that a call begins at the target of that name after so long a wait, which may be 0."""
        ...

    def breaker(self, name: str, state: BreakerState.ValueType) -> None:
        """Take in that the target's breaker has changed to a state."""
        ...


class TargetHealth:
    """Decides for one model of one provider whether, and when, a call is sent to it, and learns from how it ends.

    It belongs to one event loop. It has no task: calls that wait are woken by those that end, and by a timer when they
    wait for the rate.
    """

    def __init__(
        self,
        name: str,
        limits: TargetLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        observer: HealthObserver | None = None,
    ) -> None:
        """Start healthy and idle.

        Args:
            name: PROVIDER/MODEL.
            limits: Of this process.
            clock: In seconds, as fast as the event loop's.
            observer: Is told of waits and of the breaker.
        """
        self.name = name
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._breaker = CircuitBreaker(limits, changed=self._breaker_changed, clock=clock)
        self._bucket = TokenBucket(limits.requests_per_minute, limits.burst, clock=clock)
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = 0
        # Mean duration of calls, 0 before the first has ended.
        self._service_seconds = 0.0

    @property
    def in_flight(self) -> int:
        """Calls that it serves."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Calls that wait for it."""
        return len(self._queue)

    @property
    def tokens(self) -> float:
        """Requests that its rate allows at once now; infinite without a limit."""
        return self._bucket.tokens

    def reconfigure(self, limits: TargetLimits) -> None:
        """Go by other limits from now on. Calls that wait stay, even if they are more than may wait now."""
        self._limits = limits
        self._breaker.reconfigure(limits)
        self._bucket.reconfigure(limits.requests_per_minute, limits.burst)
        self._wake()

    def admitted(self, caller: str, *, deadline: float = math.inf, cost: float = 1.0, wait: bool = True) -> Admission:
        """Return a context manager that waits for the call's turn, and holds its place during the block.

        How the block ends is what the target is judged by.

        Args:
            caller: Between whom places are shared out fairly.
            deadline: Of the call, by the clock; a call that could not begin before it is refused at once.
            cost: What the call asks of the target compared with others, such as its megapixels.
            wait: Whether it may wait at all.

        Raises:
            CircuitOpenError: On entering: the breaker lets no call through.
            OverloadedError: On entering: it may not wait, could not begin before its deadline, or too many wait.
            PixvoxError: On entering: what `close` was given.
        """
        return Admission(self, caller, deadline, cost, wait=wait)

    def begins_at_once(self) -> bool:
        """Return whether a call that comes now would not wait."""
        return not self._queue and self._has_place() and self._breaker.passes() and self._bucket.wait() <= 0

    def refusal(
        self, caller: str = "", *, deadline: float = math.inf, cost: float = 1.0, wait: bool = True
    ) -> NotSentError | None:
        """Return what `admitted` would raise for a call that comes now, None if it would begin or wait."""
        if not self._breaker.passes():
            return self._circuit_open()
        if self.begins_at_once():
            return None
        seconds = self._wait_behind(self._queue.ahead(caller, cost))
        if not wait:
            return self._overloaded("cannot begin the call at once", seconds)
        if self._clock() + seconds > deadline:
            return self._overloaded(
                f"could begin the call in about {seconds:.1f} s, which is after its deadline", seconds
            )
        if self._is_full() and self._queue.crowding(caller) is None:
            return self._full(seconds)
        return None

    def expected_wait(self, caller: str = "") -> float:
        """Return in about how many seconds a call that comes now could begin."""
        seconds = self._wait_behind(self._queue.ahead(caller))
        return seconds if self._breaker.passes() else max(seconds, self._retry_seconds())

    def status(self) -> model_service_pb2.TargetHealth:
        """Return how it is; `warmth` is for somebody else to say."""
        status = model_service_pb2.TargetHealth(
            breaker=self._breaker.state,
            breaker_reason=self._breaker.reason,
            in_flight=self._in_flight,
            max_in_flight=self._limits.max_in_flight,
            queued=len(self._queue),
            max_queued=self._limits.max_queued,
            requests_per_minute=self._limits.requests_per_minute,
        )
        status.expected_wait.FromMicroseconds(round(self.expected_wait() * 1e6))
        if (rest := max(self._breaker.rest(), self._bucket.paused())) > 0:
            status.retry_delay.FromMicroseconds(round(rest * 1e6))
        return status

    def close(self, error: PixvoxError) -> None:
        """Refuse every call that waits, each with its own copy of `error`; calls that run go on."""
        self._refuse_all(lambda: copy.copy(error))

    async def _turn(self, admission: Admission) -> int:
        """Wait until the call has its token, its place and its pass, and return the pass."""
        caller, cost = admission.caller, admission.cost
        refusal = self.refusal(caller, deadline=admission.deadline, cost=cost, wait=admission.wait)
        if refusal is not None:
            raise refusal
        if self._is_full() and (crowding := self._queue.crowding(caller)):
            self._queue.remove(crowding)
            _answer(crowding, self._full(self._wait_behind(self._queue.ahead(crowding.caller, crowding.cost))))
        waiter = _Waiter(asyncio.get_running_loop().create_future(), admission.deadline)
        entry = self._queue.push(caller, waiter, cost)
        self._wake()
        try:
            answer = await waiter.answer
        except asyncio.CancelledError:
            self._leave(entry)
            raise
        if isinstance(answer, PixvoxError):
            raise answer
        return answer

    def _leave(self, entry: Entry[_Waiter]) -> None:
        """Undo the wait of a call that was cancelled, even if it was its turn in the same moment."""
        self._queue.remove(entry)
        future = entry.item.answer
        if not future.cancelled() and future.done() and isinstance(granted := future.result(), int):
            self._bucket.refund()
            self._in_flight -= 1
            self._breaker.settle(granted, Outcome.NEUTRAL)
        self._wake()

    def _begin(self) -> int:
        self._bucket.take()
        self._in_flight += 1
        return self._breaker.enter()

    def _end(self, admission: Admission, error: BaseException | None) -> None:
        self._in_flight -= 1
        outcome, cause = outcome_of(error), cause_of(error)
        if error is None:
            self._learn(self._clock() - admission.begun)
        elif isinstance(error, asyncio.CancelledError) and self._is_overdue(admission):
            outcome, cause = Outcome.FAILURE, "DEADLINE_EXCEEDED"
        if not admission.counted:
            self._breaker.settle(admission.granted, outcome, cause)
        elif outcome is Outcome.FAILURE:
            self._breaker.fail(cause)
        if isinstance(error, PixvoxError):
            self._heed(error)
        if self._queue:
            self._wake()

    def _is_overdue(self, admission: Admission) -> bool:
        """Return whether the target kept a call waiting until its deadline, and for longer than others need."""
        now = self._clock()
        usual = self._service_seconds or self._limits.open_seconds
        at_deadline = now + _DEADLINE_SLACK_SECONDS >= admission.deadline
        return at_deadline and not admission.counted and now - admission.begun >= _OVERDUE * usual

    def _learn(self, seconds: float) -> None:
        known = self._service_seconds
        self._service_seconds = known + _LATEST_SHARE * (seconds - known) if known else seconds

    def _heed(self, error: PixvoxError) -> None:
        """Follow what an error says about the rate."""
        if error.reason in {reasons.ERROR_REASON_RATE_LIMITED, reasons.ERROR_REASON_QUOTA_EXCEEDED}:
            seconds = _PAUSE_SECONDS if error.retry_after is None else error.retry_after
            self._bucket.pause(min(seconds, _LONGEST_PAUSE_SECONDS))
            self._refuse_late()
        elif isinstance(error, NotSentError) or error.metadata.get("replay") == "not_dispatched":
            self._bucket.refund()

    def _wake(self) -> None:
        """Let those begin whose turn it is, and come back when the next token does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._breaker.passes() and self._has_place():
            if (seconds := self._bucket.wait()) > 0:
                self._timer = asyncio.get_running_loop().call_later(seconds, self._wake)
                return
            entry = self._queue.pop()
            if entry is None or entry.item.answer.done():
                continue
            if entry.item.deadline < self._clock():
                _answer(entry, self._overloaded("could not begin the call before its deadline", 0.0))
            else:
                _answer(entry, self._begin())
        if not self._breaker.passes():
            self._refuse_all(self._circuit_open)

    def _refuse_all(self, error: Callable[[], PixvoxError]) -> None:
        for entry in list(self._queue):
            self._queue.remove(entry)
            _answer(entry, error())

    def _refuse_late(self) -> None:
        """Refuse those that cannot begin in time any more, while they can still go elsewhere."""
        seconds = self._bucket.wait()
        for entry in list(self._queue):
            if entry.item.deadline < self._clock() + seconds:
                self._queue.remove(entry)
                _answer(entry, self._overloaded("cannot begin the call before its deadline any more", seconds))

    def _has_place(self) -> bool:
        return not self._limits.max_in_flight or self._in_flight < self._limits.max_in_flight

    def _is_full(self) -> bool:
        return len(self._queue) >= self._limits.max_queued

    def _wait_behind(self, ahead: int) -> float:
        """Return the seconds until a call begins before which so many others do."""
        seconds = self._bucket.wait(ahead + 1)
        places = self._limits.max_in_flight
        if places and (lacking := ahead + 1 + self._in_flight - places) > 0:
            seconds = max(seconds, lacking * self._service_seconds / places)
        return seconds

    def _retry_seconds(self) -> float:
        """Return the seconds until the breaker may let a call through."""
        return self._breaker.rest() or self._service_seconds or _PROBE_SECONDS

    def _circuit_open(self) -> CircuitOpenError:
        return CircuitOpenError(
            f"Nothing is sent to {self.name} for a while: {self._breaker.reason}.", retry_after=self._retry_seconds()
        )

    def _full(self, seconds: float) -> OverloadedError:
        return self._overloaded(
            "has as many calls waiting as it may", seconds, f"{self._limits.max_queued} calls that wait"
        )

    def _overloaded(self, what: str, seconds: float, limit: str = "") -> OverloadedError:
        return OverloadedError(
            f"{self.name} {what}.", retry_after=seconds, quota=(f"targets/{self.name}", limit or self._limit())
        )

    def _limit(self) -> str:
        """Return which limit a call that comes now would wait for."""
        limits = self._limits
        if (paused := self._bucket.paused()) > 0:
            return f"no request for {paused:.1f} s, as the provider asked"
        if limits.max_in_flight and (self._bucket.wait() <= 0 or not self._has_place()):
            return f"{limits.max_in_flight} calls at once"
        return f"{limits.requests_per_minute:g} requests per minute"

    def _breaker_changed(self, state: BreakerState.ValueType, reason: str) -> None:
        write = log.warning if state == BREAKER_STATE_OPEN else log.info
        write(_EVENTS[state], target=self.name, reason=reason)
        if self._observer is not None:
            self._observer.breaker(self.name, state)


class Admission:
    """A call's place at a target, for the block of an ``async with``; made by `TargetHealth.admitted`."""

    __slots__ = ("_target", "begun", "caller", "cost", "counted", "deadline", "granted", "wait")

    def __init__(self, target: TargetHealth, caller: str, deadline: float, cost: float, *, wait: bool) -> None:
        """Ask for nothing yet."""
        self._target = target
        self.caller = caller
        self.deadline = deadline
        self.cost = cost
        self.wait = wait
        self.counted = False
        self.granted = 0
        self.begun = 0.0

    async def __aenter__(self) -> Admission:
        """Wait for the call's turn; see `TargetHealth.admitted`."""
        target = self._target
        asked = target._clock()
        self.granted = target._begin() if target.begins_at_once() else await target._turn(self)
        self.begun = target._clock()
        if target._observer is not None:
            target._observer.waited(target.name, self.begun - asked)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the place to the next call, and judge the target by `error`."""
        self._target._end(self, error)

    def answered(self) -> None:
        """Count the call as a success now, for it has begun to bring results and may go on for long.

        Otherwise a stream of minutes that happens to be the probe would keep the target closed to all others for so long.
        A failure that comes later counts as well.
        """
        if not self.counted:
            self.counted = True
            self._target._breaker.settle(self.granted, Outcome.SUCCESS)


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A call that waits: for the breaker's pass, or for the error that it is refused with."""

    answer: asyncio.Future[int | PixvoxError]
    deadline: float


def _answer(entry: Entry[_Waiter], answer: int | PixvoxError) -> None:
    # An error goes as a result: as an exception it would be logged if the call was cancelled in the same moment.
    if not entry.item.answer.done():
        entry.item.answer.set_result(answer)
