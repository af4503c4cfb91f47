"""What the bytes of a picture say before any decoder runs: format, size, frames, and damage that decoders overlook.

Nothing here allocates more than the file is long, so it is safe on hostile input. Sources: the PNG specification (third
edition), ITU-T T.81 annex B, the WebP container specification, GIF89a, TIFF 6.0 and BigTIFF, and the BITMAPINFOHEADER page.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

PNG = "image/png"
JPEG = "image/jpeg"
WEBP = "image/webp"
BMP = "image/bmp"
TIFF = "image/tiff"
GIF = "image/gif"

# Frames beyond this many are not counted.
MAX_FRAMES = 1000
# A progressive JPEG has about ten scans. Each costs a pass over all pixels, however short it is in the file.
MAX_SCANS = 100

_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PNG),
    (re.compile(rb"\xff\xd8\xff"), JPEG),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WEBP),
    (re.compile(rb"GIF8[79]a"), GIF),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TIFF),
    # Two letters are little evidence; one of the known lengths of the second header follows them.
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), BMP),
)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))


class BrokenPictureError(ValueError):
    """The file is damaged; the message is a clause for a person that goes after "the file"."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's file declares.

    Attributes:
        mime_type: Found from the bytes, one of this module's constants.
        width: In pixels as stored, before any EXIF orientation.
        height: In pixels as stored.
        frames: Pictures in the file; counting stops at `MAX_FRAMES`.
    """

    mime_type: str
    width: int
    height: int
    frames: int = 1


def sniffed(data: bytes) -> str:
    """Return the MIME type of a JPEG, PNG, WebP, BMP, TIFF or GIF, or an empty string for anything else."""
    return next((mime_type for pattern, mime_type in _SIGNATURES if pattern.match(data)), "")


def header(data: bytes) -> Header:
    """Read a picture's header.

    Raises:
        BrokenPictureError: It is none of the six formats, or the header is cut off or makes no sense.
    """
    mime_type = sniffed(data)
    if not mime_type:
        raise BrokenPictureError("is not a picture of a known format")
    try:
        width, height, frames = _READERS[mime_type](data)
    except (struct.error, IndexError, OverflowError) as error:
        raise BrokenPictureError("ends within its header") from error
    if width < 1 or height < 1:
        raise BrokenPictureError(f"declares a size of {width}x{height} pixels")
    return Header(mime_type, width, height, frames)


def checked_structure(data: bytes) -> None:
    """Look for damage that decoders pass over in silence: missing ends, wrong checksums, endless scans.

    Raises:
        BrokenPictureError: The file is damaged.
    """
    match sniffed(data):
        case "image/png":
            _checked_png(data)
        case "image/jpeg":
            _checked_jpeg(data)
        case "image/webp" if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
            raise BrokenPictureError("is truncated: it is shorter than its RIFF header says")


def _png(data: bytes) -> tuple[int, int, int]:
    if data[12:16] != b"IHDR":
        raise BrokenPictureError("has no IHDR chunk at its start")
    width, height = struct.unpack_from(">II", data, 16)
    frames, at = 1, 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"acTL":
            frames = max(1, min(MAX_FRAMES, struct.unpack_from(">I", data, at + 8)[0]))
        if kind in (b"acTL", b"IDAT", b"IEND"):
            break
        at += length + 12
    return width, height, frames


def _checked_png(data: bytes) -> None:
    at, kind = 8, b""
    view = memoryview(data)
    while kind != b"IEND":
        if at + 12 > len(data):
            raise BrokenPictureError("is truncated: its IEND chunk is missing")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise BrokenPictureError("is truncated: it ends within a chunk")
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise BrokenPictureError("is damaged: the checksum of a chunk is wrong")
        at = end + 4


def _jpeg(data: bytes) -> tuple[int, int, int]:
    at = 2
    while at < len(data):
        marker, start = _jpeg_marker(data, at)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 3)
            return width, height, 1
        if marker in (0xD9, 0xDA):
            break
        at = start if marker in _JPEG_STANDALONE else start + struct.unpack_from(">H", data, start)[0]
    raise BrokenPictureError("has no frame header")


def _checked_jpeg(data: bytes) -> None:
    at, scans = 2, 0
    while at < len(data):
        marker, start = _jpeg_marker(data, at)
        if marker == 0xD9:
            return
        if marker in _JPEG_STANDALONE:
            at = start
            continue
        if start + 2 > len(data):
            break
        at = start + struct.unpack_from(">H", data, start)[0]
        if marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                raise BrokenPictureError(f"has more than {MAX_SCANS} scans")
            found = _JPEG_MARKER.search(data, at)
            at = found.start() if found else len(data)
    raise BrokenPictureError("is truncated: its end marker is missing")


def _jpeg_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at or after a place, and where its content begins."""
    found = _JPEG_MARKER.search(data, at)
    if not found:
        raise BrokenPictureError("is truncated: its end marker is missing")
    return data[found.start() + 1], found.end()


