"""Recordings of a voice as they come in: bounded before they are decoded, 24 kHz and one channel after."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile  # type: ignore[import-untyped]  # it ships none
import soxr  # type: ignore[import-untyped]  # it ships none

from pixvox_worker.failures import BadRequest, NotARecording, TooLarge
from pixvox_worker.speech import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF")
SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
_RATES = range(8_000, 192_001)
_MOST_CHANNELS = 8
# Below a ten-thousandth of full scale is the noise of a microphone that is off.
_SILENCE = 1e-4
_BLANKS = b" \t\r\n\v\f"
_MIME_TYPES = {"FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg", "AIFF": "audio/aiff"}


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Somebody's voice."""

    samples: np.ndarray[Any, np.dtype[np.float32]]
    """One channel at `SAMPLE_RATE`, from -1 to 1."""
    digest: str
    """Of the bytes that came in."""
    mime_type: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE


def decode(data: bytes, *, max_bytes: int, param: str = "ref_audio") -> Recording:
    """A recording of 1 to 30 seconds; nothing behind its thirtieth second is decoded.

    Raises:
        TooLarge: it has more than `max_bytes`; nothing was decoded.
        NotARecording: the bytes are no WAV, FLAC, Ogg, MP3 or AIFF, or are damaged.
        BadRequest: it is too short, too long, silent or of a rate that nobody records with.
    """
    if len(data) > max_bytes:
        message = f"A recording has at most {max_bytes} bytes."
        raise TooLarge(message, param=param)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as opened:
            _check(opened, param)
            rate: int = opened.samplerate
            samples = np.concatenate([np.zeros(0, np.float32), *_blocks(opened)])
            kind: str = opened.format
    except (soundfile.SoundFileError, OSError, ValueError, TypeError):
        message = "The recording is no WAV, FLAC, Ogg, MP3 or AIFF, or it is damaged."
        raise NotARecording(message, param=param) from None
    _check_sound(samples, len(samples) / rate, param)
    resampled = samples if rate == SAMPLE_RATE else soxr.resample(samples, rate, SAMPLE_RATE)
    clean = np.ascontiguousarray(np.clip(resampled, -1.0, 1.0), dtype=np.float32)
    return Recording(clean, hashlib.sha256(data).hexdigest(), _MIME_TYPES.get(kind, "audio/wav"))


def from_text(text: str, *, param: str = "ref_audio") -> bytes:
    """The bytes of a recording given as base64, plain or as a data: URL. Other URLs are never fetched.

    Raises:
        BadRequest: it is neither.
    """
    if text.startswith(("http://", "https://", "file:", "ftp:", "s3:")):
        message = "The worker fetches nothing: send the recording itself."
        raise BadRequest(message, param=param)
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode(encoded.encode("ascii").translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError):
        message = "The recording is not base64."
        raise BadRequest(message, param=param) from None
    if not data:
        message = "The recording is empty."
        raise BadRequest(message, param=param)
    return data


def _check(opened: Any, param: str) -> None:  # noqa: ANN401 - a file of soundfile, which has no types
    if opened.format not in READ_FORMATS:
        message = "A recording is WAV, FLAC, Ogg, MP3 or AIFF."
        raise NotARecording(message, param=param)
    if opened.samplerate not in _RATES or not 1 <= opened.channels <= _MOST_CHANNELS:
        message = f"A recording has {_RATES[0]} to {_RATES[-1]} samples a second and at most {_MOST_CHANNELS} channels."
        raise BadRequest(message, param=param)


def _blocks(opened: Any) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:  # noqa: ANN401 - as above
    """Mixed down second by second until it is too long: a file may say little and hold hours, or the other way round."""
    for _ in range(int(LONGEST_SECONDS) + 2):
        block = opened.read(opened.samplerate, dtype="float32", always_2d=True)
        if not len(block):
            return
        yield block.mean(axis=1, dtype=np.float32)


def _check_sound(samples: np.ndarray[Any, np.dtype[np.float32]], seconds: float, param: str) -> None:
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        message = f"A recording has {SHORTEST_SECONDS:.0f} to {LONGEST_SECONDS:.0f} seconds."
        raise BadRequest(message, param=param)
    if not np.isfinite(samples).all():
        message = "The recording is damaged: it has samples that are no numbers."
        raise NotARecording(message, param=param)
    if float(np.abs(samples).max()) < _SILENCE:
        message = "The recording is silent."
        raise BadRequest(message, param=param)
