"""Checks of speech that is broken off: cancelled at every point, out of time, and left early by its reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pixvox.testing.conformance import requests, speaking
from pixvox.testing.conformance.cancelling import CONTRACT, LEFT, wrong_ending
from pixvox.testing.conformance.cases import SPEECH, each
from pixvox.testing.conformance.ending import CANCEL_SECONDS, Ending
from pixvox.testing.conformance.findings import Check
from pixvox.testing.conformance.speaking import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.provider import SpeechInput, SpeechStream
    from pixvox.testing.conformance.cases import Case
    from pixvox.v1.speech_service_pb2 import SpeechConfig

_LEAVING = "Leaving the block, for whatever reason, closes the upstream and ends every task, within a second."
# So long that nothing has spoken it before it is broken off.
_CHARACTERS = 4000
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a synthesis is to be broken off.

    Attributes:
        name: Of it, for a person.
        act: Reads the synthesis as far as that.
        waiting: Whether the text waits after its beginning instead of being there.
        entering: Whether it is before the block has begun.
        resting: Whether everything is to come to rest there before it is broken off.
    """

    name: str
    act: Callable[[_Attempt, SpeechStream], Coroutine[Any, Any, None]]
    waiting: bool = False
    entering: bool = False
    resting: bool = False


@dataclass(slots=True)
class _Attempt:
    """One synthesis that is to be broken off.

    Attributes:
        text: That it speaks.
        config: How.
        pause: Seconds from where it is to be broken off until that is done.
        deadline: That may be set to break it off.
        reached: Set when it is where it is to be broken off.
    """

    text: Text
    config: SpeechConfig
    pause: float
    deadline: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    reached: asyncio.Event = field(default_factory=asyncio.Event)


class _ReaderError(Exception):
    """The reader's own failure, which the provider has to let pass."""


# Breaks off the task of an attempt, by whatever means.
Break = Callable[[_Attempt, "asyncio.Task[None]"], None]


async def check_cancel(case: Case) -> None:
    """Cancel a synthesis that begins, one that is read, one that nobody reads, and one that waits for text."""
    places = (
        _Place("while its block is entered", _read, entering=True),
        _Place("while its first event is awaited", _start),
        _Place("while it is read", _read),
        _Place("while nobody reads", _idle, resting=True),
        _Place("while it waits for text", _read, waiting=True, resting=True),
    )
    await _check(case, places, _cancel, CONTRACT)


async def check_deadline(case: Case) -> None:
    """Let the time of a synthesis be up."""
    places = (_Place("while it is read", _read), _Place("while it waits for text", _read, waiting=True, resting=True))
    await _check(case, places, _expire, CONTRACT)


async def check_leaving(case: Case) -> None:
    """Leave the block early, by will and by an error."""
    places = (
        _Place("left after its first audio", _leave),
        _Place("left without reading anything", _turn_away),
        _Place("left while text was still to come", _leave, waiting=True),
        _Place("left by an error of the reader", _fail),
    )
    await _check(case, places, _let, _LEAVING)


CHECKS = (
    Check(
        "speech-cancel",
        "A synthesis that is cancelled ends within a second, wherever it is.",
        each(check_cancel, SPEECH),
        calls=7,
    ),
    Check(
        "speech-deadline",
        "A deadline ends a synthesis as a cancellation does.",
        each(check_deadline, SPEECH),
        calls=4,
    ),
    Check(
        "speech-leaving",
        "A synthesis that is left early ends with its block.",
        each(check_leaving, SPEECH),
        calls=6,
    ),
)


async def _check(case: Case, places: Sequence[_Place], break_off: Break, contract: str) -> None:
    # What stays open, such as a connection, is not taken for something left behind.
    await case.said()
    for place in places:
        before = case.trial.tasks()
        attempt = _attempt(case, place)
        case.trial.calls += 1
        ending = await _broken_off(case, attempt, place, break_off)
        if ending.early and ending.succeeded:
            case.note(f"the synthesis ended before it could be broken off {place.name}")
            continue
        wrong = case.trial.failure(ending, SPEECH, "").seen if ending.early else wrong_ending(ending)
        if ending.late and wrong:
            wrong = f"gave no audio within {case.trial.seconds:g} s"
        case.require(not wrong, f"{place.name}: {wrong}", contract)
        if not ending.stuck:
            seen = f"{place.name}: still waits for the caller's text after the block"
            case.require(not attempt.text.waiting, seen, _LEAVING)
            left = await case.trial.left(before)
            case.require(not left, f"{place.name}: left running: {', '.join(left)}", LEFT)
    await case.check_usable()