def _webp(data: bytes) -> tuple[int, int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF, 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if kind != b"VP8X":
        raise BrokenPictureError("has no picture chunk")
    sides = data[24:30]
    if len(sides) < 6:
        raise BrokenPictureError("ends within its header")
    frames, at = 0, 30
    while at + 8 <= len(data) and frames < MAX_FRAMES:
        kind, length = struct.unpack_from("<4sI", data, at)
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    return int.from_bytes(sides[:3], "little") + 1, int.from_bytes(sides[3:], "little") + 1, max(frames, 1)


def _bmp(data: bytes) -> tuple[int, int, int]:
    if struct.unpack_from("<I", data, 14)[0] in (12, 16):
        width, height = struct.unpack_from("<HH" if data[14] == 12 else "<II", data, 18)
        return width, height, 1
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height), 1


def _gif(data: bytes) -> tuple[int, int, int]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _gif_palette(flags)
    frames = 0
    while at < len(data) and data[at] != 0x3B and frames < MAX_FRAMES:
        kind = data[at]
        if kind == 0x2C:
            if at + 10 > len(data):
                break
            left, top, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if not frames:
                # Decoders enlarge the canvas to hold a first frame that sticks out.
                width, height = max(width, left + w), max(height, top + h)
            frames += 1
            at += 11 + _gif_palette(flags)
        elif kind == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    if not frames:
        raise BrokenPictureError("has no frame")
    return width, height, frames


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: bytes) -> tuple[int, int, int]:
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    start, end, entry = _tiff_directory(data, offset, order, big)
    tags: dict[int, int] = {}
    for at in range(start, end, entry):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (256, 257, 322, 323) and kind in (3, 4, 16):
            code = {3: "H", 4: "I", 16: "Q"}[kind]
            tags.setdefault(tag, struct.unpack_from(order + code, data, at + (12 if big else 8))[0])
    width, height = tags.get(256, 0), tags.get(257, 0)
    # The decoder holds one whole tile, whose size has nothing to do with the picture's.
    if tags.get(322, 0) * tags.get(323, 0) > 4 * width * height + 1_048_576:
        raise BrokenPictureError("declares tiles far larger than the picture")
    return width, height, _tiff_frames(data, offset, order, big)


def _tiff_frames(data: bytes, offset: int, order: str, big: bool) -> int:
    seen: set[int] = set()
    try:
        while offset and offset not in seen and len(seen) < MAX_FRAMES:
            _, end, _ = _tiff_directory(data, offset, order, big)
            seen.add(offset)
            offset = struct.unpack_from(order + ("Q" if big else "I"), data, end)[0]
    except (struct.error, IndexError, OverflowError):
        # A damaged later frame does not harm the first, the only one that is read.
        return len(seen)
    return len(seen)


def _tiff_directory(data: bytes, offset: int, order: str, big: bool) -> tuple[int, int, int]:
    """Return where a directory's entries begin and end, and the length of one."""
    entry = 20 if big else 12
    count = struct.unpack_from(order + ("Q" if big else "H"), data, offset)[0]
    start = offset + (8 if big else 2)
    if start + count * entry > len(data):
        raise IndexError("the directory is cut off")
    return start, start + count * entry, entry


_READERS = {PNG: _png, JPEG: _jpeg, WEBP: _webp, BMP: _bmp, GIF: _gif, TIFF: _tiff}
