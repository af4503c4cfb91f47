"""A target's health to test against: an event loop without waiting, and calls that end as they are told."""

from __future__ import annotations

import asyncio
import gc
import selectors
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pixvox import errors
from pixvox.routing.health import TargetHealth, TargetLimits
from pixvox.v1.model_service_pb2 import BREAKER_STATE_OPEN

if TYPE_CHECKING:
    from collections.abc import Coroutine


class _Selector(selectors.DefaultSelector):
    """Lets the time that the loop would sleep pass at once."""

    now = 1000.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            message = "everything waits, and nothing will ever happen"
            raise RuntimeError(message)
        if not ready:
            self.now += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which jumps from timer to timer."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end by such a loop; no task, no timer and no complaint may be left."""
    complaints = []
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))

        async def alone():
            await coroutine
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not [timer for timer in loop._scheduled if not timer.cancelled()]

        runner.run(alone())
    gc.collect()
    assert complaints == []


def now() -> float:
    return asyncio.get_running_loop().time()


async def soon() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)


class Seen:
    """An observer that writes down."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.states: list[int] = []

    def waited(self, name: str, seconds: float) -> None:
        assert name == "acme/paint"
        self.waits.append(seconds)

    def breaker(self, name: str, state: int) -> None:
        assert name == "acme/paint"
        self.states.append(state)


def target(observer=None, **limits) -> TargetHealth:
    return TargetHealth("acme/paint", TargetLimits(**limits), clock=now, observer=observer)


class Calls:
    """Calls of a target that run until they are told how to end."""

    def __init__(self, health: TargetHealth) -> None:
        self.health = health
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Future] = {}
        self.tasks: dict[str, asyncio.Task] = {}

    async def start(self, name: str, caller: str = "", **arguments) -> asyncio.Task:
        self.ends[name] = asyncio.get_running_loop().create_future()
        self.tasks[name] = asyncio.create_task(self._run(name, caller or name, arguments))
        await soon()
        return self.tasks[name]

    async def end(self, name: str, error: BaseException | None = None) -> None:
        if error is None:
            self.ends[name].set_result(None)
        else:
            self.ends[name].set_exception(error)
        with suppress(errors.PixvoxError, asyncio.CancelledError, ValueError):
            await self.tasks[name]
        await soon()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.tasks[name]
        await soon()

    async def _run(self, name, caller, arguments) -> str:
        async with self.health.admitted(caller, **arguments):
            self.began.append(name)
            await self.ends[name]
        return name


async def call(health: TargetHealth, error: BaseException | None = None, *, seconds: float = 0, **arguments) -> None:
    """Make a call that takes its time and ends with `error`, which comes out unless it is a PixvoxError."""
    with suppress(errors.PixvoxError if error is not None else ()):
        async with health.admitted("somebody", **arguments):
            await asyncio.sleep(seconds)
            if error is not None:
                raise error


async def refused(kind, health: TargetHealth, **arguments):
    with pytest.raises(kind) as caught:
        async with health.admitted(arguments.pop("caller", "somebody"), **arguments):
            pytest.fail("the call was let through")
    return caught.value


DOWN = errors.ProviderUnavailableError


async def open_circuit(health: TargetHealth, failures: int = 5) -> None:
    for _ in range(failures):
        await call(health, DOWN("down"))
    assert health.status().breaker == BREAKER_STATE_OPEN
