"""Takes the samples out of a whole answer with audio: bare samples, or a WAV file.

Source: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF).
"""

from __future__ import annotations

import struct

BYTES_PER_SAMPLE = 2

_MAGIC = b"RIFF"
_HEAD_BYTES = 12
_CHUNK_HEAD_BYTES = 8
_FORMAT_BYTES = 16
# What writers put there that did not know the length when they began.
_UNKNOWN_LENGTHS = frozenset({0, 0x7FFFFFFF, 0xFFFFFFFF})
_LONGEST_BELIEVED = 0x7FFFFF00
_PLAIN_FORMATS = frozenset({1, 0xFFFE})


class OtherAudioError(ValueError):
    """It is no 16-bit mono audio at the rate; the text says what it is."""


class CutShortError(ValueError):
    """There is less than the header says."""


def samples_of(data: bytes, rate: int) -> bytes:
    """Return the whole 16-bit samples of an answer. A WAV file of unknown length lasts to its end.

    Args:
        data: The whole answer.
        rate: Samples per second that a header has to state.

    Raises:
        OtherAudioError: It is of another kind.
        CutShortError: It is not complete.
    """
    if not data.startswith(_MAGIC):
        if len(data) % BYTES_PER_SAMPLE:
            message = "half a sample at the end"
            raise CutShortError(message)
        return data
    place, size = _data_chunk(data, rate)
    audio = data[place:]
    if size not in _UNKNOWN_LENGTHS and size < _LONGEST_BELIEVED:
        if len(audio) < size:
            message = f"{len(audio)} of {size} bytes"
            raise CutShortError(message)
        audio = audio[:size]
    return audio[: len(audio) - len(audio) % BYTES_PER_SAMPLE]


def _data_chunk(data: bytes, rate: int) -> tuple[int, int]:
    """Return where the samples begin, and how many bytes they are said to have."""
    place, checked = _HEAD_BYTES, False
    while len(data) >= place + _CHUNK_HEAD_BYTES:
        name, size = struct.unpack_from("<4sI", data, place)
        place += _CHUNK_HEAD_BYTES
        if name == b"data" and checked:
            return place, size
        if name == b"fmt " and len(data) >= place + _FORMAT_BYTES:
            _check(data, place, rate)
            checked = True
        # Chunks begin at even places.
        place += size + size % 2
    message = "a header without its end"
    raise CutShortError(message)


def _check(data: bytes, place: int, rate: int) -> None:
    form, channels, found, _, _, bits = struct.unpack_from("<HHIIHH", data, place)
    if form not in _PLAIN_FORMATS or (channels, found, bits) != (1, rate, 16):
        message = f"format {form}, {channels} channels, {found} Hz, {bits} bits"
        raise OtherAudioError(message)
