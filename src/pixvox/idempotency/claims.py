"""Who makes a call: exactly one try at a time, among all processes that share the database."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

import structlog

from pixvox.database import DatabaseError
from pixvox.errors import (
    UNCERTAIN,
    AnswerNotKeptError,
    OutcomeUnknownError,
    PixvoxError,
    RequestError,
    RequestIdReusedError,
    ServiceError,
    Violation,
    reason_name,
)
from pixvox.idempotency.earlier import State
from pixvox.idempotency.leases import Leases

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from types import TracebackType

    from pixvox.idempotency.earlier import Earlier, RequestKey
    from pixvox.idempotency.store import RequestStore

log = structlog.get_logger("pixvox.requests")

# Between two looks whether another try has ended.
FIRST_WAIT_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 1.0
# How long an answer waits for being kept; after that it is given, and kept beside it.
KEEPING_SECONDS = 1.0
# Between two purges.
PURGING_SECONDS = 60.0
# The reason of a call whose process has died.
INSTANCE_LOST = "INSTANCE_LOST"
CANCELLED = "CANCELLED"

# Between attempts to note how a call has ended.
_SAVE_WAITS = (0.1, 1.0)
_NOT_DISPATCHED = "not_dispatched"


class ClaimLostError(ServiceError):
    """This process was silent for so long that another one has begun to make the call; nothing was sent."""


class Claims:
    """Gives the right to make a call, or what is known of it.

    Args:
        store: Of all calls.
        lease_seconds: How long a process counts as alive after a sign of life.
        max_answer_bytes: Of an answer that is kept.
    """

    def __init__(self, store: RequestStore, *, lease_seconds: float, max_answer_bytes: int) -> None:
        self.store = store
        self.leases = Leases(store, lease_seconds)
        self.max_answer_bytes = max_answer_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._purged_at = -PURGING_SECONDS

    async def claimed(self, key: RequestKey, fingerprint: str, field: str) -> Claim | Earlier:
        """Return the right to make a call, or the call that was answered before; waits for one that is being made.

        Args:
            key: Of the call.
            fingerprint: Of its payload.
            field: Path of its request id.

        Raises:
            RequestIdReusedError: The id belongs to another payload.
            OutcomeUnknownError: The call was made, and nobody knows whether the work was done.
            AnswerNotKeptError: It was answered, and the answer was too large to keep.
            DatabaseError: Nothing is known.
        """
        self._purge()
        while True:
            claim = Claim(self, key)
            earlier = await claim.take(fingerprint)
            if earlier is None:
                return claim
            answered = await self._answered(key, fingerprint, field, earlier)
            if answered is not None:
                return answered

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside the calls, that is finished before the service ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Finish what was begun; is called when no claim is held any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.leases.aclose()
        await self.store.aclose()

    async def _answered(self, key: RequestKey, fingerprint: str, field: str, earlier: Earlier) -> Earlier | None:
        """Wait for an earlier try and return it; None if it came to nothing, so that the call may be made."""
        waits = _waits()
        found: Earlier | None = earlier
        while found is not None:
            if found.lapsed and not found.dispatched:
                return None
            if found.fingerprint != fingerprint:
                raise reused(field)
            if found.state == State.DONE:
                if not found.kept:
                    raise _not_kept()
                return found
            if found.state == State.UNCERTAIN:
                raise _unknown(found)
            if not found.lapsed:
                await asyncio.sleep(next(waits))
            elif await self.store.bury(key, INSTANCE_LOST):
                log.warning("the process that made a call is gone; its outcome is not known", **names(key))
            found = await self.store.look(key)
        return None

    def _purge(self) -> None:
        if time.monotonic() - self._purged_at >= PURGING_SECONDS:
            self._purged_at = time.monotonic()
            _ = self.begin(self._purged())

    async def _purged(self) -> None:
        try:
            while await self.store.purge():
                pass
        except DatabaseError:
            log.warning("old requests could not be purged")


class Claim:
    """The right to make one call, for the block of an ``async with``; how that ends is noted.

    Made by `Claims.claimed`. A block that ends without `answered` may be repeated, unless a provider was asked and may have
    done the work.
    """

    def __init__(self, claims: Claims, key: RequestKey) -> None:
        self._claims = claims
        self._store = claims.store
        self._key = key
        self._owner = uuid.uuid4().hex
        self._ended = False
        self._answer: tuple[bytes | None, str | None] | None = None
        self.dispatched = False

    async def take(self, fingerprint: str) -> Earlier | None:
        """Take the right and return None, or return who has it."""
        try:
            earlier = await self._store.claim(self._key, fingerprint, self._owner)
        except asyncio.CancelledError:
            # It is taken all the same, and would keep others waiting until its lease is over.
            _ = self._claims.begin(self._noted(lambda: self._store.forget(self._key, self._owner)))
            raise
        if earlier is None:
            self._claims.leases.hold(self._key, self._owner)
        return earlier

    async def dispatch(self) -> None:
        """Note that a provider is about to be asked; has to be awaited right before.

        Raises:
            ClaimLostError: It must not be asked, because the right is with another process or the block has ended.
            DatabaseError: It must not be asked, because that could not be noted.
        """
        if not (self._ended or self.dispatched):
            self.dispatched = await self._store.dispatch(self._key, self._owner)
        # What is done on behalf of the block can outlive it.
        if self._ended or not self.dispatched:
            raise ClaimLostError("The call is not made here any more; nothing was sent.")

    def answered(self, answer: bytes | bytearray | None, text_fingerprint: str | None = None) -> None:
        """Say what the call was answered.

        Args:
            answer: To be kept unless it is too large; None if it is not there.
            text_fingerprint: Of a stream's text.
        """
        kept = answer is not None and len(answer) <= self._claims.max_answer_bytes
        self._answer = (bytes(answer) if kept and answer is not None else None, text_fingerprint)

    async def __aenter__(self) -> Self:
        """Begin to make the call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Note how it ended, for at most `KEEPING_SECONDS`; the rest of the time beside other calls."""
        self._ended = True
        noting = self._claims.begin(self._noted(self._end(raised)))
        if not isinstance(raised, asyncio.CancelledError):
            await asyncio.wait((noting,), timeout=KEEPING_SECONDS)

    def _end(self, raised: BaseException | None) -> Callable[[], Awaitable[bool]]:
        if self._answer is not None:
            answer, text = self._answer
            return lambda: self._store.keep(self._key, self._owner, answer, text)
        if not self.dispatched or _nothing_was_done(raised):
            return lambda: self._store.forget(self._key, self._owner)
        reason = _reason_of(raised)
        log.warning("the outcome of a call is not known", reason=reason, **names(self._key))
        return lambda: self._store.give_up(self._key, self._owner, reason)

    async def _noted(self, write: Callable[[], Awaitable[bool]]) -> None:
        try:
            for wait in (*_SAVE_WAITS, None):
                try:
                    await write()
                except DatabaseError:
                    if wait is None:
                        log.exception("it could not be noted how a call ended", **names(self._key))
                        return
                    await asyncio.sleep(wait)
                else:
                    return
        finally:
            self._claims.leases.release(self._key, self._owner)


def reused(field: str) -> RequestIdReusedError:
    """Return the error of a request id that belongs to another payload."""
    return RequestIdReusedError(
        "The request id was used for a call with another payload; take a new one for a new call.",
        Violation(field, "belongs to a call with another payload"),
    )


def names(key: RequestKey) -> dict[str, str]:
    """Return how the log calls a call."""
    return key._asdict()


def _waits() -> Iterator[float]:
    wait = FIRST_WAIT_SECONDS
    while True:
        yield wait
        wait = min(wait * 1.5, LONGEST_WAIT_SECONDS)


def _nothing_was_done(raised: BaseException | None) -> bool:
    """Tell whether a call that a provider was asked to make failed before any work."""
    if not isinstance(raised, PixvoxError) or raised.reason in UNCERTAIN:
        return False
    # A provider can refuse to go on with what it has accepted; a caller's mistake is found before that.
    return isinstance(raised, RequestError) or raised.metadata.get("replay", _NOT_DISPATCHED) == _NOT_DISPATCHED


def _reason_of(raised: BaseException | None) -> str:
    if isinstance(raised, asyncio.CancelledError):
        return CANCELLED
    return reason_name(raised.reason if isinstance(raised, PixvoxError) else PixvoxError.reason)


def _not_kept() -> AnswerNotKeptError:
    return AnswerNotKeptError(
        "The call with this request id was answered, and the answer was too large to keep. It was not made again, for it"
        " would be billed again; take a new request id to make it again."
    )


def _unknown(earlier: Earlier) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "The call with this request id was sent to a provider, and its outcome is not known; it may have been done and"
        " billed. It was not repeated; take a new request id to make it again.",
        metadata={"earlier_reason": earlier.reason, "earlier_time": earlier.create_time.isoformat(timespec="seconds")},
    )
