"""Checks of a provider whose upstream is out of order, where its settings say where that is."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pixvox.errors import UNCERTAIN, PixvoxError, reason_name
from pixvox.testing.conformance import requests
from pixvox.testing.conformance.broken_upstream import BrokenUpstream, Fault, broken_upstream
from pixvox.testing.conformance.cancelling import CONTRACT, wrong_ending
from pixvox.testing.conformance.cases import CLONE, DESIGN, PICTURES, SPEECH, each
from pixvox.testing.conformance.ending import Ending, cancelled_ending_of, ending_of
from pixvox.testing.conformance.failures import checked_error, marked_call
from pixvox.testing.conformance.findings import Check, CheckSkippedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pixvox.testing.conformance.cases import Case
    from pixvox.testing.conformance.trial import Trial

_PLAIN = {"https": "http", "wss": "ws"}
# How long a call runs that nobody answers, before it is cancelled.
_SILENCE_SECONDS = 0.5
_VERBS = (*PICTURES, SPEECH, CLONE, DESIGN)

_UNSENT = (
    "Where nothing was sent, the reason is not one of errors.UNCERTAIN: the call may be made again, by another target."
)
_SENT = (
    "Where the request went out and no answer came back, the work may have been done and billed: the reason is one of "
    "errors.UNCERTAIN, or the call is made and paid for twice."
)


async def check_unreachable(trial: Trial) -> None:
    """Call verbs while nothing listens upstream."""

    async def check(case: Case, upstream: BrokenUpstream) -> None:
        when = "the upstream refuses connections"
        if (error := await _error(case, upstream, when)) is not None:
            seen = f"{when}, and {reason_name(error.reason)} came out, which is uncertain"
            case.require(error.reason not in UNCERTAIN, seen, _UNSENT)

    await _each(trial, Fault.REFUSES, check)


async def check_broken(trial: Trial) -> None:
    """Call verbs while the upstream answers nonsense, or breaks off."""
    for fault in (Fault.BREAKS_OFF, Fault.FAILS, Fault.NONSENSE, Fault.UNAUTHORIZED):
        await _each(trial, fault, functools.partial(_check_broken, f"the upstream {fault.value}", fault))


async def check_silence(trial: Trial) -> None:
    """Cancel verbs while the upstream says nothing."""

    async def check(case: Case, _: BrokenUpstream) -> None:
        make = await marked_call(case)
        case.trial.calls += 1
        ending = await cancelled_ending_of(make(), after=_SILENCE_SECONDS)
        wrong = "" if ending.early else wrong_ending(ending)
        case.require(not wrong, f"the upstream never answers: {wrong}", CONTRACT)

    await _each(trial, Fault.SILENT, check)


CHECKS = (
    Check(
        "errors-unreachable",
        "An upstream that cannot be reached is an error after which another may be tried.",
        check_unreachable,
        calls=5,
    ),
    Check(
        "errors-broken-upstream",
        "An upstream that breaks off or answers nonsense is an error, and is asked once.",
        check_broken,
        calls=20,
    ),
    Check("errors-silent-upstream", "A call that is not answered can be cancelled.", check_silence, calls=5),
)


async def _each(trial: Trial, fault: Fault, check: Callable[[Case, BrokenUpstream], Awaitable[None]]) -> None:
    """Make a check of each verb while the upstream is out of order."""
    async with _outage(trial, fault) as (broken, upstream):

        async def checked(case: Case) -> None:
            # Without a recording it would have to come from the provider, whose upstream is broken.
            if case.verb == CLONE and not trial.hints.recording and trial.has(SPEECH):
                raise CheckSkippedError("there is no recording to clone; see Hints.recording")
            upstream.requests = 0
            upstream.bodies.clear()
            await check(case, upstream)

        await each(checked, *_VERBS)(broken)


async def _check_broken(when: str, fault: Fault, case: Case, upstream: BrokenUpstream) -> None:
    error = await _error(case, upstream, when)
    sent = sum(requests.MARK.encode() in body for body in upstream.bodies)
    if fault is not Fault.BREAKS_OFF or not sent:
        return
    case.require(sent == 1, f"{when}, and the request was sent {sent} times", "What may be billed is sent once.")
    if error is not None:
        seen = f"{when}, and {reason_name(error.reason)} came out, as if nothing was sent"
        case.require(error.reason in UNCERTAIN, seen, _SENT)


async def _error(case: Case, upstream: BrokenUpstream, when: str) -> PixvoxError | None:
    """Return how a call failed, and report what is wrong with that; None if it did not, or in no way of the contract."""
    make = await marked_call(case)
    case.trial.calls += 1
    ending: Ending[Any] = await ending_of(make(), within=case.trial.seconds)
    if ending.succeeded and not upstream.requests:
        case.note(f"{case.verb} does not ask the upstream")
        return None
    return checked_error(case, ending, when)


@contextlib.asynccontextmanager
async def _outage(trial: Trial, fault: Fault) -> AsyncIterator[tuple[Trial, BrokenUpstream]]:
    """Give a provider whose upstream is out of order, and that.

    Raises:
        CheckSkippedError: The settings do not say where the upstream is.
    """
    addresses = trial.subject.addresses(trial.table)
    if not addresses:
        raise CheckSkippedError("the kind's settings have no address of an upstream")
    async with broken_upstream(fault) as upstream:
        moved = {name: _moved(address, upstream.authority) for name, address in addresses.items()}
        async with trial.another({**trial.table, **moved}) as broken:
            yield broken, upstream


def _moved(address: str, authority: str) -> str:
    parts = urlsplit(address)
    return urlunsplit((_PLAIN.get(parts.scheme, parts.scheme), authority, parts.path, parts.query, parts.fragment))
