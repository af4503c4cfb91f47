"""The faults that can be ordered from the emulator."""

from __future__ import annotations

from collections import deque
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


class Faults:
    """What shall go wrong, in the order in which it was ordered, for each operation on its own."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Effect]] = {}
        self._always: dict[str, Effect] = {}

    def add(self, operation: Operation, effect: Effect, *, times: int | None = 1) -> None:
        """Order a fault for so many requests, or for all from now on."""
        if times is None:
            self._always[operation] = effect
        else:
            self._waiting.setdefault(operation, deque()).extend([effect] * times)

    def clear(self) -> None:
        """Forget all that is ordered."""
        self._waiting.clear()
        self._always.clear()

    def take(self, operation: str) -> Effect | None:
        """Return what goes wrong with the next request."""
        waiting = self._waiting.get(operation)
        return waiting.popleft() if waiting else self._always.get(operation)
