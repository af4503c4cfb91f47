"""How often a target is sent a request: a bucket of tokens that says when the next one comes."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# So little is missing by rounding alone. Waiting for it could be a wait that no clock can show.
_ROUNDING = 1e-9


class TokenBucket:
    """Fills with so many tokens a minute up to `burst`; each request takes one.

    It never waits itself: who wants a token asks `wait` for how long, and then takes it.
    """

    def __init__(self, per_minute: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start full.

        Args:
            per_minute: Tokens that come in a minute; 0 is no limit.
            burst: The most that it holds, at least 1.
            clock: In seconds.
        """
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._tokens = self._burst
        # When `_tokens` was right. It lies ahead while the bucket pauses.
        self._at = -math.inf if not self._rate else clock()

    @property
    def tokens(self) -> float:
        """What could be taken now, 0 in a pause; infinite without a limit."""
        if self.paused() > 0:
            return 0.0
        return self._filled(self._clock()) if self._rate else math.inf

    def paused(self) -> float:
        """Return how many seconds a pause still lasts, 0 if there is none."""
        return max(0.0, self._at - self._clock())

    def wait(self, count: int = 1) -> float:
        """Return in how many seconds `count` tokens will be there if nobody takes one, 0 if they are."""
        now = self._clock()
        pause = max(0.0, self._at - now)
        if not self._rate:
            return pause
        missing = count - self._filled(now)
        return pause if missing <= _ROUNDING else pause + missing / self._rate

    def take(self) -> None:
        """Take a token, for which `wait` has said that it is there."""
        if self._rate:
            self._settle()
            self._tokens = max(0.0, self._tokens - 1)

    def refund(self) -> None:
        """Put back a token whose request was not sent."""
        if self._rate:
            self._settle()
            self._tokens = min(self._burst, self._tokens + 1)

    def pause(self, seconds: float) -> None:
        """Give no token for so long, and then one at most: what the limit allows was used up by others."""
        now = self._clock()
        until = max(self._at, now + seconds)
        if self._rate:
            self._settle()
            self._tokens = min(1.0, self._tokens + max(0.0, until - self._at) * self._rate)
        self._at = until

    def reconfigure(self, per_minute: float, burst: int) -> None:
        """Fill otherwise from now on; a pause goes on, and what was in the bucket stays as far as it fits."""
        self._settle()
        limited = self._rate > 0
        self._rate = per_minute / 60
        self._burst = float(burst)
        self._tokens = min(self._tokens, self._burst) if limited else self._burst

    def _filled(self, now: float) -> float:
        return min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)

    def _settle(self) -> None:
        now = self._clock()
        if self._rate:
            self._tokens = self._filled(now)
        self._at = max(self._at, now)
