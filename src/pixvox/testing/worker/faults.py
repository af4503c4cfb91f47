"""The faults that can be ordered from the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Operation: TypeAlias = Literal["generate", "edit", "process", "speech", "health", "job"]


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers an error in the worker's shape, and does no work.

    Attributes:
        status: HTTP status.
        type: Of the error.
        param: Field of the request that is to blame, or None.
        retry_after: Seconds, or None.
    """

    status: int
    type: str = "internal_error"
    param: str | None = None
    retry_after: int | None = None


LOADING = Refused(503, "unavailable_error", retry_after=5)


@dataclass(frozen=True, slots=True)
class Page:
    """Answers these bytes, such as the page of a proxy."""

    status: int = 502
    body: bytes = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Slow:
    """Waits: before the answer begins, or before the event of a stream that follows so many others."""

    seconds: float
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Dies: the connection is closed before the answer begins, or after so many events of a stream."""

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Failing:
    """Takes the request and fails at it: in a stream, by an event after so many others.

    Attributes:
        status: That the event names.
        type: Of the error, such as ``out_of_memory`` with 503.
        after: How many events come before.
    """

    status: int = 500
    type: str = "internal_error"
    after: int = 0


@dataclass(frozen=True, slots=True)
class NoEnd:
    """Ends a stream properly, but without the event that says so: no picture, no ``speech.audio.done``."""


@dataclass(frozen=True, slots=True)
class NoResult:
    """Says that it has done the work, and gives a picture that is none, or no sound."""


@dataclass(frozen=True, slots=True)
class Nonsense:
    """Answers success with JSON that breaks off, as a whole answer or as an event."""


Effect: TypeAlias = Refused | Page | Slow | Cut | Failing | NoEnd | NoResult | Nonsense
