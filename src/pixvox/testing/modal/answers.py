"""What the emulated app answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """What the app answers.

    Attributes:
        status: Of HTTP.
        body: As it is.
        content_type: Of the body.
        headers: Beside it.
        pieces: In place of the body, as they come; None in them cuts the connection.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: AsyncIterator[bytes | None] | None = None


class ContractError(Exception):
    """The request is not as the contract says."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.answer = failed(status, kind, message)


def failed(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return the app's answer for a failure."""
    error = {"message": message, "type": kind, "param": None, "code": status}
    return Answer(status, json.dumps({"success": False, "error": error}).encode(), headers=headers or {})
