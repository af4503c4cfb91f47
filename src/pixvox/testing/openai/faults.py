"""The faults that can be ordered from the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Operation: TypeAlias = Literal["generate", "edit", "speech", "download", "health"]


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers an error in the dialect's shape, and does nothing else.

    Attributes:
        status: HTTP status.
        code: Of the error; dialects without codes leave it out.
        message: The engine's words.
        retry_after: Seconds, or None.
    """

    status: int
    code: str = ""
    message: str = "Ordered from the emulator."
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Answers these bytes, such as the page of a proxy."""

    status: int = 502
    body: bytes = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Stalled:
    """Waits before the answer, or after so many pieces of streamed audio."""

    seconds: float
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Does the work and closes the connection: before the answer, or after so many bytes or pieces of streamed audio; 0 is
    behind the answer's head."""

    after: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Ends streamed speech with an error event after so many pieces of audio."""

    code: str = "internal_error"
    message: str = "Ordered from the emulator."
    after: int = 0


@dataclass(frozen=True, slots=True)
class NoDone:
    """Ends streamed speech properly, but without the event that says so."""


@dataclass(frozen=True, slots=True)
class Endless:
    """Speaks the same over and over, as long as somebody listens."""


@dataclass(frozen=True, slots=True)
class ShortSound:
    """Gives a WAV file with less sound than its header says, as a whole answer."""


@dataclass(frozen=True, slots=True)
class NoResult:
    """Answers success without a picture, or without sound."""


@dataclass(frozen=True, slots=True)
class PlacedAt:
    """Names a picture at this address instead of giving it."""

    base: str


Effect: TypeAlias = Refused | Raw | Stalled | Cut | ErrorEvent | NoDone | Endless | ShortSound | NoResult | PlacedAt
