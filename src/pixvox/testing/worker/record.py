"""What the emulator was asked, and how requests are read."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import BodyPartReader  # a server, not upstream traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

_IMAGE_PARTS = ("image", "image[]", "images", "file")
_IMAGE_FIELDS = ("image", "image_base64", "images")


@dataclass(frozen=True, slots=True)
class File:
    """A picture of a request."""

    part: str
    mime_type: str
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Record:
    """One request, as far as it has got.

    Attributes:
        operation: ``generate``, ``edit``, ``process``, ``speech``, ``health``, ``job``, or empty for anything else.
        method: HTTP method.
        path: Without the query.
        headers: Names in lower case, keys replaced by ``***``.
        body: The decoded JSON, or the texts of the form, without pictures.
        files: Its pictures, in order.
        status: That was answered, or None as long as nothing was.
        events: That were sent.
        finished: Whether the whole answer was sent.
        cancelled: Whether the client left before.
    """

    operation: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, object] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    status: int | None = None
    events: int = 0
    finished: bool = False
    cancelled: bool = False


class UnreadableError(Exception):
    """A body is not as the contract says; names the field."""


async def read_body(request: web.Request, record: Record) -> None:
    """Fill in what a request says.

    Raises:
        UnreadableError: It is neither JSON nor a form.
    """
    if request.content_type == "multipart/form-data":
        await _read_form(request, record)
        return
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise UnreadableError from error
    if not isinstance(body, dict):
        raise UnreadableError
    packed = [(name, one) for name in _IMAGE_FIELDS for one in _listed(body.pop(name, None))]
    record.body = body
    record.files = tuple(File(name, "", _unpacked(one)) for name, one in packed)


async def _read_form(request: web.Request, record: Record) -> None:
    files = []
    # Not by `post`, whose temporary files stay open when the client leaves.
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise UnreadableError
        name, data = part.name or "", bytes(await part.read(decode=True))
        if part.filename and name in _IMAGE_PARTS:
            files.append(File(name, part.headers.get("Content-Type", ""), data))
        else:
            record.body[name] = json.loads(data) if name == "options" else data.decode()
    record.files = tuple(files)


def _listed(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _unpacked(text: object) -> bytes:
    try:
        return base64.b64decode(str(text).rpartition(",")[2], validate=True)
    except binascii.Error as error:
        raise UnreadableError from error
