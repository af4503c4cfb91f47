"""Takes the samples out of audio as it comes in: bare samples, or a WAV file whose length may be unknown.

Source: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF). Vendors and engines document WAV for files and
bare samples for streams; that a stream begins with a header after all is guarded against.
"""

from __future__ import annotations

import struct

from pixvox.media.encodings import BYTES_PER_SAMPLE

_MAGIC = b"RIFF"
_HEAD_BYTES = 12
_CHUNK_HEAD_BYTES = 8
_FORMAT_BYTES = 16
# A header may hold a title and such; it holds no book.
_MOST_HEADER_BYTES = 64 * 1024
# What writers put there that did not know the length when they began.
_UNKNOWN_LENGTHS = frozenset({0, 0x7FFFFFFF, 0xFFFFFFFF})
_LONGEST_BELIEVED = 0x7FFFFF00
# PCM, and the form that says the same with more words.
_PLAIN_FORMATS = frozenset({1, 0xFFFE})


class OtherAudioError(ValueError):
    """It is no 16-bit mono audio at the rate; the text says what it is."""


class CutShortError(ValueError):
    """There is less than the header says."""


class Samples:
    """Gives the whole 16-bit samples that the pieces of an answer bring, however they are cut.

    Args:
        rate: Samples per second that a header has to state.

    Attributes:
        headed: Whether there was a header.
    """

    def __init__(self, rate: int) -> None:
        self.headed = False
        self._rate = rate
        self._head: bytes | None = b""
        self._half = b""
        self._left: int | None = None

    @property
    def length_is_told(self) -> bool:
        """Whether the header said how much there is."""
        return self._left is not None

    def feed(self, piece: bytes) -> bytes:
        """Return the samples that are complete with this piece, maybe none.

        Raises:
            OtherAudioError: It is of another kind.
        """
        data = piece if self._head is None else self._behind_header(self._head + piece)
        if self._left is not None:
            # Behind the samples there may be chunks with a title and such.
            data = data[: self._left]
            self._left -= len(data)
        data = self._half + data
        whole = len(data) - len(data) % BYTES_PER_SAMPLE
        self._half = data[whole:]
        return data[:whole]

    def finish(self) -> None:
        """Take note that this is the end. A WAV file of unknown length lasts to its end.

        Raises:
            CutShortError: It is not complete.
        """
        if self._head:
            message = "a header without its end"
            raise CutShortError(message)
        if self._left:
            message = f"{self._left} bytes less than the header says"
            raise CutShortError(message)
        if self._half:
            message = "half a sample at the end"
            raise CutShortError(message)

    def _behind_header(self, data: bytes) -> bytes:
        """Return what follows the header, as soon as it is whole; without one that is everything."""
        if not data.startswith(_MAGIC[: len(data)]):
            self._head = None
            return data
        found = _data_chunk(data, self._rate)
        if found is None:
            self._head = data
            return b""
        place, size = found
        self.headed = True
        self._head = None
        if size not in _UNKNOWN_LENGTHS and size < _LONGEST_BELIEVED:
            self._left = size
        return data[place:]


def _data_chunk(data: bytes, rate: int) -> tuple[int, int] | None:
    """Return where the samples begin and how many bytes they are said to have, None if the header is not whole yet."""
    place, checked = _HEAD_BYTES, False
    while len(data) >= place + _CHUNK_HEAD_BYTES:
        name, size = struct.unpack_from("<4sI", data, place)
        place += _CHUNK_HEAD_BYTES
        if name == b"data":
            if not checked:
                message = "a header that does not say what it is"
                raise OtherAudioError(message)
            return place, size
        if name == b"fmt " and len(data) >= place + _FORMAT_BYTES:
            _check(data, place, rate)
            checked = True
        # Chunks begin at even places.
        place += size + size % 2
        if place > _MOST_HEADER_BYTES:
            message = "a header that is longer than any should be"
            raise OtherAudioError(message)
    return None


def _check(data: bytes, place: int, rate: int) -> None:
    form, channels, found, _, _, bits = struct.unpack_from("<HHIIHH", data, place)
    if form not in _PLAIN_FORMATS or (channels, found, bits) != (1, rate, 16):
        message = f"format {form}, {channels} channels, {found} Hz, {bits} bits"
        raise OtherAudioError(message)
