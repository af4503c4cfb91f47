"""Asking again and again until something is done."""

from __future__ import annotations

import random
from asyncio import sleep
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_GROWTH = 1.5
# Calls that began together do not ask together for ever.
_SPREAD = 0.1


async def polled(check: Callable[[], Awaitable[T | None]], *, first_seconds: float, longest_seconds: float) -> T:
    """Return what `check` returns as soon as that is not None.

    It is asked `first_seconds` from now, and then at intervals that grow by half each time up to `longest_seconds`; all of
    them up to a tenth shorter or longer by chance. An interval begins when the answer is there, so that questions never
    overlap. How long all of it may take is the caller's deadline.
    """
    seconds = min(first_seconds, longest_seconds)
    while True:
        await sleep(seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD))
        outcome = await check()
        if outcome is not None:
            return outcome
        seconds = min(seconds * _GROWTH, longest_seconds)
