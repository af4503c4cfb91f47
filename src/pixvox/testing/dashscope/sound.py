"""The speech of the emulator: a deterministic voice that a test can compute again, sample by sample.

Each character has its own sound that depends on nothing beside it, so the sound of a text is the sound of its parts put
together, however a stream has cut the text up.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import sys
import wave
from array import array

SAMPLE_RATE = 24000
BYTES_PER_SAMPLE = 2

_LETTER_SECONDS = 0.06
_IDEOGRAPH_SECONDS = 0.18
_HARMONICS = 5
_LOUDEST = 16000
# Of a cycle that is looked up instead of computed for each sample.
_STEPS = 128


def expected_pcm(
    text: str,
    voice: str,
    rate: int = SAMPLE_RATE,
    *,
    speech_rate: float = 1.0,
    volume: int = 50,
    pitch_rate: float = 1.0,
) -> bytes:
    """Return what the emulator speaks: 16-bit signed little-endian mono.

    Letters and digits sound, all else is silence; equal arguments give equal bytes.

    Args:
        text: Any text, maybe empty.
        voice: Its name decides the pitch.
        rate: Samples per second.
        speech_rate: 2.0 takes half the time.
        volume: 0 to 100; 100 is twice as loud as 50.
        pitch_rate: 2.0 is an octave higher.
    """
    pitch = _pitch(voice) * pitch_rate
    return b"".join(_character(character, pitch, rate, speech_rate, volume) for character in text)


def billed_characters(text: str) -> int:
    """Return how many characters the vendor bills: an ideograph counts 2, all else 1.

    Which scripts beside Han count 2 is not known. [guess]
    """
    return sum(2 if _is_ideograph(character) else 1 for character in text)


def wav_of(pcm: bytes, rate: int = SAMPLE_RATE) -> bytes:
    """Return a WAV file of 16-bit mono samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(BYTES_PER_SAMPLE)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


def _pitch(voice: str) -> float:
    """Return a pitch in hertz, 90 to 249."""
    return 90.0 + int.from_bytes(hashlib.sha256(voice.encode()).digest()[:4], "big") % 160


@functools.lru_cache(maxsize=4096)
def _character(character: str, pitch: float, rate: int, speech_rate: float, volume: int) -> bytes:
    seconds = _IDEOGRAPH_SECONDS if _is_ideograph(character) else _LETTER_SECONDS
    count = round(rate * seconds / speech_rate)
    if not character.isalnum():
        return bytes(count * BYTES_PER_SAMPLE)
    cycle = _cycle(_weights(character))
    peak = min(32767.0, _LOUDEST * volume / 50)
    samples = array("h", (_sample(index, count, pitch / rate, cycle, peak) for index in range(count)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _weights(character: str) -> tuple[float, ...]:
    """Return how strong each harmonic is; together they are 1."""
    digest = hashlib.sha256(character.encode()).digest()
    raw = [(1 + digest[index]) / (1 + index) for index in range(_HARMONICS)]
    return tuple(weight / sum(raw) for weight in raw)


def _cycle(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Return one cycle of a sound, between -1 and 1."""
    return tuple(
        sum(weight * math.sin(2 * math.pi * step * (harmonic + 1) / _STEPS) for harmonic, weight in enumerate(weights))
        for step in range(_STEPS)
    )


def _sample(index: int, count: int, cycles: float, cycle: tuple[float, ...], peak: float) -> int:
    """Return one sample; the sound of a character swells from silence and falls back to it."""
    return round(peak * cycle[int(index * cycles * _STEPS) % _STEPS] * math.sin(math.pi * index / count))


def _is_ideograph(character: str) -> bool:
    code = ord(character)
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x323AF or 0xF900 <= code <= 0xFAFF
    )
