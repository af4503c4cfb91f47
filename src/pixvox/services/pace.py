"""How well one stream of speech flows, as its listener hears it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pixvox import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.routing import Target
    from pixvox.telemetry import Instruments


class Pace:
    """Measures one stream: time to first audio, gaps, silence, and how fast it was made.

    Args:
        instruments: Take the measures.
        clock: In seconds.
    """

    def __init__(self, instruments: Instruments, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._instruments = instruments
        self._clock = clock
        self._labels: dict[str, str] = {}
        self._first_text = 0.0
        self._first_audio = 0.0
        self._latest_audio = 0.0
        self._played_until = 0.0
        self._silence = 0.0
        self._seconds = 0.0

    def text(self) -> None:
        """Note that the caller has sent text."""
        self._first_text = self._first_text or self._clock()

    def opened(self, target: Target) -> None:
        """Note who speaks."""
        self._labels = {telemetry.PROVIDER: target.entry.name, telemetry.MODEL: target.model.id}

    def audio(self, seconds: float) -> None:
        """Note that audio of a length has come from the provider."""
        now = self._clock()
        if not self._first_audio:
            self._first_audio = self._played_until = now
            self._instruments.first_audio.record(now - (self._first_text or now), self._labels)
        else:
            self._instruments.chunk_gap.record(now - self._latest_audio, self._labels)
            # A listener who plays from the first audio on has heard all there was and waits.
            self._silence += max(0.0, now - self._played_until)
        self._played_until = max(self._played_until, now) + seconds
        self._latest_audio = now
        self._seconds += seconds

    def ended(self) -> None:
        """Note that the stream is complete."""
        if self._seconds:
            self._instruments.underrun.record(self._silence, self._labels)
            self._instruments.real_time_factor.record(
                (self._latest_audio - self._first_text) / self._seconds, self._labels
            )
