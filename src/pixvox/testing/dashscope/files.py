"""Results behind signed URLs that run out, as the vendor's object storage has them.

Source: dashscope reference 1.6. The bodies of refusals are those of the vendor's object storage in form; their wording is
not documented there. [guess]
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
import urllib.parse
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.testing.dashscope.envelope import Answer
from pixvox.testing.dashscope.faults import Expired, Redirected

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.testing.dashscope.vendor import Call

PATH = "/results/"

_KEY_ID = "EMULATED"
_MOST_FILES = 10_000
_MOST_RENDERED = 16


@dataclass(frozen=True, slots=True)
class Link:
    """Where a result can be fetched.

    Attributes:
        url: With ``Expires``, ``OSSAccessKeyId`` and ``Signature``.
        expires_at: Unix seconds.
    """

    url: str
    expires_at: int


class Files:
    """Results that are made when they are fetched first."""

    def __init__(self) -> None:
        self.base = ""
        self._secret = secrets.token_bytes(16)
        self._makers: OrderedDict[str, tuple[Callable[[], bytes], str]] = OrderedDict()
        self._rendered: OrderedDict[str, bytes] = OrderedDict()

    def put(
        self, make: Callable[[], bytes], suffix: str, content_type: str, seconds: float, base: str | None = None
    ) -> Link:
        """Keep a result, and return its URL.

        Args:
            make: Gives the bytes; is called in a thread.
            suffix: Of the name, with its dot.
            content_type: Of the bytes.
            seconds: For which the URL is good.
            base: What the URL begins with instead of the emulator's own address.
        """
        name = f"{secrets.token_hex(8)}{suffix}"
        self._makers[name] = (make, content_type)
        if len(self._makers) > _MOST_FILES:
            self._makers.popitem(last=False)
        expires = int(time.time() + seconds)
        query = {"Expires": str(expires), "OSSAccessKeyId": _KEY_ID, "Signature": self._signature(name, expires)}
        return Link(f"{base or self.base}{PATH}{name}?{urllib.parse.urlencode(query)}", expires)

    async def answer(self, call: Call) -> Answer:
        """Return the bytes, or a refusal."""
        redirect = call.effects.one(Redirected)
        if redirect is not None:
            return Answer(redirect.status, b"", "text/plain", {"Location": redirect.location})
        name = call.tail
        expires = call.query.get("Expires", "")
        if not expires.isdecimal() or not hmac.compare_digest(
            self._signature(name, int(expires)), call.query.get("Signature", "")
        ):
            return _refusal("SignatureDoesNotMatch", "The signature does not match.")
        if int(expires) <= time.time() or call.effects.one(Expired) is not None:
            return _refusal("AccessDenied", "Request has expired.")
        if name not in self._makers:
            return _refusal("NoSuchKey", "The key does not exist.", 404)
        return Answer(200, await self._bytes(name), self._makers[name][1])

    async def _bytes(self, name: str) -> bytes:
        if name not in self._rendered:
            self._rendered[name] = await asyncio.to_thread(self._makers[name][0])
            if len(self._rendered) > _MOST_RENDERED:
                self._rendered.popitem(last=False)
        return self._rendered[name]

    def _signature(self, name: str, expires: int) -> str:
        return hmac.new(self._secret, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()[:32]


def _refusal(code: str, message: str, status: int = 403) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
    return Answer(status, body.encode(), "application/xml")
