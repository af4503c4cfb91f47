"""Puts PCM into the containers that the vendor offers."""

from __future__ import annotations

from pixvox.media import audio
from pixvox.testing.dashscope.sound import wav_of
from pixvox.v1 import media_pb2

FORMATS = ("pcm", "wav", "mp3", "opus")

# In which container the vendor sends Opus is not documented; Ogg is the usual one. [guess]
_ENCODINGS = {"mp3": media_pb2.AUDIO_ENCODING_MP3, "opus": media_pb2.AUDIO_ENCODING_OGG_OPUS}


def contained(pcm: bytes, rate: int, format: str) -> bytes:
    """Return a finished file; takes CPU time for mp3 and opus, so call it in a thread.

    Args:
        pcm: 16-bit mono samples.
        rate: Samples per second.
        format: One of `FORMATS`.
    """
    if format == "pcm":
        return pcm
    if format == "wav":
        return wav_of(pcm, rate)
    wanted = media_pb2.AudioFormat(encoding=_ENCODINGS[format], sample_rate_hertz=rate)
    return audio.encoded_whole(pcm, rate, wanted)
