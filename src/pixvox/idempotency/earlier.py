"""What the database knows of a call that was made before."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datetime


class RequestKey(NamedTuple):
    """A method, such as `pixvox.v1.ImageService/GenerateImage`, and the id that a caller gave to one call of it."""

    method: str
    request_id: str


class State(enum.StrEnum):
    """How far a call has come."""

    RUNNING = "running"
    DONE = "done"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A call that was made before, or is being made.

    Attributes:
        fingerprint: Of its payload; of a stream's config alone.
        text_fingerprint: Of a stream's text, None as long as it is not known.
        state: How far it has come, a `State`.
        dispatched: Whether a provider may have been asked.
        owner: Which try to make the call it is.
        reason: Why it is uncertain; else empty.
        create_time: When it began.
        lapsed: Whether it is running by the database, and by its lease nobody makes it any more.
        kept: Whether its answer is there.
    """

    fingerprint: str
    text_fingerprint: str | None
    state: str
    dispatched: bool
    owner: str
    reason: str
    create_time: datetime.datetime
    lapsed: bool
    kept: bool
