"""A request on its way through the worker, and the table in which it can be found by its number."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pixvox_worker.failures import Failure, Gone, NotFound
from pixvox_worker.unread import Unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

    from pixvox_worker.speech import SpeechTask, Spoken
    from pixvox_worker.tasks import PictureTask


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    ENCODING = "encoding"
    """In the model, before the first step: reading the prompt and the pictures."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps that are over."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Preview:
    """An unfinished picture."""

    index: int
    image: Image


Event = Progress | Preview


@dataclass(slots=True, eq=False)
class Job:
    """One admitted request. Belongs to the event loop; the engine's thread only reads `over`. Times are Unix seconds."""

    task: PictureTask | SpeechTask
    deadline: float
    """By the clock of `time.monotonic`."""
    kept: bool = False
    """Whether the result stays for a later call."""
    job_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = State.QUEUED
    step: int = 0
    created_at: float = field(default_factory=time.time)
    queued_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    finished_at: float | None = None
    failure: Failure | None = None
    exec_seconds: float = 0.0
    first_step_at: float | None = None
    batch_size: int = 1
    """Jobs that ran in the same call of the engine."""
    trace_id: str = "-"
    on_end: list[Callable[[Job], None]] = field(default_factory=list)
    """Called with the job once it is over."""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    """Stopped at the end, as they would keep the result alive for as long as they run."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _listeners: list[asyncio.Queue[Event | None]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in (State.COMPLETED, State.FAILED, State.CANCELLED)

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return 1.0 if self.state is State.COMPLETED else self.step / self.task.all_steps

    def listen(self) -> asyncio.Queue[Event | None]:
        """What happens from now on; None is the end."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        if self.over:
            events.put_nowait(None)
        else:
            self._listeners.append(events)
        return events

    def begin(self) -> None:
        """The engine has taken the job."""
        self.state = State.ENCODING
        self.started_at = time.time()

    def advance(self, event: Event) -> None:
        """The engine is further; ignored once the job is over."""
        if self.over:
            return
        if isinstance(event, Progress):
            self.state = State.RUNNING
            self.step = event.step
            self.first_step_at = self.first_step_at or time.time()
        for listener in self._listeners:
            listener.put_nowait(event)

    def fail(self, failure: Failure, *, cancelled: bool = False) -> None:
        """There will be no result."""
        self.end(State.CANCELLED if cancelled else State.FAILED, failure)

    def end(self, state: State, failure: Failure | None) -> None:
        """Nothing will change any more; ignored where nothing does already."""
        if self.over:
            return
        self.state = state
        self.failure = failure
        self.finished_at = time.time()
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        for listener in self._listeners:
            listener.put_nowait(None)
        self._listeners.clear()
        self.ended.set()
        self.ending(failure)
        for tell in self.on_end:
            tell(self)
        self.on_end.clear()
        self.forget()

    def ending(self, failure: Failure | None) -> None:
        """Let go of what only a running job needs; the kinds of jobs say what that is."""

    def forget(self) -> None:
        """Let go of what nobody asks for later, if the result stays."""


@dataclass(slots=True, eq=False)
class PictureJob(Job):
    """A request for pictures."""

    # What the class above says of its task is narrower here.
    task: PictureTask
    images: list[Image] = field(default_factory=list)
    previews_shown: int = 0

    def complete(self, images: list[Image]) -> None:
        """The pictures are there."""
        if not self.over:
            self.images = images
            self.end(State.COMPLETED, None)

    def forget(self) -> None:
        """The pictures that came in are larger than those that are kept."""
        if self.kept:
            self.task = replace(self.task, images=())


@dataclass(slots=True, eq=False)
class SpeechJob(Job):
    """A request for speech: what is said is in `sound` as soon as it is said."""

    task: SpeechTask
    sound: Unread = field(default_factory=Unread)
    spoken: Spoken | None = None
    heard: bool = False
    """Whether there was any sound."""

    def hear(self, pcm: bytes) -> None:
        """The engine has said more; ignored once the job is over."""
        if not self.over:
            self.heard = True
            self.sound.put(pcm)

    def complete(self, spoken: Spoken) -> None:
        """Everything is said."""
        if not self.over:
            self.spoken = spoken
            self.end(State.COMPLETED, None)

    def ending(self, failure: Failure | None) -> None:
        """Nothing more is said."""
        self.sound.close(failure)


class JobTable:
    """The jobs that can be asked for: all that are not over, and those over whose result is kept for its time."""

    def __init__(self, *, ttl: float, most: int) -> None:
        self._ttl = ttl
        self._most = most
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._expired: deque[str] = deque(maxlen=4096)

    def add(self, job: Job) -> None:
        """Make the job findable."""
        self._sweep()
        self._jobs[job.job_id] = job

    def drop(self, job: Job) -> None:
        """Forget a job whose answer has been given."""
        self._jobs.pop(job.job_id, None)

    def get(self, job_id: str) -> Job:
        """The job of that number.

        Raises:
            Gone: it was kept for its time.
            NotFound: there never was one here, or so long ago that its number is forgotten.
        """
        self._sweep()
        job = self._jobs.get(job_id)
        if job is not None:
            return job
        if job_id in self._expired:
            message = "The result of this job was kept for its time and is gone."
            raise Gone(message)
        message = "There is no such job on this worker."
        raise NotFound(message)

    def _sweep(self) -> None:
        """Drop what is over for too long, and the oldest where too many are kept."""
        now = time.time()
        over = [job for job in self._jobs.values() if job.finished_at is not None]
        surplus = max(0, len(over) - self._most)
        for position, job in enumerate(sorted(over, key=lambda job: job.finished_at or 0.0)):
            if position < surplus or now - (job.finished_at or now) > self._ttl:
                del self._jobs[job.job_id]
                self._expired.append(job.job_id)
