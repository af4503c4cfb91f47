"""Work that several callers wait for: it is done once, all get its answer, and the last who leaves ends it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from pixvox import telemetry
from pixvox.errors import PixvoxError, ShuttingDownError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from pixvox.telemetry import Call

    Work = Callable[["Flight"], Coroutine[Any, Any, bytes]]


class Flight:
    """Work under way, in a task of its own and in the context of the caller who began it.

    Attributes:
        fingerprint: Of what is asked.
        call: Of the first caller. Its deadline is that of the caller who waits longest.
        callers: How many wait.
        lasts: Tells whether the work goes on without any caller.
        task: That does it.
    """

    def __init__(self, fingerprint: str, call: Call, work: Work) -> None:
        self.fingerprint = fingerprint
        self.call = call
        self.callers = 0
        self._span = trace.get_current_span().get_span_context()
        self.lasts: Callable[[], bool] = lambda: False
        self.task = asyncio.create_task(work(self))
        self._lingering: asyncio.TimerHandle | None = None

    def linger(self, seconds: float, end: Callable[[], None]) -> None:
        """Have `end` called after so many seconds without a caller."""
        self.call.deadline = max(self.call.deadline, time.monotonic() + seconds)
        self._lingering = asyncio.get_running_loop().call_later(seconds, end)

    def stay(self) -> None:
        """Undo `linger`."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def join(self, call: Call) -> None:
        """Have one caller more."""
        self.callers += 1
        self.call.deadline = max(self.call.deadline, call.deadline)
        # The answer names the first caller's, where callers gave none.
        call.request_id = self.call.request_id
        if call is not self.call:
            telemetry.answer_shared(self._span)
        self.stay()

    def leave(self, call: Call) -> None:
        """Have one caller less; the log line of its call gets the provider and the model that serve it."""
        self.callers -= 1
        call.provider, call.model = self.call.provider, self.call.model

    def result(self) -> bytes:
        """Return the answer of work that is done.

        Raises:
            PixvoxError: It failed.
            ShuttingDownError: It was broken off.
        """
        if self.task.cancelled():
            raise ShuttingDownError("The call was broken off, because this instance is shutting down.", retry_after=1.0)
        error = self.task.exception()
        if isinstance(error, PixvoxError):
            # One exception that is raised for many callers would gather the traces of them all.
            raise _copied(error) from error
        return self.task.result()


class Flights:
    """All work under way, by its key.

    Args:
        linger_seconds: How long work goes on after the last caller has left.
    """

    def __init__(self, linger_seconds: float) -> None:
        self._linger_seconds = linger_seconds
        self._flights: dict[Hashable, Flight] = {}
        self._tasks: set[asyncio.Task[bytes]] = set()

    def find(self, key: Hashable) -> Flight | None:
        """Return the work that a caller with this key would join."""
        return self._flights.get(key)

    def running(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that do the work, those included that have been told to end."""
        return set(self._tasks)

    async def answer(self, key: Hashable, fingerprint: str, call: Call, work: Work) -> bytes:
        """Join the work of that key, or begin it, and return its answer.

        Args:
            key: Of the work.
            fingerprint: Of what is asked.
            call: The caller's.
            work: Does it; raises `PixvoxError` if it fails.

        Raises:
            PixvoxError: It failed, which every caller is told by an exception of its own.
            ShuttingDownError: It was broken off.
        """
        flight = self._flights.get(key) or self._begun(key, Flight(fingerprint, call, work))
        flight.join(call)
        try:
            await asyncio.wait((flight.task,))
        finally:
            flight.leave(call)
            self._left(key, flight)
        return flight.result()

    async def aclose(self, patience: float) -> None:
        """End all work; what lasts without its callers has `patience` seconds."""
        lasting = {flight.task for flight in self._flights.values() if flight.lasts()}
        for task in self._tasks - lasting:
            task.cancel()
        if lasting:
            await asyncio.wait(lasting, timeout=patience)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _begun(self, key: Hashable, flight: Flight) -> Flight:
        self._flights[key] = flight
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda _: self._landed(key, flight))
        return flight

    def _landed(self, key: Hashable, flight: Flight) -> None:
        self._tasks.discard(flight.task)
        self._forget(key, flight)
        if not flight.task.cancelled():
            # Where all callers have left, nobody else asks.
            flight.task.exception()

    def _left(self, key: Hashable, flight: Flight) -> None:
        if flight.callers or flight.task.done():
            return
        if self._linger_seconds > 0:
            flight.linger(self._linger_seconds, lambda: self._end(key, flight))
        else:
            self._end(key, flight)

    def _end(self, key: Hashable, flight: Flight) -> None:
        if not flight.lasts():
            # Whoever comes now does not get the answer of work that is being broken off.
            self._forget(key, flight)
            flight.task.cancel()

    def _forget(self, key: Hashable, flight: Flight) -> None:
        flight.stay()
        if self._flights.get(key) is flight:
            del self._flights[key]


def _copied(error: PixvoxError) -> PixvoxError:
    # Its class may be a provider's, with arguments of its own.
    copied = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    return copied
