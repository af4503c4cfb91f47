"""Opus packets in Ogg pages that are complete the moment they are written.

The muxer of a media library holds a page back until it knows the next one; a live stream wants every page at once, so
the pages are made here. Sources: RFC 3533 (pages), RFC 7845 (Opus in Ogg).
"""

from __future__ import annotations

import secrets
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Positions in an Ogg Opus stream count at this rate, whatever the encoder was given.
GRANULE_RATE_HERTZ = 48000

_VENDOR = b"pixvox"
_BEGIN_OF_STREAM = 0x02
_END_OF_STREAM = 0x04
_HEADER_PAGES = 2
# A page has at most 255 lacing values, and a packet of 20 ms at most 1275 bytes, which take 6 of them.
_PACKETS_PER_PAGE = 40
_PAGE_HEADER = struct.Struct("<4sBBqIII")
_CHECKSUM_OFFSET = 22
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggOpus:
    """One logical Ogg stream of Opus."""

    def __init__(self, head: bytes) -> None:
        """Begin a stream with an identification header, ``OpusHead`` (RFC 7845 section 5.1)."""
        self._head = head
        (self._pre_skip,) = struct.unpack_from("<H", head, 10)
        self._serial = secrets.randbits(32)
        self._sequence = _HEADER_PAGES
        self._granule = 0

    @property
    def samples(self) -> int:
        """Samples at `GRANULE_RATE_HERTZ` that a decoder gives out for all pages so far."""
        return max(0, self._granule - int(self._pre_skip))

    def header(self) -> bytes:
        """Return the two pages that stand before the audio."""
        tags = b"OpusTags" + struct.pack("<I", len(_VENDOR)) + _VENDOR + struct.pack("<I", 0)
        return self._page([self._head], 0, 0, _BEGIN_OF_STREAM) + self._page([tags], 1, 0, 0)

    def pages(self, packets: Sequence[tuple[bytes, int]], *, last: bool = False) -> bytes:
        """Return whole pages with `packets`, each with its length in samples at `GRANULE_RATE_HERTZ`.

        With `last` the last page ends the stream, even if there is no packet for it. A packet that is given a shorter
        length than it was coded with has the decoder cut off the padding.
        """
        groups = [packets[start : start + _PACKETS_PER_PAGE] for start in range(0, len(packets), _PACKETS_PER_PAGE)]
        if last and not groups:
            groups = [()]
        pages = []
        for number, group in enumerate(groups, 1):
            self._granule += sum(length for _, length in group)
            flags = _END_OF_STREAM if last and number == len(groups) else 0
            pages.append(self._page([data for data, _ in group], self._sequence, self._granule, flags))
            self._sequence += 1
        return b"".join(pages)

    def _page(self, packets: Sequence[bytes], sequence: int, granule: int, flags: int) -> bytes:
        lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
        header = _PAGE_HEADER.pack(b"OggS", 0, flags, granule, self._serial, sequence, 0)
        page = bytearray(b"".join((header, bytes([len(lacing)]), lacing, *packets)))
        struct.pack_into("<I", page, _CHECKSUM_OFFSET, _checksum(page))
        return bytes(page)


def _checksum(page: bytearray) -> int:
    """Return the CRC of RFC 3533: zlib's polynomial with the bits the other way round and no inversion at the ends."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED_BITS), "big")
