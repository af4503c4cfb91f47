"""Forms with files, as HTTP takes them (RFC 7578): bytes out, no network."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of a form.

    Attributes:
        part: Name of its part.
        name: Of the file.
        mime_type: Of the file.
        data: Its bytes.
    """

    part: str
    name: str
    mime_type: str
    data: bytes = field(repr=False)


def encoded_form(fields: Mapping[str, object], files: Iterable[FormFile]) -> tuple[bytes, str]:
    """Return a body and its content type: first the fields, in JSON where they are no texts, then the files.

    It copies all files, which for large ones is work for a thread.
    """
    boundary = f"pixvox-{secrets.token_hex(16)}".encode()
    pieces: list[bytes] = []
    for name, value in fields.items():
        text = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        pieces += [_head(boundary, name), b"\r\n", text, b"\r\n"]
    for file in files:
        head = _head(boundary, file.part, b'; filename="%b"' % _quoted(file.name))
        pieces += [head, b"Content-Type: %b\r\n\r\n" % file.mime_type.encode(), file.data, b"\r\n"]
    pieces.append(b"--%b--\r\n" % boundary)
    return b"".join(pieces), f"multipart/form-data; boundary={boundary.decode()}"


def _head(boundary: bytes, name: str, more: bytes = b"") -> bytes:
    return b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n' % (boundary, _quoted(name), more)


def _quoted(name: str) -> bytes:
    """Return a name as browsers write it, so that none can end the line."""
    return name.encode().replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b'"', b"%22")
