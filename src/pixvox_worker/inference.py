"""The one way into the model: who is let in, who goes next, and what happens to those who leave early."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, cast

from pixvox_worker.failures import (
    Cancelled,
    DeadlineExceeded,
    Failure,
    Full,
    OutOfMemory,
    QueueTimeout,
    Unavailable,
    UnsupportedTask,
)
from pixvox_worker.jobs import PictureJob, SpeechJob
from pixvox_worker.painting import Painting
from pixvox_worker.speaking import Speaking
from pixvox_worker.speech import SpeechEngine
from pixvox_worker.tasks import PictureEngine, Stopped
from pixvox_worker.unread import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pixvox_worker.jobs import Job
    from pixvox_worker.metrics import Metrics
    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Engine

Status = Literal["loading", "ready", "unhealthy", "stopping"]
_log = logging.getLogger(__name__)
_FIRST_GUESS_SECONDS = 10.0
_LONGEST_RETRY_AFTER = 600
_TIME_IS_OVER = "The time for this request is over."


class Inference:
    """A queue in front of one thread. All state belongs to the event loop; the thread only computes."""

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._backlog = Backlog(settings.max_unread_mb * 1024 * 1024)
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._typical_seconds = _FIRST_GUESS_SECONDS
        self.status: Status = "loading"
        self.reason: str | None = None

    @property
    def depth(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs in the model, those included that were given up and not yet left."""
        return len(self._running)

    async def serve(self) -> None:
        """Load the model and then run what comes, until cancelled."""
        await self._load()
        if self.status != "ready":
            return
        while True:
            await self._arrived.wait()
            await self._gather()
            batch = self._next_batch()
            if batch:
                await self._run(batch)

    def check_ready(self) -> None:
        """Raise `Unavailable` unless requests are taken."""
        if self.status != "ready":
            message = "The model is still loading." if self.status == "loading" else "The worker takes no requests."
            raise Unavailable(message, retry_after=5)

    def check_room(self) -> None:
        """Raise `Full` unless one more may be let in."""
        if self.depth + self.running >= self._settings.max_concurrent_requests:
            self._metrics.rejected.inc()
            message = "The worker has as many requests as it may hold."
            raise Full(message, retry_after=self._retry_after())

    def submit(self, job: Job) -> None:
        """Let the job in.

        Raises:
            Unavailable: there is no model to run it.
            Full: as many are admitted as may be; `retry_after` guesses when one of them will have left.
            DeadlineExceeded: its time was over before it came.
        """
        self.check_ready()
        if job.deadline <= time.monotonic():
            # A timer would fire after the engine has begun.
            raise DeadlineExceeded(_TIME_IS_OVER)
        self.check_room()
        self._waiting.append(job)
        self._count()
        if isinstance(job, SpeechJob) and job.task.streamed:
            self._backlog.add(job.sound)
        loop = asyncio.get_running_loop()
        job.timers += (
            loop.call_later(max(0.0, job.deadline - time.monotonic()), self._expire, job),
            loop.call_later(self._settings.max_queue_seconds, self._expire_in_queue, job),
        )
        self._arrived.set()

    def cancel(self, job: Job) -> None:
        """Take the job back: at once while it waits, at its next step while it runs. Does nothing once it is over."""
        if job.over:
            return
        self._metrics.cancelled.inc()
        job.fail(Cancelled("The request was cancelled."), cancelled=True)
        self._leave_queue(job)

    def position(self, job: Job) -> int | None:
        """How many batches of one go before the job, or None when it does not wait."""
        return self._waiting.index(job) + (1 if self._running else 0) if job in self._waiting else None

    async def stop(self) -> None:
        """Take no more, let what runs finish within the grace period, and fail the rest as worth a retry."""
        self.status, self.reason = "stopping", "The worker is going down."
        for job in list(self._waiting):
            job.fail(Unavailable(self.reason, retry_after=1))
            self._leave_queue(job)
        try:
            await asyncio.wait_for(self._idle.wait(), self._settings.shutdown_grace)
        except TimeoutError:
            for job in self._running:
                job.fail(Unavailable(self.reason, retry_after=1))
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, _contain, self._engine.load)
        except Exception:  # noqa: BLE001 - whatever it is, the probes must go on answering
            _log.exception("the model could not be loaded")
            self.status, self.reason = "unhealthy", "The model could not be loaded; the log of the worker says why."
            return
        if self.status == "loading":
            self.status = "ready"
            self._metrics.model_loaded.set(1)

    async def _gather(self) -> None:
        """Give company a moment to arrive after the first."""
        alone = self._settings.max_batch_size > 1 and self.depth < self._settings.max_batch_size
        if alone and self._settings.batch_wait_ms:
            await asyncio.sleep(self._settings.batch_wait_ms / 1000)

    def _next_batch(self) -> list[Job]:
        """The first that waits, and whoever fits to it, from anywhere in the queue."""
        if not self._waiting:
            self._arrived.clear()
            return []
        first = self._waiting[0]
        key = first.task.batch_key
        fitting = [first] if key is None else [job for job in self._waiting if job.task.batch_key == key]
        batch = fitting[: self._settings.max_batch_size]
        for job in batch:
            self._waiting.remove(job)
        return batch

    async def _run(self, batch: list[Job]) -> None:
        self._begin(batch)
        begun, kind = time.monotonic(), batch[0].task.kind
        try:
            work = self._work(batch)
            await asyncio.get_running_loop().run_in_executor(self._thread, _contain, work.compute)
            self._complete(batch, work, kind, time.monotonic() - begun)
        except Stopped:
            _log.info("left the model early: nobody waits", extra={"jobs": [job.job_id for job in batch]})
        except MemoryError:
            self._fail(batch, OutOfMemory("The request did not fit into memory.", retry_after=5))
        except Failure as failure:
            self._fail(batch, _bare(failure))
        except Exception:  # noqa: BLE001 - one bad request must not end the worker
            _log.exception("the model failed", extra={"trace_id": ",".join(job.trace_id for job in batch)})
            self._fail(batch, Failure("The model failed on this request."))
        finally:
            self._running = []
            self._idle.set()
            self._count()

    def _work(self, batch: list[Job]) -> Painting | Speaking:
        """What one call of the engine is to do; jobs of one batch are of one kind."""
        loop = asyncio.get_running_loop()
        if isinstance(batch[0], SpeechJob) and isinstance(self._engine, SpeechEngine):
            return Speaking(self._engine, batch[0], self._backlog, loop, self._metrics)
        if isinstance(batch[0], PictureJob) and isinstance(self._engine, PictureEngine):
            return Painting(self._engine, cast("Sequence[PictureJob]", batch), loop, self._metrics)
        message = "The loaded model does something else."
        raise UnsupportedTask(message)

    def _begin(self, batch: list[Job]) -> None:
        self._running = batch
        self._idle.clear()
        for job in batch:
            job.batch_size = len(batch)
            job.begin()
            self._metrics.queue_wait.observe(time.monotonic() - job.queued_at)
        self._metrics.batch_size.observe(len(batch))
        self._count()

    def _complete(self, batch: list[Job], work: Painting | Speaking, kind: str, seconds: float) -> None:
        # A moving average: the guess behind Retry-After follows a change of load within a few requests.
        self._typical_seconds += 0.3 * (seconds / len(batch) - self._typical_seconds)
        self._metrics.exec_seconds.labels(kind).observe(seconds)
        for job in batch:
            job.exec_seconds = seconds
        work.complete(seconds)

    def _fail(self, batch: list[Job], failure: Failure) -> None:
        if isinstance(failure, OutOfMemory):
            self._metrics.out_of_memory.inc()
        for job in batch:
            job.fail(failure)

    def _expire(self, job: Job) -> None:
        job.fail(DeadlineExceeded(_TIME_IS_OVER))
        self._leave_queue(job)

    def _expire_in_queue(self, job: Job) -> None:
        if job in self._waiting:
            job.fail(QueueTimeout("The request waited too long.", retry_after=self._retry_after()))
            self._leave_queue(job)

    def _leave_queue(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._count()

    def _retry_after(self) -> int:
        return min(_LONGEST_RETRY_AFTER, max(1, math.ceil(self._typical_seconds)))

    def _count(self) -> None:
        self._metrics.queue_depth.set(self.depth)
        self._metrics.running.set(self.running)


def _contain(work: Callable[[], None]) -> None:
    """Do `work`, and let nothing but errors out of the thread that a future can carry to the event loop.

    A StopIteration would be lost on the way, so that the request never ended; whatever is no Exception would end the loop
    or the task that runs it.
    """
    try:
        work()
    except (StopIteration, CancelledError) as error:
        message = f"The engine raised {type(error).__name__}."
        raise RuntimeError(message) from error
    except Exception:
        raise
    except BaseException as error:
        message = f"The engine raised {type(error).__name__}."
        raise RuntimeError(message) from error


def _bare(failure: Failure) -> Failure:
    """Without the frames that it came through: a kept job would hold with them what the model had allocated there."""
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
