"""How a call of a provider ends: with a value, with whatever it raises, or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pixvox.errors import PixvoxError, reason_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType, TracebackType

T = TypeVar("T")

# Between two looks whether there is more time.
_GLANCE_SECONDS = 0.5

# How long what was cancelled may take to end.
CANCEL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ending(Generic[T]):
    """How a call ended.

    Attributes:
        seconds: How long it took.
        value: What it gave; None if it raised or was cancelled.
        error: What it raised, a cancellation included.
        late: Whether its time was up, so that it was cancelled.
        stuck: Whether it goes on although it was cancelled.
        early: Whether it had ended by itself before it was broken off.
    """

    seconds: float
    value: T | None = None
    error: BaseException | None = None
    late: bool = False
    stuck: bool = False
    early: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it gave a value in time."""
        return self.error is None and not self.late and not self.stuck

    @property
    def cancelled(self) -> bool:
        """Whether it ended as what is cancelled has to."""
        return isinstance(self.error, asyncio.CancelledError)


async def ending_of(work: Coroutine[Any, Any, T], *, within: float | Callable[[], float]) -> Ending[T]:
    """Run `work` to its end, in a task of its own, and return how it ended.

    Args:
        work: That may end in whatever way.
        within: After so many seconds it is cancelled; a function may put that off while it runs.
    """
    started = time.monotonic()
    task = asyncio.create_task(work)
    try:
        while not task.done() and (left := started + _seconds(within) - time.monotonic()) > 0:
            await asyncio.wait({task}, timeout=min(left, _GLANCE_SECONDS))
        if task.done():
            return _ending(task, started)
        return await _broken_off(task, started, late=True)
    finally:
        task.cancel()


async def cancelled_ending_of(work: Coroutine[Any, Any, T], *, after: float) -> Ending[T]:
    """Cancel `work` after so many seconds, and return how it ended; `Ending.seconds` are those from the cancellation."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=after)
        if task.done():
            return dataclasses.replace(_ending(task, time.monotonic()), early=True)
        return await _broken_off(task, time.monotonic())
    finally:
        task.cancel()


def told(error: BaseException) -> str:
    """Return what was raised for a person, and where if it is not an error of the contract."""
    if isinstance(error, PixvoxError):
        return f"{reason_name(error.reason)} ({type(error).__name__}): {error.message}"
    place = place_of(error.__traceback__)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{text} (at {place})" if place else text


def place_of(trace: TracebackType | None) -> str:
    """Return the line from which something was raised, empty if that is not known."""
    frames = traceback.extract_tb(trace)
    return _place(frames[-1]) if frames else ""


def place_of_frame(frame: FrameType) -> str:
    """Return the line at which a thread is, outside the standard library if there is such a one."""
    frames = traceback.extract_stack(frame)
    library = Path(traceback.__file__).parent
    own = [one for one in frames if library not in Path(one.filename).parents or "site-packages" in one.filename]
    return _place((own or frames)[-1])


def is_of_kit(error: BaseException) -> bool:
    """Tell whether something was raised by the kit's own code rather than the provider's."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).parent == Path(__file__).parent


def _seconds(within: float | Callable[[], float]) -> float:
    return within() if callable(within) else within


async def _broken_off(task: asyncio.Task[T], started: float, *, late: bool = False) -> Ending[T]:
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if not task.done():
        return Ending(time.monotonic() - started, late=late, stuck=True)
    return _ending(task, started, late=late)


def _ending(task: asyncio.Task[T], started: float, *, late: bool = False) -> Ending[T]:
    seconds = time.monotonic() - started
    if task.cancelled():
        return Ending(seconds, error=asyncio.CancelledError(), late=late)
    if (error := task.exception()) is not None:
        return Ending(seconds, error=error, late=late)
    return Ending(seconds, value=task.result(), late=late)


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    for folder in map(Path, sorted(sys.path, key=len, reverse=True)):
        if folder.is_absolute() and path.is_relative_to(folder):
            path = path.relative_to(folder)
            break
    return f"{path}:{frame.lineno} in {frame.name}"
