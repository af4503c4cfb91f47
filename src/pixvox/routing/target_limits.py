"""What one process may ask of one target, and when the target counts as failing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.routing.breaker import BreakerRules

if TYPE_CHECKING:
    from pixvox.settings import TargetSettings
    from pixvox.v1 import model_service_pb2


@dataclass(frozen=True, slots=True)
class TargetLimits(BreakerRules):
    """The share of one process in what one target is given to do, and the rules of its breaker.

    Attributes:
        requests_per_minute: 0 is no limit.
        burst: Requests that may be sent at once after a pause, at least 1.
        max_in_flight: Calls at once; 0 is no limit.
        max_queued: Calls that may wait.
    """

    requests_per_minute: float = 0.0
    burst: int = 1
    max_in_flight: int = 0
    max_queued: int = 100


def resolved(settings: TargetSettings, model: model_service_pb2.Model, processes: int = 1) -> TargetLimits:
    """Return the limits by settings, and by what the model states where they are silent.

    Each process counts by itself, so that rate, burst and places are divided by their number; what is limited at all leaves
    each of them one call at once, and one request that is sent at once.
    """
    rate, places = settings.requests_per_minute, settings.max_in_flight
    rate = (model.requests_per_minute if rate is None else rate) / processes
    places = model.max_in_flight if places is None else places
    burst = settings.burst // processes if settings.burst else int(rate / 60)
    return TargetLimits(
        requests_per_minute=rate,
        burst=max(1, burst),
        max_in_flight=max(1, places // processes) if places else 0,
        max_queued=settings.max_queued,
        failures=settings.failures,
        error_rate=settings.error_rate,
        min_calls=settings.min_calls,
        window_seconds=settings.window_seconds,
        open_seconds=settings.open_seconds,
        probes=settings.probes,
    )
