"""Runs checks, each with a provider, a thread and an event loop of its own, so that nothing that one does harms another.

A check is given its time and is then broken off; a provider that cannot be broken off, or that holds the event loop, is left
behind in its thread, which ends with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

from pixvox.settings import SettingsError
from pixvox.testing.conformance.ending import ending_of, is_of_kit, place_of_frame, told
from pixvox.testing.conformance.findings import CheckFailedError, CheckSkippedError, Finding, Outcome, Result
from pixvox.testing.conformance.trial import ALL_MODELS, CLOSE_SECONDS, Trial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from pixvox.testing.conformance.findings import Check
    from pixvox.testing.conformance.hints import Hints
    from pixvox.testing.conformance.subject import Subject

# Beside the calls of a check, for what it does itself.
MARGIN_SECONDS = 30.0
# So long the event loop may stand still before a check is given up; a provider may load much when it is imported.
HELD_SECONDS = 60.0

_TIDY_SECONDS = 1.0
_BEAT_SECONDS = 0.1
# Between two looks whether the loop stands still, or Ctrl-C was pressed.
_GLANCE_SECONDS = 0.2
_CREATION = "create, Config and models()"
_READY = "A provider that is checked has all that its calls need, such as a key."
_ENDS = "Nothing that a provider does lasts for ever, and what is cancelled ends."

_foreign: contextvars.ContextVar[bool] = contextvars.ContextVar("conformance_foreign", default=False)


def run(subject: Subject, checks: Iterable[Check]) -> Iterator[Outcome]:
    """Make checks one after another and give each outcome; all that follow one after which nothing works are left out."""
    culprit: Outcome | None = None
    for check in checks:
        if culprit is not None:
            note = f"left out because of what {culprit.check} found"
            yield Outcome(check.name, check.proves, Result.SKIP, 0.0, notes=(note,), usable=False)
            continue
        outcome = run_one(subject, check)
        culprit = None if outcome.usable else outcome
        yield outcome


def run_one(subject: Subject, check: Check, *, held_seconds: float = HELD_SECONDS) -> Outcome:
    """Make one check; takes no longer than its calls may take.

    Args:
        subject: Which provider.
        check: What to check.
        held_seconds: How long the provider may hold up the event loop at a stretch.
    """
    attempt = _Attempt(subject, check)
    attempt.start()
    while not attempt.ended.wait(_GLANCE_SECONDS):
        if attempt.still_seconds > held_seconds:
            break
    return attempt.outcome or attempt.held_up()


class _Attempt:
    """One check on its way.

    Attributes:
        outcome: Of it, None before there is one.
        ended: Set when there is an outcome and all is tidied up.
    """

    def __init__(self, subject: Subject, check: Check) -> None:
        self.outcome: Outcome | None = None
        self.ended = threading.Event()
        self._subject = subject
        self._check = check
        self._started = self._beat = time.monotonic()
        self._limit = MARGIN_SECONDS
        self._ready = False
        self._trial: Trial | None = None
        self._strangers: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._thread = threading.Thread(target=self._run, name=f"conformance-{check.name}", daemon=True)

    @property
    def still_seconds(self) -> float:
        """For how long the event loop has stood still, infinite if its thread has died."""
        return time.monotonic() - self._beat if self._thread.is_alive() else math.inf

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def held_up(self) -> Outcome:
        """Return the outcome of a check whose event loop stands still, with the line at which that is."""
        self._ready = False
        frame = sys._current_frames().get(self._thread.ident or 0)  # there is no other way to ask
        finding = Finding("ended the thread of its event loop", _ENDS, "")
        if frame is not None:
            place = place_of_frame(frame)
            contract = "A provider leaves the event loop to others: what blocks goes into a thread."
            finding = Finding(f"holds up the event loop at {place}", contract, place.rpartition(" ")[2])
        self._conclude(finding)
        return cast("Outcome", self.outcome)

    def _run(self) -> None:
        """Make the check in an event loop of this thread."""
        loop = asyncio.new_event_loop()
        loop.set_task_factory(self._task)
        # What goes wrong beside the calls is found by looking, and not written to somebody's log.
        loop.set_exception_handler(lambda _, __: None)
        # Threads of asyncio.to_thread are the loop's; waiting for one that never ends would not end.
        executor = ThreadPoolExecutor(thread_name_prefix="conformance")
        loop.set_default_executor(executor)
        asyncio.set_event_loop(loop)
        loop.call_soon(self._ticked, loop)
        loop.run_until_complete(self._checked())
        tidy = loop.run_until_complete(_tidied())
        executor.shutdown(wait=False, cancel_futures=True)
        self.ended.set()
        if not tidy:
            # Closing the loop would destroy tasks that run.
            loop.run_forever()
        asyncio.set_event_loop(None)
        loop.close()

    def _ticked(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = time.monotonic()
        loop.call_later(_BEAT_SECONDS, self._ticked, loop)

    async def _checked(self) -> None:
        ending = await ending_of(self._made(), within=lambda: self._limit)
        if ending.late or ending.stuck:
            then = " and went on although it was cancelled" if ending.stuck else ""
            method = _CREATION if self._trial is None else ""
            self._conclude(Finding(f"the check was not over after {self._limit:g} s{then}", _ENDS, method))
        elif isinstance(ending.error, CheckSkippedError):
            self._conclude(None, skipped=str(ending.error))
        elif isinstance(ending.error, CheckFailedError):
            self._conclude(ending.error.finding)
        else:
            self._conclude(None if ending.error is None else self._unforeseen(ending.error))

    async def _made(self) -> None:
        async with _beside(self._subject) as hints:
            table = self._subject.table_with(hints)
            upstream = self._subject.upstream()
            try:
                entry = self._subject.entry(table, upstream)
                self._trial = Trial(self._subject, table, hints, upstream, entry, lambda task: task in self._strangers)
                try:
                    await self._tried(self._trial)
                finally:
                    await ending_of(entry.provider.aclose(), within=CLOSE_SECONDS)
            finally:
                await upstream.aclose()

    async def _tried(self, trial: Trial) -> None:
        if trial.entry.unready:
            raise CheckFailedError(Finding(f"is not ready: {trial.entry.unready}", _READY, "unready"))
        self._ready = True
        chosen = self._subject.models
        models = len(trial.entry.models) if ALL_MODELS in chosen else max(len(chosen), 1)
        self._limit += trial.seconds * self._check.calls * models
        await self._check.run(trial)

    def _conclude(self, last: Finding | None, *, skipped: str = "") -> None:
        """Set the outcome: with what was found, and the last of it."""
        trial = self._trial
        if trial is not None and last is not None:
            trial.find(last)
        findings = trial.findings if trial is not None else [last] if last is not None else []
        result = Result.FAIL if findings else Result.SKIP if skipped else Result.PASS
        notes = trial.notes if trial is not None else []
        self.outcome = Outcome(
            self._check.name,
            self._check.proves,
            result,
            time.monotonic() - self._started,
            tuple(findings),
            tuple([skipped, *notes] if skipped else notes),
            trial.calls if trial is not None else 0,
            usable=self._ready,
        )

    def _unforeseen(self, error: BaseException) -> Finding:
        if isinstance(error, SettingsError):
            contract = "A provider can be created from its table, and has the verbs that its models list."
            return Finding(str(error), contract, _CREATION)
        if is_of_kit(error):
            return Finding(f"raised {told(error)}", "This is a fault of the kit's; please report it.", self._check.name)
        contract = "Creating a provider, its models() and its streams raise nothing."
        return Finding(f"raised {told(error)}", contract, _CREATION)

    def _task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:  # noqa: ANN401
        """Make a task, and note whether an emulator or the like has it made."""
        task = asyncio.Task(work, loop=loop, **options)
        if _foreign.get():
            self._strangers.add(task)
        return task


@contextlib.asynccontextmanager
async def _beside(subject: Subject) -> AsyncIterator[Hints]:
    """Give a subject's hints, whose emulator lives in a task of its own, by which its tasks are told from the provider's."""
    loop = asyncio.get_running_loop()
    hints: asyncio.Future[Hints] = loop.create_future()
    over = asyncio.Event()

    async def live() -> None:
        async with subject.hinted() as found:
            hints.set_result(found)
            await over.wait()

    context = contextvars.copy_context()
    context.run(_foreign.set, True)
    living = loop.create_task(live(), context=context)
    try:
        either: set[asyncio.Future[Any]] = {living, hints}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not hints.done():
            # It failed before it gave any.
            await living
        yield hints.result()
    finally:
        over.set()
        await asyncio.wait({living}, timeout=CLOSE_SECONDS)
        living.cancel()


async def _tidied() -> bool:
    """Cancel every task that is left, and return whether all have ended."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _TIDY_SECONDS
    me = asyncio.current_task()
    while (left := asyncio.all_tasks() - {me}) and loop.time() < until:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)
    return not left
