"""Sound as it goes out: the formats of a whole answer, the head of a WAV whose end is not known, and 8 kHz."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile  # type: ignore[import-untyped]  # it ships none
import soxr  # type: ignore[import-untyped]  # it ships none

from pixvox_worker.speech import SAMPLE_RATE

SAMPLE_RATES = (SAMPLE_RATE, 8_000)
MIME_TYPES = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
}
STREAMED_FORMATS = ("pcm", "wav")
# libsndfile's names of a container and of what is in it.
_WRITTEN = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
}
_UNKNOWN_SIZE = 0xFFFFFFFF


def encode(pcm: bytes, format: str, rate: int) -> bytes:
    """Whole speech, given as 16 bit samples at `SAMPLE_RATE`, at `rate` and in one of `MIME_TYPES`."""
    converter = Converter(rate)
    samples = converter.piece(pcm) + converter.rest()
    if format == "pcm":
        return samples
    container, subtype = _WRITTEN[format]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.frombuffer(samples, "<i2"), rate, format=container, subtype=subtype)
    return buffer.getvalue()


def wav_head(rate: int) -> bytes:
    """The head of a WAV of unknown length: both sizes are the largest there is, which players take for a stream."""
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    parts = (b"RIFF", struct.pack("<I", _UNKNOWN_SIZE), b"WAVEfmt ", struct.pack("<I", len(form)), form)
    return b"".join((*parts, b"data", struct.pack("<I", _UNKNOWN_SIZE)))


class Converter:
    """From `SAMPLE_RATE` to another rate, piece by piece and without a seam."""

    def __init__(self, rate: int) -> None:
        self._stream = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(SAMPLE_RATE, rate, 1, dtype="float32")

    def piece(self, pcm: bytes) -> bytes:
        """What is ready after `pcm`; the resampler keeps a little back."""
        return pcm if self._stream is None else self._resampled(pcm, last=False)

    def rest(self) -> bytes:
        """What was kept back."""
        return b"" if self._stream is None else self._resampled(b"", last=True)

    def _resampled(self, pcm: bytes, *, last: bool) -> bytes:
        assert self._stream is not None  # noqa: S101 - both callers look
        # In floating point, as the resampler adds noise to whole numbers.
        made = self._stream.resample_chunk(np.frombuffer(pcm, "<i2").astype(np.float32), last=last)
        return bytes(np.clip(np.rint(made), -32_768, 32_767).astype("<i2").tobytes())
