"""Whether a request may be sent again: how far an attempt came, what its loss means, and the loop that repeats it.

An attempt is *not dispatched* until a connection is there to take it. From then on it is *ambiguous*: the vendor may have
it, do the work and bill it. A reply that was read to its end makes it *accepted*, a body that begins to stream *committed*.
Only what was not dispatched, or was refused before any work, may be sent again, unless nothing is billed at all.
"""

from __future__ import annotations

import datetime
import enum
import random
from asyncio import sleep
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from pixvox import telemetry
from pixvox.errors import OutcomeUnknownError, ProviderDisconnectedError, ProviderError, ProviderUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from opentelemetry.trace import SpanContext

    from pixvox.errors import PixvoxError

    Refusal = Callable[["Reply"], float | None]
    Identify = Callable[["Reply"], "Ids"]

T = TypeVar("T")

MAX_ATTEMPTS = 3
MAX_WAIT_SECONDS = 10.0

_FIRST_WAIT_SECONDS = 0.5
_LAST_WAIT_SECONDS = 8.0
_DAY_SECONDS = 86_400.0
# Timeout, rate limit, and what servers and proxies answer while they are overloaded or being replaced.
TOO_MANY_REQUESTS = 429
PASSING = frozenset({408, TOO_MANY_REQUESTS, 500, 502, 503, 504})


class Replay(enum.StrEnum):
    """How far an attempt came; the value stands in `ErrorInfo.metadata` and on spans."""

    NOT_DISPATCHED = "not_dispatched"
    """No byte of the request was sent."""
    AMBIGUOUS = "ambiguous"
    """Bytes may have been sent, and there is no whole reply."""
    ACCEPTED = "accepted"
    """The reply was read to its end."""
    COMMITTED = "committed"
    """The reply streams, or a socket is open."""


class Safety(enum.Enum):
    """What a call asks for, which decides whether it may be repeated and what it means if there is no reply."""

    FREE = enum.auto()
    """Nothing is billed: lists, handshakes. Repeated on every network failure and passing status."""
    FOLLOW_UP = enum.auto()
    """Asks after work that the vendor accepted earlier: polls, cancels, results. Repeated like `FREE`, but the work stays
    billed, so that a failure must not look as if nothing had happened."""
    BILLABLE = enum.auto()
    """Starts work. Repeated only if it was not dispatched, or refused before any work was done."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP reply, whatever its status.

    Attributes:
        status: 100..599.
        headers: By their names in any case.
        body: Decompressed.
        span: Of the attempt that brought it, for what follows from it.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    span: SpanContext | None = field(default=None, repr=False, compare=False)

    @property
    def retry_after(self) -> float | None:
        """Seconds from now that the reply asks to wait (RFC 9110, section 10.2.3), at most a day; or None."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit():
            return min(float(text), _DAY_SECONDS)
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        # A date in "-0000" comes without a zone and means UTC.
        when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
        seconds = (when - datetime.datetime.now(datetime.UTC)).total_seconds()
        return min(max(0.0, seconds), _DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Ids:
    """What a vendor's answer calls itself, for spans; empty where it does not say.

    Attributes:
        request: The vendor's id of the call.
        task: Of the work that the call began or asked after.
        code: Of its complaint.
    """

    request: str = ""
    task: str = ""
    code: str = ""


class RefusedError(ProviderError):
    """The vendor gave an ordinary reply where a stream or a socket was asked for; a provider says what it means.

    Attributes:
        reply: What it answered.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"The provider answered with status {reply.status} instead of opening a stream.")
        self.reply = reply


class ClosedError(ProviderDisconnectedError):
    """The socket is closed. A provider that knows why turns it into something better.

    Attributes:
        close_code: Of the close frame (RFC 6455, section 7.4.1); 1006 if the connection ended without one, 1009 after a message
            that was too large, 1011 if the other side did not answer pings.
        close_reason: That the other side gave; for the provider's eyes, not the caller's.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(
            f"The provider's socket was closed with code {code}.", metadata={"replay": Replay.COMMITTED.value}
        )
        self.close_code = code
        self.close_reason = reason


class LostError(Exception):
    """An attempt that ended without a whole reply; never leaves this package.

    Attributes:
        replay: How far it came.
        kind: Of failure, in one word, for the span.
        what: Happened; goes on after "The provider".
    """

    def __init__(self, replay: Replay, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.replay = replay
        self.kind = kind
        self.what = what


def never(_reply: Reply) -> float | None:
    """Take no reply for a refusal."""
    return None


def nameless(_reply: Reply) -> Ids:
    """Find no id in any reply."""
    return Ids()


async def repeated(
    send: Callable[[int], Awaitable[T | Reply]], *, safety: Safety, operation: str, refusal: Refusal = never
) -> T | Reply:
    """Send until something comes back that is worth keeping, at most `MAX_ATTEMPTS` times.

    If the running call has another target to go to, it sends once.

    Between attempts it waits for an exponential time with full jitter, or longer if the reply says so; where that would be
    over `MAX_WAIT_SECONDS`, the reply is returned as it is.

    Args:
        send: One attempt; is given its number, from 0. Raises `LostError` if no whole reply came.
        safety: What may be repeated.
        operation: What is being done, as in "the image generation", for the error's message.
        refusal: Says of a reply that no work was done for it, and how many seconds to wait at least; else None.

    Raises:
        ProviderUnavailableError: No attempt was dispatched; or the call is `FREE`.
        OutcomeUnknownError: An attempt was lost after its dispatch; with ``replay`` in the metadata.
    """
    # Work that a vendor has accepted is no other target's to take over.
    attempts = MAX_ATTEMPTS if safety is Safety.FOLLOW_UP or telemetry.may_repeat() else 1
    for number in range(attempts):
        last = number == attempts - 1
        wait = 0.0
        try:
            outcome = await send(number)
        except LostError as error:
            if last or (safety is Safety.BILLABLE and error.replay is not Replay.NOT_DISPATCHED):
                raise _translated(error, safety, operation) from error
        else:
            pause = _pause(outcome, safety, refusal) if isinstance(outcome, Reply) else None
            if last or pause is None or pause > MAX_WAIT_SECONDS:
                return outcome
            wait = pause
        await sleep(max(wait, random.uniform(0, min(_LAST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**number))))
    raise AssertionError


def _pause(reply: Reply, safety: Safety, refusal: Refusal) -> float | None:
    """Return how many seconds to wait at least before the request is sent again, None if the reply is to be kept."""
    seconds = refusal(reply)
    # Where there is a rule, it tells a rate limit from an overdue bill, which has the same status and does not pass.
    ruled_out = reply.status == TOO_MANY_REQUESTS and refusal is not never
    if seconds is None and (safety is Safety.BILLABLE or reply.status not in PASSING or ruled_out):
        return None
    return max(seconds or 0.0, reply.retry_after or 0.0)


def _translated(error: LostError, safety: Safety, operation: str) -> PixvoxError:
    if safety is Safety.FREE:
        return ProviderUnavailableError(f"The provider {error.what}.")
    if safety is Safety.FOLLOW_UP:
        return OutcomeUnknownError(
            f"The provider {error.what} during {operation}. The work was accepted and may be billed.",
            metadata={"replay": Replay.ACCEPTED.value},
        )
    if error.replay is Replay.NOT_DISPATCHED:
        return ProviderUnavailableError(f"The provider {error.what}.", metadata={"replay": error.replay.value})
    return OutcomeUnknownError(
        f"The provider {error.what} during {operation}. The work may have been done and billed, so it was not repeated.",
        metadata={"replay": Replay.AMBIGUOUS.value},
    )
