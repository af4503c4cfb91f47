"""The time of the emulated edge: that of the wall, or one that passes when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncio import Future, Task

_TURNS = 10


class Clock(Protocol):
    """Tells the time, and waits."""

    def __call__(self) -> float:
        """Return the time in seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when so much time has passed."""
        ...


class WallClock:
    """The time that passes by itself."""

    def __call__(self) -> float:
        """Return `time.monotonic`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SetClock:
    """Time that stands still between two jumps, so that minutes pass in no time.

    Args:
        now: At the beginning, in seconds.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self._now = now
        self._timers: list[tuple[float, int, Future[None]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait for jumps that take so much time."""
        if seconds <= 0:
            return
        woken: Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._timers, (self._now + seconds, next(self._numbers), woken))
        await woken

    async def jump(self) -> None:
        """Go to the next moment for which somebody waits, and let happen what happens then."""
        await _settled()
        while self._timers and self._timers[0][2].done():
            heapq.heappop(self._timers)
        if self._timers:
            self._now, _, woken = heapq.heappop(self._timers)
            woken.set_result(None)
        await _settled()

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, moment by moment."""
        await _settled()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            await self.jump()
        self._now = end
        await _settled()


async def waited(task: Task[object], seconds: float | None, clock: Clock) -> None:
    """Wait for a task to end, for so much time at most; it goes on afterwards."""
    if seconds is None:
        await asyncio.wait({task})
        return
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()


async def _settled() -> None:
    """Let everything happen that needs no time."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
