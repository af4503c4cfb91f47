"""Puts the true lengths into the header of a WAV that was streamed before its length was known.

Source: the RIFF and WAVE chapters of Microsoft's Multimedia Programming Interface and Data Specifications 1.0.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO


def set_lengths(file: BinaryIO) -> None:
    """Correct the RIFF and the `data` length to the end of the file; any file that is no WAV stays as it is.

    Args:
        file: Seekable, open for reading and writing; is left at its end.
    """
    end = file.seek(0, os.SEEK_END)
    offset = _data_offset(file, end)
    if offset is not None:
        # Beyond 4 GiB the format has no true length; players take the largest as "to the end".
        _put(file, 4, min(end - 8, 0xFFFFFFFF))
        _put(file, offset - 4, min(end - offset, 0xFFFFFFFF))
    file.seek(0, os.SEEK_END)


def _data_offset(file: BinaryIO, end: int) -> int | None:
    file.seek(0)
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        return None
    offset = 12
    while offset + 8 <= end:
        file.seek(offset)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"data":
            return offset + 8
        offset += 8 + length + length % 2
    return None


def _put(file: BinaryIO, offset: int, length: int) -> None:
    file.seek(offset)
    file.write(struct.pack("<I", length))
