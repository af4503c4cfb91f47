"""Checks of calls of one answer that are broken off: by a cancellation, and by a deadline, which is one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pixvox.testing.conformance import requests
from pixvox.testing.conformance.cases import PICTURES, Make, each
from pixvox.testing.conformance.ending import CANCEL_SECONDS, Ending, cancelled_ending_of, ending_of, told
from pixvox.testing.conformance.findings import Check, CheckFailedError

if TYPE_CHECKING:
    from pixvox.testing.conformance.cases import Case

CONTRACT = "A verb that is cancelled cleans up and lets CancelledError pass, within a second."
LEFT = "A verb that was broken off leaves no task behind."

# How long what was slowed down runs before it is broken off.
_RUN_SECONDS = 0.2

# Gives how a call ended that was broken off after so many seconds.
Break = Callable[[Make[Any], float], Coroutine[Any, Any, Ending[Any]]]


async def check_cancel(case: Case) -> None:
    """Cancel running calls."""
    await _check(case, _cancelled)


async def check_deadline(case: Case) -> None:
    """Let the time of running calls be up."""
    await _check(case, _out_of_time)


CHECKS = (
    Check(
        "image-cancel",
        "A picture that is cancelled ends within a second, and leaves nothing behind.",
        each(check_cancel, *PICTURES),
        calls=8,
    ),
    Check(
        "image-deadline",
        "A deadline ends a picture as a cancellation does.",
        each(check_deadline, *PICTURES),
        calls=8,
    ),
)


def wrong_ending(ending: Ending[Any]) -> str:
    """Return what is wrong with how something ended that was cancelled; empty if nothing is."""
    if ending.stuck or ending.late or ending.seconds > CANCEL_SECONDS:
        return f"had not ended {CANCEL_SECONDS:g} s after it was cancelled"
    if ending.error is None:
        return "went on to its end and gave its result although it was cancelled"
    if not ending.cancelled:
        return f"raised {told(ending.error)} when it was cancelled"
    return ""


async def _check(case: Case, broken_off: Break) -> None:
    # Opens what stays open, and tells how long it takes.
    usual: Ending[Any] = await case.ending(case.usual())
    if not usual.succeeded:
        raise CheckFailedError(case.trial.failure(usual, case.verb, case.model.id))
    before = case.trial.tasks()
    slow = [one for one in case.trial.hints.slow if one.verb == case.verb]
    arranged = [(requests.arranged(case.trial.kind, one), _RUN_SECONDS) for one in slow]
    endings = []
    for fields, seconds in arranged or [({}, 0.0), ({}, usual.seconds / 2)]:
        case.trial.calls += 1
        endings.append(await broken_off(case.picturing(**fields), seconds))
    _report(case, endings)
    left = await case.trial.left(before)
    case.require(not left, f"left running after the call: {', '.join(left)}", LEFT)
    await case.check_usable()


async def _cancelled(make: Make[Any], after: float) -> Ending[Any]:
    return await cancelled_ending_of(make(), after=after)


async def _out_of_time(make: Make[Any], after: float) -> Ending[Any]:
    """Break a call off by a deadline, whose own error stands for the cancellation that it became."""
    deadline = asyncio.timeout(after)

    async def call() -> object:
        async with deadline:
            return await make()

    ending = await ending_of(call(), within=after + CANCEL_SECONDS)
    if not deadline.expired() and not ending.late:
        return dataclasses.replace(ending, early=True)
    error = asyncio.CancelledError() if isinstance(ending.error, TimeoutError) else ending.error
    return dataclasses.replace(ending, seconds=ending.seconds - after, error=error)


def _report(case: Case, endings: list[Ending[Any]]) -> None:
    for ending in endings:
        if ending.early and not ending.succeeded:
            case.trial.find(case.trial.failure(ending, case.verb, case.model.id))
        elif not ending.early:
            wrong = wrong_ending(ending)
            case.require(not wrong, wrong, CONTRACT)
    if all(ending.early for ending in endings):
        case.note(f"{case.verb} always ended before it could be broken off")
