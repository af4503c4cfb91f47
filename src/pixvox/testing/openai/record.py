"""What the emulator was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class File:
    """A part of a form that is a file."""

    part: str
    name: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Record:
    """One request, as far as it has got.

    Attributes:
        operation: ``generate``, ``edit``, ``speech``, ``download``, ``health``, or empty for what the dialect has no route for.
        method: HTTP method.
        path: Without the query.
        headers: Names in lower case, keys replaced by ``***``.
        body: The decoded JSON, or the texts of the form.
        files: Of the form, in order.
        status: That was answered, or None as long as nothing was.
        pieces: Of streamed audio that were sent.
        finished: Whether the whole answer was sent.
        cancelled: Whether the client left before.
    """

    operation: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, object]
    files: tuple[File, ...] = ()
    status: int | None = None
    pieces: int = 0
    finished: bool = False
    cancelled: bool = False
