"""One speech in the engine's thread, and what the event loop hears of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pixvox_worker.jobs import Progress
from pixvox_worker.speech import FRAME_SAMPLES, SAMPLE_RATE
from pixvox_worker.tasks import Stopped

if TYPE_CHECKING:
    import asyncio

    from pixvox_worker.jobs import SpeechJob
    from pixvox_worker.metrics import Metrics
    from pixvox_worker.speech import SpeechEngine, Spoken
    from pixvox_worker.unread import Backlog


class Speaking:
    """Carries what the engine says over to the event loop, and stops the engine when the caller has left."""

    def __init__(
        self,
        engine: SpeechEngine,
        job: SpeechJob,
        backlog: Backlog,
        loop: asyncio.AbstractEventLoop,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._job = job
        self._backlog = backlog
        self._loop = loop
        self._metrics = metrics
        self._last = time.monotonic()
        self._spoken: Spoken | None = None

    def compute(self) -> None:
        """Speak; in the engine's thread.

        Raises:
            Stopped: nobody waits any more.
            Failure: what the engine says.
        """
        self._spoken = self._engine.speak(self._job.task, self)

    def complete(self, seconds: float) -> None:
        """Say that it is complete; in the event loop."""
        if self._spoken is None:
            return
        if self._spoken.frames:
            self._metrics.rtf.observe(seconds * SAMPLE_RATE / (self._spoken.frames * FRAME_SAMPLES))
        self._job.complete(self._spoken)

    def frame(self, done: int) -> None:
        """As `Listener` has it."""
        now = time.monotonic()
        if done > 1:
            self._metrics.step_seconds.observe(now - self._last)
        self._last = now
        if self._job.over:
            raise Stopped
        self._loop.call_soon_threadsafe(self._job.advance, Progress(done, self._job.task.max_frames))

    def piece(self, pcm: bytes) -> None:
        """As `Listener` has it."""
        self._loop.call_soon_threadsafe(self._hear, pcm)

    def _hear(self, pcm: bytes) -> None:
        if not self._job.heard and not self._job.over:
            self._metrics.ttfa.observe(time.monotonic() - self._job.queued_at)
        self._job.hear(pcm)
        self._backlog.trim()
        if self._job.sound.failure is not None:
            # Nobody hears the rest of it.
            self._job.fail(self._job.sound.failure)
