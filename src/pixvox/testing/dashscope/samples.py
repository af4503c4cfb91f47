"""Checks the audio that a voice shall be cloned from, as far as the vendor's rules are documented.

Source: dashscope reference 5.1 and 5.3. Which rule comes first when several are broken is not known. [guess]
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.testing.dashscope.envelope import RefusedError
from pixvox.testing.dashscope.reach import MOST_BYTES, FetchError

if TYPE_CHECKING:
    from pixvox.testing.dashscope.vendor import Call

_TYPES = r"data:audio/(wav|mpeg|mp4);base64"
_LEAST_RATE = 24000
_LEAST_SECONDS = 3
_MOST_SECONDS = 60
# About -46 dB; where the vendor draws the line is not known. [guess]
_SILENT_PEAK = 160


@dataclass(frozen=True, slots=True)
class _Heard:
    rate: int
    channels: int
    seconds: float
    peak: int


async def check(call: Call, audio: str) -> None:
    """Check an audio that was sent as a data URI or as a URL.

    Raises:
        RefusedError: As the vendor refuses it.
    """
    data = _decoded(audio) if audio.startswith("data:") else await _fetched(call, audio)
    heard = await asyncio.to_thread(_heard, data)
    if heard is None:
        raise _refused("Audio.DecoderError", "The audio cannot be decoded.")
    if heard.rate < _LEAST_RATE:
        raise _refused("Audio.AudioRateError", f"The sample rate is {heard.rate}, at least {_LEAST_RATE} is needed.")
    if heard.seconds > _MOST_SECONDS:
        raise _refused("Audio.DurationLimitError", f"The audio is longer than {_MOST_SECONDS} seconds.")
    if heard.seconds < _LEAST_SECONDS:
        raise _refused("Audio.AudioShortError", f"The audio is shorter than {_LEAST_SECONDS} seconds.")
    if heard.peak < _SILENT_PEAK:
        raise _refused("Audio.AudioSilentError", "The audio is silent.")
    # Mono is asked for; what happens to stereo is not documented. [guess]
    if heard.channels != 1:
        raise _refused("Audio.PreprocessError", "The audio must be mono.")


def _refused(code: str, message: str) -> RefusedError:
    return RefusedError(400, code, message)


def _decoded(audio: str) -> bytes:
    head, comma, encoded = audio.partition(",")
    if not comma or not re.fullmatch(_TYPES, head):
        raise _refused("BadRequest.UnsupportedFileFormat", "The audio must be WAV, MP3 or M4A.")
    if len(encoded) >= MOST_BYTES:
        raise _refused("BadRequest.TooLarge", "The encoded audio must be smaller than 10 MB.")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise _refused("Audio.DecoderError", "The audio is no base64.") from None


async def _fetched(call: Call, url: str) -> bytes:
    try:
        return await call.vendor.reach.fetch(url, call.headers)
    except FetchError as error:
        raise _refused("BadRequest.InputDownloadFailed", str(error)) from None


def _heard(data: bytes) -> _Heard | None:
    """Return what the audio is like, or None if it is none."""
    import av  # noqa: PLC0415  # slow to import

    peak = count = 0
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("s16", "mono")
            for frame in (*container.decode(stream), None):
                for piece in resampler.resample(frame):
                    samples = array("h", bytes(piece.planes[0])[: piece.samples * 2])
                    count += len(samples)
                    peak = max(peak, max(samples, default=0), -min(samples, default=0))
            return _Heard(stream.rate, stream.channels, count / stream.rate, peak)
    except av.FFmpegError:
        return None