def _attempt(case: Case, place: _Place) -> _Attempt:
    # A model that speaks complete texts gives audio of what is before a flush.
    items: list[SpeechInput] = [f"{case.sentence} ", requests.flush("soon")]
    if not place.waiting:
        items = speaking.pieces(speaking.long_text(case.model, _CHARACTERS))
    slow = [one for one in case.trial.hints.slow if one.verb == SPEECH and place.entering]
    fields = requests.arranged(case.trial.kind, slow[0] if slow else None)
    # A quick one would be over if it was given any time.
    pause = _PAUSE_SECONDS if place.resting or slow else 0.0
    return _Attempt(Text(items, endless=place.waiting), requests.speech(case.model, **fields), pause)


async def _broken_off(case: Case, attempt: _Attempt, place: _Place, break_off: Break) -> Ending[None]:
    """Return how a synthesis ended, with the seconds since it was broken off.

    What is expected to come out of it, an expired deadline or its reader's own error, stands as a cancellation.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_run(case, attempt, place))
    reached = asyncio.create_task(attempt.reached.wait())
    try:
        await asyncio.wait({task, reached}, timeout=case.trial.seconds, return_when=asyncio.FIRST_COMPLETED)
        if break_off is not _let:
            await asyncio.wait({task}, timeout=attempt.pause)
            if task.done():
                return Ending(0.0, error=_error(task), early=True)
        late = not attempt.reached.is_set()
        asked = loop.time()
        break_off(attempt, task)
        await asyncio.wait({task}, timeout=CANCEL_SECONDS)
        if not task.done():
            return Ending(loop.time() - asked, late=late, stuck=True)
        error = _error(task)
        expected = isinstance(error, TimeoutError | _ReaderError) or (error is None and break_off is _let)
        return Ending(loop.time() - asked, error=asyncio.CancelledError() if expected else error, late=late)
    finally:
        reached.cancel()
        task.cancel()


async def _run(case: Case, attempt: _Attempt, place: _Place) -> None:
    if place.entering:
        attempt.reached.set()
    async with (
        attempt.deadline,
        case.trial.stream(attempt.config, attempt.text, case.model) as stream,
    ):
        await place.act(attempt, stream)


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _cancel(_: _Attempt, task: asyncio.Task[None]) -> None:
    task.cancel()


def _expire(attempt: _Attempt, _: asyncio.Task[None]) -> None:
    attempt.deadline.reschedule(asyncio.get_running_loop().time())


def _let(_: _Attempt, __: asyncio.Task[None]) -> None:
    """Do nothing: the reader leaves by itself."""


async def _start(attempt: _Attempt, stream: SpeechStream) -> None:
    """Read on; the place is right before the first event."""
    attempt.reached.set()
    async for _ in stream.events:
        pass


async def _read(attempt: _Attempt, stream: SpeechStream) -> None:
    """Read on; the place is the first audio."""
    async for event in stream.events:
        if isinstance(event, bytes):
            attempt.reached.set()


async def _leave(attempt: _Attempt, stream: SpeechStream) -> None:
    """Read the first audio and leave."""
    async for event in stream.events:
        if isinstance(event, bytes):
            break
    attempt.reached.set()


async def _idle(attempt: _Attempt, stream: SpeechStream) -> None:
    """Read the first audio and then nothing more."""
    await _leave(attempt, stream)
    await asyncio.Event().wait()


async def _turn_away(attempt: _Attempt, _: SpeechStream) -> None:
    """Leave at once."""
    attempt.reached.set()


async def _fail(attempt: _Attempt, stream: SpeechStream) -> None:
    """Read the first audio and fail."""
    await _leave(attempt, stream)
    raise _ReaderError
