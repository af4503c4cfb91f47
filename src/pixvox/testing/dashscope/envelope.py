"""The JSON envelope of the emulated service: answers, and the error that becomes a refusal.

Source: dashscope reference 1.4 and 6.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON_TYPE = "application/json"


class RefusedError(Exception):
    """The emulated service refuses a request.

    Attributes:
        status: HTTP status.
        code: The vendor's code, such as ``InvalidParameter``.
        message: The vendor's words, or ours where the reference has none.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer.

    Attributes:
        status: HTTP status.
        body: The bytes, maybe none.
        content_type: Of the body.
        headers: Beside content type and length.
        usage: What it costs, as the vendor counts it; for the record only.
    """

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Mapping[str, object] | None = None


def invalid(message: str) -> RefusedError:
    """Return the refusal of a parameter, HTTP 400 ``InvalidParameter``."""
    return RefusedError(400, "InvalidParameter", message)


def new_request_id() -> str:
    """Return a fresh request id, a UUID as the vendor's."""
    return str(uuid.uuid4())


def succeeded(
    request_id: str, *, output: Mapping[str, object] | None = None, usage: Mapping[str, object] | None = None
) -> Answer:
    """Return ``{output?, usage?, request_id}`` with HTTP 200."""
    members: dict[str, object] = {"request_id": request_id}
    if output is not None:
        members["output"] = output
    if usage is not None:
        members["usage"] = usage
    return Answer(200, encoded(members), headers={"x-request-id": request_id}, usage=usage)


def refused(request_id: str, status: int, code: str, message: str) -> Answer:
    """Return ``{code, message, request_id}`` with a status, which may be 200."""
    members = {"code": code, "message": message, "request_id": request_id}
    return Answer(status, encoded(members), headers={"x-request-id": request_id})


def encoded(value: object) -> bytes:
    """Return compact JSON, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
