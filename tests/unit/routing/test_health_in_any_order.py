"""A target's health stays sound whatever comes in whatever order."""

from __future__ import annotations

import asyncio
import gc
import math
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from admissions import DOWN, Calls, Loop, call, soon
from pixvox import errors
from pixvox.routing.health import TargetHealth, TargetLimits
from pixvox.v1.model_service_pb2 import BREAKER_STATE_CLOSED

ENDS = st.sampled_from(
    [
        None,
        None,
        None,
        DOWN("x"),
        DOWN("x", metadata={"replay": "not_dispatched"}),
        errors.RateLimitedError("x", retry_after=2),
        errors.ContentBlockedError("x"),
        ValueError("x"),
    ]
)
LIMITS = st.builds(
    TargetLimits,
    requests_per_minute=st.sampled_from([0.0, 6.0, 60.0, 600.0]),
    burst=st.integers(1, 4),
    max_in_flight=st.integers(0, 3),
    max_queued=st.integers(0, 5),
    failures=st.integers(0, 4),
    error_rate=st.sampled_from([0.0, 0.5]),
    min_calls=st.just(4),
    open_seconds=st.sampled_from([1.0, 5.0]),
    probes=st.integers(1, 2),
)


class Targets(RuleBasedStateMachine):
    """Calls come, end, fail and are cancelled, time passes and limits change."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=Loop)
        self.complaints: list[dict] = []
        self.runner.get_loop().set_exception_handler(lambda _, context: self.complaints.append(context))
        self.limits = TargetLimits(max_in_flight=2, max_queued=4, failures=3, open_seconds=5)
        self.bounds = SimpleNamespace(in_flight=2, queued=4)
        self.health = TargetHealth("acme/paint", self.limits, clock=self.runner.get_loop().time)
        self.calls = Calls(self.health)
        self.number = 0

    def do(self, coroutine) -> None:
        async def settled():
            result = await coroutine
            await soon()
            return result

        self.runner.run(settled())

    def running(self) -> list[str]:
        return [name for name in self.calls.began if not self.calls.tasks[name].done()]

    def waiting(self) -> list[str]:
        began = set(self.calls.began)
        return [name for name, task in self.calls.tasks.items() if name not in began and not task.done()]

    @rule(
        caller=st.sampled_from("abc"),
        cost=st.sampled_from([0.5, 1.0, 4.0]),
        seconds=st.sampled_from([math.inf, math.inf, 0.5, 3.0]),
        wait=st.sampled_from([True, True, True, False]),
    )
    def come(self, caller: str, cost: float, seconds: float, wait: bool) -> None:  # hypothesis names it
        self.number += 1
        deadline = self.runner.get_loop().time() + seconds
        self.do(self.calls.start(str(self.number), caller, cost=cost, deadline=deadline, wait=wait))

    @precondition(lambda self: self.running())
    @rule(number=st.integers(0, 99), error=ENDS)
    def end(self, number: int, error: BaseException | None) -> None:
        running = self.running()
        self.do(self.calls.end(running[number % len(running)], error))

    @precondition(lambda self: self.running() or self.waiting())
    @rule(number=st.integers(0, 99))
    def cancel(self, number: int) -> None:
        names = self.running() + self.waiting()
        self.do(self.calls.cancel(names[number % len(names)]))

    @precondition(lambda self: self.running() and self.waiting())
    @rule(number=st.integers(0, 99), other=st.integers(0, 99), turns=st.integers(0, 3))
    def end_one_and_cancel_another_that_waits(self, number: int, other: int, turns: int) -> None:
        running, waiting = self.running(), self.waiting()

        async def both():
            self.calls.ends[running[number % len(running)]].set_result(None)
            for _ in range(turns):
                await asyncio.sleep(0)
            self.calls.tasks[waiting[other % len(waiting)]].cancel()

        self.do(both())

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @rule(limits=LIMITS)
    def change(self, limits: TargetLimits) -> None:
        self.limits = limits
        most = limits.max_in_flight or math.inf
        self.bounds.in_flight = max(most, self.health.in_flight)
        self.bounds.queued = max(limits.max_queued, self.health.queued)

        async def reconfigure():
            self.health.reconfigure(limits)

        self.do(reconfigure())

    @invariant()
    def stays_within_its_bounds(self) -> None:
        health = self.health
        assert health.in_flight == len(self.running())
        assert health.queued == len(self.waiting())
        assert health.in_flight <= self.bounds.in_flight
        assert health.queued <= self.bounds.queued
        # Over a limit that was lowered it can only go down.
        self.bounds.in_flight = max(self.limits.max_in_flight or math.inf, health.in_flight)
        self.bounds.queued = max(self.limits.max_queued, health.queued)
        assert health.tokens == math.inf or 0 <= health.tokens <= self.limits.burst

    @invariant()
    def nobody_waits_without_a_cause(self) -> None:
        health, limits = self.health, self.limits
        if health.queued:
            full = limits.max_in_flight and health.in_flight >= limits.max_in_flight
            assert full or health._bucket.wait() > 0
            assert full or health._timer is not None

    @invariant()
    def the_refusal_agrees_with_what_begins(self) -> None:
        if self.health.begins_at_once():
            assert self.health.refusal(wait=False) is None
            assert self.health.expected_wait() == 0

    @invariant()
    def nobody_complains(self) -> None:
        assert self.complaints == []

    def teardown(self) -> None:
        """Everything ends, nothing is left, and a target that works again is used again."""
        with self.runner:
            for _ in range(500):
                if not self.running() and not self.waiting():
                    break
                for name in self.running():
                    self.do(self.calls.end(name))
                self.do(asyncio.sleep(1))
            assert (self.health.in_flight, self.health.queued) == (0, 0)
            assert self.health._timer is None
            for _ in range(3):
                self.do(asyncio.sleep(120))
                self.do(call(self.health))
            assert self.health.status().breaker == BREAKER_STATE_CLOSED
        gc.collect()
        assert self.complaints == []


TestTargets = Targets.TestCase
TestTargets.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
