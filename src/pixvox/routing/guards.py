"""Judges a canary by the calls of the targets beside it, so that a worse one is found and chance alone condemns none.

Both sides are compared over the same stretch of time, the shortest that holds the configured number of calls of each; so
a fault that hits both counts on both sides, whichever of them gets more calls. Every measure comes down to two shares,
which are compared by the ratio of their likelihoods (https://doi.org/10.1098/rsta.1933.0009). How the bars were chosen
is told in docs/decisions/2026-11-21-canary-guard.md.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from pixvox.settings.tables import GuardSettings, RouteTargetSettings

Measure = Literal["error_rate", "p95", "first_audio"]

# Natural logarithms of how many times likelier the calls have to be if the two sides differ than if they do not, and if
# they differ by more than the margin than if they do not.
DIFFERENT = 10.0
BEYOND_MARGIN = 1.0
# Of one side's calls, where the other side is slow to get its own.
MOST_KEPT = 10_000

_PERCENTILE = 95


@dataclass(frozen=True, slots=True)
class Observed:
    """How a call went at a target.

    Attributes:
        failed: Whether the target is to blame for its failure.
        seconds: It took.
        first_audio: Seconds to the first audio, None if there was none.
    """

    failed: bool
    seconds: float
    first_audio: float | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """Why a canary loses its weight.

    Attributes:
        measure: By which it is worse.
        message: A sentence with the figures of both sides, for a person.
    """

    measure: Measure
    message: str


def fingerprint(target: RouteTargetSettings) -> str:
    """Return what identifies a target's weight and guard as they are configured: 16 hexadecimal digits.

    A field that has its default does not count, so that a later version, with more fields, finds what this one kept.
    """
    return _fingerprint(target.weight, target.guard)


class Guard:
    """Compares a canary with its baseline, call by call, until it is found to be worse.

    A call costs some microseconds, and at most 10,000 calls (or `calls`, if that is more) of each side are kept.
    """

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._most = max(settings.calls, MOST_KEPT)
        timed = settings.p95_ratio is not None, settings.first_audio_ratio is not None
        self._canary = _Side(*timed)
        self._baseline = _Side(*timed)
        self._number = 0
        self._breached = False

    def canary(self, observed: Observed) -> Breach | None:
        """Count a call of the canary; return the breach that it has brought about, which happens once at most."""
        self._count(self._canary, observed)
        if self._breached or len(self._canary.calls) < self._settings.min_calls:
            return None
        breach = self._error_rate() or self._p95() or self._first_audio()
        self._breached = breach is not None
        return breach

    def baseline(self, observed: Observed) -> None:
        """Count a call of one of the targets beside the canary."""
        self._count(self._baseline, observed)

    def _count(self, side: _Side, observed: Observed) -> None:
        self._number += 1
        side.add(self._number, observed)
        if len(side.calls) > self._most:
            side.drop()
        while (older := self._spare()) is not None:
            older.drop()

    def _spare(self) -> _Side | None:
        """Return the side whose oldest call is older than the stretch of time that is compared."""
        sides = (self._canary, self._baseline)
        if min(len(side.calls) for side in sides) < self._settings.calls:
            return None
        older = min(sides, key=lambda side: side.calls[0][0])
        return older if len(older.calls) > self._settings.calls else None

    def _error_rate(self) -> Breach | None:
        margin = self._settings.error_rate
        if margin is None:
            return None
        canary = _Share(self._canary.failures, len(self._canary.calls))
        baseline = _Share(self._baseline.failures, len(self._baseline.calls))
        if not _exceeds(canary, baseline, margin):
            return None
        return Breach(
            "error_rate",
            f"{canary} calls failed, and {baseline} of the targets beside it; {_percent(margin)} more are allowed.",
        )

    def _p95(self) -> Breach | None:
        ratio, canary, baseline = self._settings.p95_ratio, self._canary.seconds, self._baseline.seconds
        if ratio is None or not self._slower(canary, baseline, ratio):
            return None
        return Breach("p95", _slow("duration", canary, baseline, ratio))

    def _first_audio(self) -> Breach | None:
        ratio, canary, baseline = self._settings.first_audio_ratio, self._canary.first_audio, self._baseline.first_audio
        if ratio is None or not self._slower(canary, baseline, ratio):
            return None
        return Breach("first_audio", _slow("time to first audio", canary, baseline, ratio))

    def _slower(self, canary: _Times, baseline: _Times, ratio: float) -> bool:
        """Tell whether more of the canary's times lie above `ratio` times the baseline's 95th percentile than should."""
        if min(len(canary), len(baseline)) < max(1, self._settings.min_calls):
            return False
        limit = baseline.percentile()
        above = baseline.above(limit)
        # The limit, one of the baseline's own times, counts with those above it; else chance would favour the baseline.
        return _exceeds(canary.above(limit * ratio), _Share(above.count + 1, above.total), 0.0)


class _Times:
    """Durations in their order of size."""

    def __init__(self) -> None:
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, seconds: float) -> None:
        bisect.insort(self._sorted, seconds)

    def remove(self, seconds: float) -> None:
        del self._sorted[bisect.bisect_left(self._sorted, seconds)]

    def percentile(self) -> float:
        """Return the least of them that 95 % do not exceed; there has to be one."""
        return self._sorted[-(-len(self._sorted) * _PERCENTILE // 100) - 1]

    def above(self, limit: float) -> _Share:
        return _Share(len(self._sorted) - bisect.bisect_right(self._sorted, limit), len(self._sorted))


class _Side:
    """The latest calls of one side, oldest first, each with its number among the calls of both."""

    def __init__(self, seconds: bool, first_audio: bool) -> None:
        self.calls: deque[tuple[int, Observed]] = deque()
        self.failures = 0
        self.seconds = _Times()
        self.first_audio = _Times()
        self._kept = (seconds, first_audio)

    def add(self, number: int, observed: Observed) -> None:
        self.calls.append((number, observed))
        self.failures += observed.failed
        for times, seconds in self._times(observed):
            times.add(seconds)

    def drop(self) -> None:
        _, observed = self.calls.popleft()
        self.failures -= observed.failed
        for times, seconds in self._times(observed):
            times.remove(seconds)

    def _times(self, observed: Observed) -> list[tuple[_Times, float]]:
        times: list[tuple[_Times, float]] = []
        # A call that fails at once is no quick one.
        if self._kept[0] and not observed.failed:
            times.append((self.seconds, observed.seconds))
        if self._kept[1] and observed.first_audio is not None:
            times.append((self.first_audio, observed.first_audio))
        return times


@dataclass(frozen=True, slots=True)
class _Share:
    """So many of so many."""

    count: int
    total: int

    def __str__(self) -> str:
        return f"{self.count} of {self.total} ({_percent(self.value)})" if self.total else "none of 0"

    @property
    def value(self) -> float:
        return self.count / self.total

    def likelihood(self, probability: float) -> float:
        """Return the logarithm of how likely the share is."""
        rest = self.total - self.count
        hits = self.count * math.log(probability) if self.count else 0.0
        return hits + (rest * math.log1p(-probability) if rest else 0.0)


def _exceeds(canary: _Share, baseline: _Share, margin: float) -> bool:
    """Tell whether one share is above another by more than a margin, and not by chance.

    With a margin, a difference at all has to be all but certain, and one beyond the margin likely.
    """
    # Nothing to compare with is no reason to condemn.
    if not canary.total or not baseline.total or canary.value <= baseline.value + margin:
        return False
    apart = canary.likelihood(canary.value) + baseline.likelihood(baseline.value)
    pooled = (canary.count + baseline.count) / (canary.total + baseline.total)
    if apart - canary.likelihood(pooled) - baseline.likelihood(pooled) < DIFFERENT:
        return False
    at_margin = _likeliest(canary, baseline, margin)
    return apart - canary.likelihood(at_margin + margin) - baseline.likelihood(at_margin) >= BEYOND_MARGIN


def _likeliest(canary: _Share, baseline: _Share, margin: float) -> float:
    """Return the baseline's likeliest probability if the canary's is by `margin` above it."""
    low, high = 0.0, 1.0 - margin
    # The likelihood has one peak, where its slope changes its sign.
    for _ in range(40):
        middle = (low + high) / 2
        slope = canary.count / (middle + margin) - (canary.total - canary.count) / (1 - middle - margin)
        slope += baseline.count / middle - (baseline.total - baseline.count) / (1 - middle)
        low, high = (middle, high) if slope > 0 else (low, middle)
    return (low + high) / 2


def _slow(what: str, canary: _Times, baseline: _Times, ratio: float) -> str:
    return (
        f"The {_PERCENTILE}th percentile of its {what} is {canary.percentile():.3g} s over {len(canary)} calls, and"
        f" {baseline.percentile():.3g} s over {len(baseline)} of the targets beside it; {ratio:g} times as much is"
        " allowed."
    )


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


@functools.lru_cache(maxsize=256)
def _fingerprint(weight: float | None, guard: GuardSettings | None) -> str:
    # Routing asks for it several times a call.
    entry = {"weight": _number(weight), "guard": None if guard is None else _differing(guard)}
    return hashlib.sha256(msgspec.json.encode(entry, order="sorted")).hexdigest()[:16]


def _differing(guard: GuardSettings) -> dict[str, float | None]:
    fields = msgspec.structs.fields(guard)
    return {
        field.name: _number(getattr(guard, field.name))
        for field in fields
        if getattr(guard, field.name) != field.default
    }


def _number(value: float | None) -> float | None:
    # A file may write 10 or 10.0.
    return None if value is None else float(value)
