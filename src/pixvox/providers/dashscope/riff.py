"""Takes the samples out of a WAV file that comes piece by piece, and leaves samples without a header as they are.

Source: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF). The vendor documents WAV for files and bare
samples for streams; that a stream begins with a header after all is guarded against.
"""

from __future__ import annotations

import struct

BYTES_PER_SAMPLE = 2

_MAGIC = b"RIFF"
_HEAD_BYTES = 12
_CHUNK_HEAD_BYTES = 8
_FORMAT_BYTES = 16
# Writers that do not know the length of what follows say so in different ways.
_UNKNOWN_LENGTHS = frozenset({0, 0x7FFFFFFF, 0xFFFFFFFF})
# PCM, and the form that says the same with more words.
_PLAIN_FORMATS = frozenset({1, 0xFFFE})


class WaveformError(ValueError):
    """The file is not what was agreed; the text says what it is."""


class Samples:
    """Takes the pieces of a stream, however they are cut, and gives the whole 16-bit samples in them.

    Args:
        rate: Samples per second that a header has to state.

    Attributes:
        headed: Whether there was a header.
    """

    def __init__(self, rate: int) -> None:
        self.headed = False
        self._rate = rate
        self._head = b""
        self._headless = False
        self._left: int | None = None
        self._half = b""

    @property
    def missing(self) -> bool:
        """Whether a header is not complete, or states more than has come."""
        return bool(self._head or self._left)

    def feed(self, piece: bytes) -> bytes:
        """Return the whole samples that are complete with a piece, maybe none.

        Raises:
            WaveformError: There is a header of something else than 16-bit mono at the rate.
        """
        if not self._headless:
            piece = self._behind_head(piece)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        if self._half:
            piece = self._half + piece
        whole = len(piece) - len(piece) % BYTES_PER_SAMPLE
        self._half = piece[whole:]
        return piece[:whole] if self._half else piece

    def _behind_head(self, piece: bytes) -> bytes:
        data = self._head + piece
        if not data.startswith(_MAGIC[: len(data)]):
            return self._beheaded(data, 0)
        place = _HEAD_BYTES
        while len(data) >= place + _CHUNK_HEAD_BYTES:
            name, size = struct.unpack_from("<4sI", data, place)
            place += _CHUNK_HEAD_BYTES
            if name == b"data":
                self.headed = True
                self._left = None if size in _UNKNOWN_LENGTHS else size
                return self._beheaded(data, place)
            if name == b"fmt " and len(data) >= place + _FORMAT_BYTES:
                self._check(data, place)
            # Chunks begin at even places.
            place += size + size % 2
        self._head = data
        return b""

    def _beheaded(self, data: bytes, place: int) -> bytes:
        self._headless = True
        self._head = b""
        return data[place:] if place else data

    def _check(self, data: bytes, place: int) -> None:
        form, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, place)
        if form not in _PLAIN_FORMATS or (channels, rate, bits) != (1, self._rate, 16):
            message = f"format {form}, {channels} channels, {rate} Hz, {bits} bits"
            raise WaveformError(message)
