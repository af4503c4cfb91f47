"""What can be ordered to go wrong at the edge, or in the worker behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Operation = Literal["generate", "edit", "speech", "health", "result"]

EDGE_PREFIX = "modal-http: "


@dataclass(frozen=True, slots=True)
class Verbatim:
    """The answer that the edge gives in the app's place, so that no work is done.

    Attributes:
        status: Of HTTP.
        body: As it is.
        content_type: Of the body.
        headers: Beside it.
    """

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AppAnswer:
    """A failure of the worker itself, as JSON, after its work where it takes any.

    Attributes:
        status: Of HTTP.
        type: Of the error, such as ``out_of_memory``.
        message: For a person.
        headers: Beside it, such as ``Retry-After``.
    """

    status: int
    type: str
    message: str = "It went wrong."
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoPicture:
    """An answer with status 200 whose picture is no picture."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends without an answer, after the work was done."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The worker takes its time.

    Attributes:
        seconds: How long.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class SpeechBreak:
    """A stream of speech breaks off.

    Attributes:
        after: So many characters that were spoken.
        how: ``cut`` ends the connection, ``error`` sends an event that says so, ``end`` stops as if that were all.
    """

    after: int
    how: Literal["cut", "error", "end"] = "cut"


Effect = Verbatim | AppAnswer | NoPicture | Cut | Slow | SpeechBreak


@dataclass(slots=True)
class Fault:
    """An effect, and what meets it.

    Attributes:
        operation: ``generate``, ``edit``, ``speech``, ``health``, or ``result`` for what follows a redirect.
        effect: What happens.
        times: How many requests meet it; None is all.
    """

    operation: Operation
    effect: Effect
    times: int | None = 1


class Faults:
    """The faults that are ordered, in their order."""

    def __init__(self) -> None:
        self._ordered: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Order a fault, behind those that are."""
        self._ordered.append(fault)

    def clear(self) -> None:
        """Have nothing go wrong any more."""
        self._ordered.clear()

    def take(self, operation: str) -> Effect | None:
        """Return what the next request for `operation` meets, None if nothing."""
        for fault in self._ordered:
            if fault.operation == operation:
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._ordered.remove(fault)
                return fault.effect
        return None


def edge_answer(status: int, text: str, **headers: str) -> Verbatim:
    """Return an answer of the edge's own; underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Verbatim(status, f"{EDGE_PREFIX}{text}".encode(), headers=named)
