"""ITU-T G.711 mu-law, exactly as the standard's decision values have it.

FFmpeg's encoder is one step off where segments meet, so the codes are looked up here.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache

_BIAS = 33
_LARGEST = 8158


def encoded(pcm: bytes) -> bytes:
    """Return one byte for every sample of 16-bit signed little-endian PCM."""
    samples = array("H", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return bytes(map(_table().__getitem__, samples))


@cache
def _table() -> bytes:
    """Return the code of every sample, at the place of the sample read as unsigned."""
    # The standard knows 14 bits, so four neighbours have one code; -1 to -4 become -1, never 0.
    positive = b"".join(bytes([_code(magnitude)]) * 4 for magnitude in range(8192))
    negative = b"".join(bytes([_code(magnitude) & 0x7F]) * 4 for magnitude in range(8192, 0, -1))
    return positive + negative


def _code(magnitude: int) -> int:
    """Return the code of a positive 14-bit sample: sign, segment and step, sent with all bits inverted but the sign."""
    biased = min(magnitude, _LARGEST) + _BIAS
    segment = biased.bit_length() - 6
    step = (biased >> (segment + 1)) & 0x0F
    return 0xFF - (segment << 4 | step)
