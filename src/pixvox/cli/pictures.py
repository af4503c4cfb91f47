"""Reads from the bytes of a PNG, JPEG or WebP what it is, how large, and whether it is all there, without decoding it.

Sources: the PNG specification (https://www.w3.org/TR/png-3/), ITU-T T.81 annex B for JPEG, and the WebP container
specification (https://developers.google.com/speed/webp/docs/riff_container).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
# The markers of T.81 table B.1 that begin a frame: C0..CF without the tables C4, C8 and CC.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Picture:
    """A complete picture file; width and height are in pixels."""

    mime_type: str
    width: int
    height: int


def read_picture(data: bytes) -> Picture:
    """Return what a file says about itself.

    Raises:
        ValueError: It is no PNG, JPEG or WebP, or is damaged or cut off.
    """
    try:
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise ValueError("the picture is cut off") from error
    raise ValueError("not a PNG, JPEG or WebP")


def _png(data: bytes) -> Picture:
    width, height = struct.unpack_from(">II", data, 16)
    offset = len(_PNG)
    while True:
        length, name = struct.unpack_from(">I4s", data, offset)
        (checksum,) = struct.unpack_from(">I", data, offset + 8 + length)
        if zlib.crc32(data[offset + 4 : offset + 8 + length]) != checksum:
            raise ValueError("the PNG is damaged: a checksum is wrong")
        offset += 12 + length
        if name == b"IEND":
            return Picture("image/png", width, height)


def _jpeg(data: bytes) -> Picture:
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("the JPEG is cut off")
    offset = 2
    while True:
        marker, length = struct.unpack_from(">xBH", data, offset)
        if data[offset] != 0xFF:
            raise ValueError("the JPEG is damaged: no marker where one is due")
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return Picture("image/jpeg", width, height)
        offset += 2 + length


def _webp(data: bytes) -> Picture:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise ValueError("the WebP is cut off")
    match data[12:16]:
        case b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        case _:
            raise ValueError("the WebP is damaged: it begins with no picture")
    return Picture("image/webp", width, height)
