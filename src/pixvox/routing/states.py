"""What is known of every target and remembered from call to call; it outlives the configurations."""

from __future__ import annotations

import asyncio
import functools
import math
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.metrics import Observation

from pixvox import telemetry
from pixvox.errors import PixvoxError, SwitchedOffError, reason_name
from pixvox.provider import Warmable, Warmth
from pixvox.routing.candidates import TargetKey
from pixvox.routing.guards import Guard, fingerprint
from pixvox.routing.health import TargetHealth, TargetLimits, resolved
from pixvox.routing.rollbacks import Rollback, Rollbacks
from pixvox.routing.routes import group_of
from pixvox.settings import target_settings
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixvox.registry import Entry
    from pixvox.routing.guards import Observed
    from pixvox.routing.router import Router
    from pixvox.routing.routes import Route, RouteTarget
    from pixvox.telemetry import Instruments
    from pixvox.v1.model_service_pb2 import BreakerState

log = structlog.get_logger("pixvox.routing")


class TargetStates:
    """Health, guards and rollbacks of all targets.

    Args:
        rollbacks: Those that are kept.
        instruments: Count what happens.
    """

    def __init__(self, rollbacks: Rollbacks, instruments: Instruments) -> None:
        self._rollbacks = rollbacks
        self._instruments = instruments
        self._health: dict[TargetKey, TargetHealth] = {}
        self._guards: dict[tuple[str, TargetKey, str], Guard] = {}
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._routes: tuple[Route, ...] = ()
        for name, description, unit, read in _GAUGES:
            instruments.gauge(name, description, functools.partial(self._gauged, read), unit)
        instruments.gauge("pixvox.route.weight", "Weight of a target that is in force.", self._weights)
        instruments.gauge("pixvox.route.rolled_back", "Whether a guard took a target's weight away.", self._rolled_back)

    def activate(self, router: Router) -> None:
        """Put a configuration in force: limits are changed, and calls that wait for what is gone are refused."""
        known = {}
        for entry in router.entries:
            for model in entry.models:
                key = TargetKey(entry.name, model.id)
                settings = target_settings(router.settings, *key)
                limits = resolved(settings, model, router.settings.server.workers)
                health = self._health.pop(key, None) or TargetHealth(
                    str(key), limits, observer=_Waits(key, self._instruments)
                )
                health.reconfigure(limits)
                known[key] = health
        for key, health in self._health.items():
            health.close(SwitchedOffError(f"{key} is not in use any more.", metadata=key._asdict()))
        self._health = known
        self._routes = tuple(router.routes.values())

    def health(self, key: TargetKey) -> TargetHealth:
        """Return the health of a target; of one that is not in force any more, a fresh one for the calls that are left."""
        return self._health.get(key) or TargetHealth(str(key), TargetLimits())

    def weight(self, route: str, target: RouteTarget) -> float:
        """Return the weight of a target that is in force."""
        return 0.0 if self.rollback(route, target) is not None else target.weight or 0.0

    def rollback(self, route: str, target: RouteTarget) -> Rollback | None:
        """Return how the target lost its weight, None if it did not."""
        if target.guard is None:
            return None
        return self._rollbacks.of(route, str(target.key), fingerprint(target.settings))

    def observed(self, route: Route, target: RouteTarget, observed: Observed) -> None:
        """Tell the guards of a route how a call went."""
        for guarded in group_of(route, target):
            if guarded.guard is None or self.rollback(route.name, guarded) is not None:
                continue
            mark = fingerprint(guarded.settings)
            guard = self._guards.setdefault((route.name, guarded.key, mark), Guard(guarded.guard))
            if guarded is not target:
                guard.baseline(observed)
            elif (breach := guard.canary(observed)) is not None:
                rollback = Rollback(route.name, str(guarded.key), mark, breach.measure, breach.message)
                self._rollbacks.add(rollback)
                labels = {telemetry.ROUTE: route.name, **guarded.key._asdict(), telemetry.MEASURE: breach.measure}
                self._instruments.rollbacks.add(1, labels)

    def _gauged(self, read: Callable[[TargetHealth], float | None]) -> list[Observation]:
        # May be asked from another thread, while the loop changes what is there.
        values = [(key, read(health)) for key, health in list(self._health.items())]
        return [Observation(value, key._asdict()) for key, value in values if value is not None]

    def _weights(self) -> list[Observation]:
        return [Observation(self.weight(route, target), labels) for route, target, labels in self._weighted()]

    def _rolled_back(self) -> list[Observation]:
        return [
            Observation(int(self.rollback(route, target) is not None), labels)
            for route, target, labels in self._weighted()
        ]

    def _weighted(self) -> Iterator[tuple[str, RouteTarget, dict[str, str]]]:
        for route in self._routes:
            for target in route.listed:
                if target.weight is not None:
                    yield route.name, target, {telemetry.ROUTE: route.name, **target.key._asdict()}

    def wake(self, entry: Entry) -> None:
        """Start a provider that sleeps, beside the call; does nothing if it is awake or being started."""
        if not isinstance(entry.provider, Warmable) or entry.provider.warmth() is not Warmth.COLD:
            return
        if entry.name not in self._waking:
            self._waking[entry.name] = task = asyncio.create_task(_woken(entry.name, entry.provider))
            task.add_done_callback(lambda _: self._waking.pop(entry.name, None))

    def running(self) -> set[asyncio.Task[Any]]:
        """Return what was begun beside calls and has not ended."""
        return set(self._waking.values())

    async def aclose(self) -> None:
        """Stop what was begun beside calls."""
        tasks: list[asyncio.Task[Any]] = list(self._waking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _Waits:
    """Measures how long calls wait for one target; see `HealthObserver`."""

    def __init__(self, key: TargetKey, instruments: Instruments) -> None:
        self._labels = key._asdict()
        self._waits = instruments.queue_wait

    def waited(self, _: str, seconds: float) -> None:
        self._waits.record(seconds, self._labels)

    def breaker(self, _: str, state: BreakerState.ValueType) -> None:
        """Do nothing: a gauge has the state, and the log its changes."""


_BREAKER_VALUES = {
    model_service_pb2.BREAKER_STATE_CLOSED: 0,
    model_service_pb2.BREAKER_STATE_HALF_OPEN: 1,
    model_service_pb2.BREAKER_STATE_OPEN: 2,
}
_GAUGES: tuple[tuple[str, str, str, Callable[[TargetHealth], float | None]], ...] = (
    (
        "pixvox.target.breaker.state",
        "Circuit breaker of a target: 0 closed, 1 half-open, 2 open.",
        "",
        lambda health: _BREAKER_VALUES[health.status().breaker],
    ),
    ("pixvox.target.queue.depth", "Calls that wait for a target.", "{call}", lambda health: health.queued),
    (
        "pixvox.target.queue.limit",
        "The most calls that may wait for a target.",
        "{call}",
        lambda health: health.status().max_queued,
    ),
    ("pixvox.target.in_flight", "Calls that a target serves.", "{call}", lambda health: health.in_flight),
    (
        "pixvox.target.rate.tokens",
        "Requests that the rate of a target allows at once.",
        "{request}",
        lambda health: health.tokens if math.isfinite(health.tokens) else None,
    ),
)


async def _woken(name: str, provider: Warmable) -> None:
    try:
        await provider.warm_up()
    except PixvoxError as error:
        log.warning("a provider could not be woken", provider=name, reason=reason_name(error.reason))
