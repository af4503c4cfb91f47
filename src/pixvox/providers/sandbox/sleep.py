"""Rehearsal of cold starts: a sandbox that sleeps when it is not used, as a container that is scaled to zero does."""

from __future__ import annotations

import asyncio
import time

from pixvox.provider import Warmth


class Sleep:
    """Whether the sandbox is awake.

    Args:
        cold_start_seconds: How long it takes to wake; 0 is always awake.
        idle_seconds: Without a call for so long it falls asleep.
    """

    def __init__(self, cold_start_seconds: float, idle_seconds: float) -> None:
        self._cold_start_seconds = cold_start_seconds
        self._idle_seconds = idle_seconds
        self._awake_until = time.monotonic() if cold_start_seconds else float("inf")
        self._waking: asyncio.Task[None] | None = None

    def warmth(self) -> Warmth:
        """Return how it is now."""
        if self._waking is not None:
            return Warmth.STARTING
        return Warmth.WARM if time.monotonic() < self._awake_until else Warmth.COLD

    async def wake(self) -> None:
        """Wake it, or wait until it is awake; a caller who leaves does not stop it."""
        if self.warmth() is not Warmth.WARM:
            if self._waking is None:
                self._waking = asyncio.create_task(self._wake())
            await asyncio.shield(self._waking)
        if self._cold_start_seconds:
            self._awake_until = time.monotonic() + self._idle_seconds

    async def aclose(self) -> None:
        """Stop waking."""
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.wait([self._waking])

    async def _wake(self) -> None:
        try:
            await asyncio.sleep(self._cold_start_seconds)
            self._awake_until = time.monotonic() + self._idle_seconds
        finally:
            self._waking = None
