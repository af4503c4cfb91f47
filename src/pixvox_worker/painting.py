"""One batch of pictures in the engine's thread, and what the event loop hears of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pixvox_worker.jobs import Preview, Progress
from pixvox_worker.tasks import Stopped

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from pixvox_worker.jobs import Event, PictureJob
    from pixvox_worker.metrics import Metrics
    from pixvox_worker.tasks import PictureEngine


class Painting:
    """Carries what the engine says over to the event loop, and stops the engine when all have left."""

    def __init__(
        self,
        engine: PictureEngine,
        batch: Sequence[PictureJob],
        loop: asyncio.AbstractEventLoop,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._batch = batch
        self._loop = loop
        self._metrics = metrics
        self._last = time.monotonic()
        self._images: list[list[Image]] = []

    def compute(self) -> None:
        """Make the pictures; in the engine's thread.

        Raises:
            Stopped: nobody waits any more.
            Failure: what the engine says.
        """
        self._images = self._engine.make([job.task for job in self._batch], self)

    def complete(self, seconds: float) -> None:
        """Give everyone the pictures; in the event loop."""
        del seconds
        for job, made in zip(self._batch, self._images, strict=True):
            job.complete(made)

    def step(self, done: int, preview: Callable[[], Image]) -> None:
        """As `Watch` has it."""
        now = time.monotonic()
        if done > 1:
            self._metrics.step_seconds.observe(now - self._last)
        self._last = now
        if all(job.over for job in self._batch):
            raise Stopped
        for job in self._batch:
            self._tell(job, Progress(done, job.task.all_steps))
        self._preview(self._batch[0], done, preview)

    def _preview(self, job: PictureJob, done: int, paint: Callable[[], Image]) -> None:
        """Spread the previews evenly over the steps; the last step needs none, the picture itself follows."""
        wanted = job.task.previews
        if not wanted or done >= job.task.steps or job.previews_shown >= wanted:
            return
        if done * (wanted + 1) >= job.task.steps * (job.previews_shown + 1):
            self._tell(job, Preview(job.previews_shown, paint()))
            job.previews_shown += 1

    def _tell(self, job: PictureJob, event: Event) -> None:
        self._loop.call_soon_threadsafe(job.advance, event)
