"""How long a caller waits: the header `X-Request-Timeout`, the timeout in the body, and the longest that is allowed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from pixvox_worker.failures import BadRequest

if TYPE_CHECKING:
    from fastapi import Request

HEADER = "X-Request-Timeout"
ARRIVED = "worker.arrived"
"""In the ASGI scope: when the request began to come in, by the clock of `time.monotonic`."""
# Nine digits are thirty years; what is longer is a mistake, and no float overflows.
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def of(request: Request, timeout: float | None, longest: float) -> float:
    """When the answer to `request` must be there, by the clock of `time.monotonic`.

    The least of the header, of `timeout` from the body and of `longest`, all in seconds, counted from the first byte of
    the request: what the body took to arrive is gone. A header of 0 is a time that is over.

    Raises:
        BadRequest: the header is no decimal number of seconds.
    """
    asked = [longest, *(_seconds(text) for text in request.headers.getlist(HEADER))]
    if timeout is not None:
        asked.append(timeout)
    arrived: float = request.scope.get(ARRIVED, time.monotonic())
    return arrived + min(asked)


def parameter() -> dict[str, object]:
    """The header in the OpenAPI document."""
    sentence = "Seconds that the caller waits from the first byte of the request; the least of it and the body's wins."
    return {
        "name": HEADER,
        "in": "header",
        "required": False,
        "description": sentence,
        "schema": {"type": "string", "pattern": f"^{_DECIMAL.pattern}$"},
    }


def _seconds(text: str) -> float:
    if _DECIMAL.fullmatch(text.strip()) is None:
        message = f"{HEADER} is a decimal number of seconds."
        raise BadRequest(message, param=HEADER)
    return float(text)
