"""The rate limits of the emulated vendor: so many requests in a window, for each model.

Source: dashscope reference 7.1. How many tasks may run at once is not enforced, because it is not stated what happens to
the others.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

from pixvox.testing.dashscope.envelope import RefusedError


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    count: int
    seconds: float


TASK_POLLS = Rate(20, 1)


def rate_of(model: str, region: Literal["sg", "bj"]) -> Rate | None:
    """Return the limit of a model, or None if none is stated."""
    if model == "wan2.6-t2i" and region == "bj":
        return Rate(1, 1)
    return next((rate for prefixes, rate in _TABLE if model.startswith(prefixes)), None)


class Rates:
    """Who asked when. Limits hold for the account, whatever the key."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def take(self, name: str, rate: Rate | None) -> None:
        """Count a request for a model.

        Raises:
            RefusedError: There were too many before; this one does not count.
        """
        if rate is None:
            return
        now = time.monotonic()
        times = self._times.setdefault(name, deque())
        while times and times[0] <= now - rate.seconds:
            times.popleft()
        if len(times) >= rate.count:
            message = "Requests rate limit exceeded, please try again later."
            raise RefusedError(429, "Throttling.RateQuota", message)
        times.append(now)


# The first that matches counts, so the longer names come first. Models that are not here have no stated limit.
_TABLE: tuple[tuple[tuple[str, ...], Rate | None], ...] = (
    (("qwen-image-max", "qwen-image-edit-max"), Rate(2, 60)),
    (("qwen-image-plus", "qwen-image-edit", "z-image-turbo"), Rate(2, 1)),
    (("qwen-image-2", "qwen-image-3"), None),
    (("qwen-image",), Rate(2, 1)),
    (("wan2.6-t2i", "wan2.6-image", "wan2.5-t2i-preview"), Rate(5, 1)),
    (("wan2.2-t2i-", "wanx2.1-t2i-"), Rate(2, 1)),
    (("qwen3-tts-flash-2025-09-18", "qwen3-tts-flash-realtime-2025-09-18", "qwen-tts"), Rate(10, 60)),
    (("qwen3-tts-", "qwen-voice-enrollment", "qwen-voice-design"), Rate(180, 60)),
)
