"""When a call that failed may be taken to the next target, and what becomes of the failures on the way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pixvox.errors import NotSentError, OverloadedError, RequestError, reason_name
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.errors import PixvoxError
    from pixvox.routing.candidates import Candidate

NOT_DISPATCHED = "not_dispatched"
# With these the provider has refused the call before any work, for a reason that another provider need not share.
REFUSED = frozenset(
    {
        reasons.ERROR_REASON_PROVIDER_UNAVAILABLE,
        reasons.ERROR_REASON_RATE_LIMITED,
        reasons.ERROR_REASON_QUOTA_EXCEEDED,
        reasons.ERROR_REASON_PROVIDER_NOT_CONFIGURED,
        reasons.ERROR_REASON_PROVIDER_CREDENTIALS,
        reasons.ERROR_REASON_PROVIDER_ACCESS_DENIED,
        reasons.ERROR_REASON_PROVIDER_BILLING,
        reasons.ERROR_REASON_PROVIDER_CONFIG,
        reasons.ERROR_REASON_CONFLICT,
        reasons.ERROR_REASON_SWITCHED_OFF,
    }
)


def may_fall_back(error: PixvoxError, *, entered: bool) -> bool:
    """Tell whether nothing was done for a call that failed, so that another target may be asked.

    Args:
        error: What it failed with.
        entered: Whether the provider was asked; a request that this target's limits refuse may fit another's.
    """
    if not entered:
        return isinstance(error, NotSentError | RequestError) or error.reason in REFUSED
    if error.metadata.get("replay", NOT_DISPATCHED) != NOT_DISPATCHED:
        return False
    return error.reason in REFUSED


@dataclass(frozen=True, slots=True)
class Try:
    """A candidate whose turn it is.

    Attributes:
        candidate: To be tried.
        wait: Whether the call may wait for it; else it has to begin at once.
        more: Whether there is another candidate to go to.
    """

    candidate: Candidate
    wait: bool
    more: bool = False


class Tries:
    """The candidates of one call that are still to be tried, and what became of those that were.

    Args:
        candidates: That may be tried, in their order.
        overflow: Whether the others are tried before the call waits for one.
    """

    def __init__(self, candidates: Sequence[Candidate], *, overflow: bool) -> None:
        wait = len(candidates) == 1 or not overflow
        self._pending = deque(Try(candidate, wait) for candidate in candidates)
        self._errors: list[PixvoxError] = []
        self.attempts: list[media_pb2.Attempt] = []

    def next(self) -> Try:
        """Return whose turn it is."""
        turn = self._pending.popleft()
        return replace(turn, more=bool(self._pending))

    def failed(self, tried: Try, error: PixvoxError, seconds: float, *, entered: bool) -> None:
        """Note a failure and return if there is another candidate to go on with.

        Raises:
            PixvoxError: There is none, or the call may not be taken to it.
        """
        if isinstance(error, OverloadedError) and not tried.wait:
            self._pending.append(Try(tried.candidate, wait=True))
        self._errors.append(error)
        if entered or not isinstance(error, RequestError):
            self._note(tried.candidate, error, seconds)
        if not may_fall_back(error, entered=entered):
            raise self._told(error)
        if not self._pending:
            raise self._told(self._best())

    def _note(self, candidate: Candidate, error: PixvoxError, seconds: float) -> None:
        attempt = media_pb2.Attempt(
            provider=candidate.entry.name,
            model=candidate.model.id,
            reason=error.reason,
            provider_request_id=error.metadata.get("provider_request_id", ""),
        )
        attempt.duration.FromMicroseconds(round(seconds * 1_000_000))
        self.attempts.append(attempt)

    def _best(self) -> PixvoxError:
        """Return the error that helps the caller most: of a target that could have done the work, and the last of those."""
        able = [error for error in self._errors if not isinstance(error, RequestError)]
        if not able:
            return self._errors[0]
        waits = [error.retry_after for error in able if error.retry_after is not None]
        best = able[-1]
        if waits:
            best.retry_after = min(waits)
        return best

    def _told(self, error: PixvoxError) -> PixvoxError:
        if len(self.attempts) > 1:
            told = (f"{one.provider}/{one.model} {reason_name(one.reason)}" for one in self.attempts)
            error.metadata = error.metadata | {"attempts": "; ".join(told)}
        return error
