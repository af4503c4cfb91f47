"""Audio from 16-bit mono PCM to every encoding of the contract, piece by piece or as a whole file."""

from __future__ import annotations

import asyncio
import importlib
import io
from typing import TYPE_CHECKING, cast

from pixvox.errors import InvalidMediaError, UnsupportedError, Violation
from pixvox.media.encodings import BYTES_PER_SAMPLE, body_of, frame_of, mp3, resampler_to, samples_of
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from av import AudioStream

    from pixvox.v1.media_pb2 import AudioEncoding

_ORDINARY_RATES = (8000, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# What any PCM can be made into, in samples per second. Opus has no other rates. A player gets 48000 from it in any case
# (RFC 7845 section 5.1); a lower one is noted in the header and means that there are no higher frequencies.
SAMPLE_RATES_HERTZ: dict[AudioEncoding.ValueType, tuple[int, ...]] = {
    media_pb2.AUDIO_ENCODING_PCM_S16LE: _ORDINARY_RATES,
    media_pb2.AUDIO_ENCODING_WAV: _ORDINARY_RATES,
    media_pb2.AUDIO_ENCODING_MP3: _ORDINARY_RATES,
    media_pb2.AUDIO_ENCODING_OGG_OPUS: (8000, 12000, 16000, 24000, 48000),
    media_pb2.AUDIO_ENCODING_FLAC: _ORDINARY_RATES,
    media_pb2.AUDIO_ENCODING_MULAW: _ORDINARY_RATES,
}

_MIME_TYPES: dict[AudioEncoding.ValueType, str] = {
    media_pb2.AUDIO_ENCODING_PCM_S16LE: "audio/pcm",
    media_pb2.AUDIO_ENCODING_WAV: "audio/wav",
    media_pb2.AUDIO_ENCODING_MP3: "audio/mpeg",
    media_pb2.AUDIO_ENCODING_OGG_OPUS: "audio/ogg; codecs=opus",
    media_pb2.AUDIO_ENCODING_FLAC: "audio/flac",
    media_pb2.AUDIO_ENCODING_MULAW: "audio/PCMU",
}


class StreamEncoder:
    """Encodes audio as it comes.

    Every piece that is given out is whole samples (PCM, WAV, mu-law), frames (MP3, FLAC) or pages (Ogg Opus), and the
    pieces in order make up the file. A header comes with the first piece. What is held back is less than a frame
    (20 ms, MP3 24 to 72 ms) and what the codec (Opus 6.5 ms, MP3 about four frames) and the resampler (2 ms) look
    ahead.
    """

    def __init__(self, source_rate: int, format: media_pb2.AudioFormat) -> None:
        """Prepare the encoding; no codec is loaded yet, see `preload`.

        Args:
            source_rate: Samples per second of what `encode` will be given.
            format: To encode to. An unspecified encoding is PCM, a rate of 0 the source's.

        Raises:
            UnsupportedError: There is no such encoding, or it cannot have the rate.
        """
        self._body = body_of(*_checked(source_rate, format))
        self._half = b""
        self._headed = False
        self._offset = 0

    @property
    def samples(self) -> int:
        """Samples at the format's rate in all pieces so far, as a decoder gives them.

        In MP3 the silence that the encoder adds is among them: nothing in a stream tells a decoder to cut it off.
        """
        return self._body.samples

    @property
    def offset_samples(self) -> int:
        """Place in the stream, at the format's rate, of the first sample of the piece that was given out last."""
        return self._offset

    def encode(self, pcm: bytes) -> bytes:
        """Return what is ready after `pcm`, maybe nothing.

        Args:
            pcm: 16-bit signed little-endian mono samples, which may break off within a sample.
        """
        whole = self._whole_samples(pcm)
        if not whole:
            return b""
        self._offset = self._body.samples
        return self._headed_once(self._body.encode(whole))

    def finish(self) -> bytes:
        """Return the rest, without half a sample if the input ended in one. Nothing may be encoded afterwards."""
        self._offset = self._body.samples
        return self._headed_once(self._body.finish())

    def _whole_samples(self, pcm: bytes) -> bytes:
        if self._half:
            pcm = self._half + pcm
        if len(pcm) % BYTES_PER_SAMPLE == 0:
            self._half = b""
            return pcm
        self._half = pcm[-1:]
        return pcm[:-1]

    def _headed_once(self, data: bytes) -> bytes:
        if self._headed:
            return data
        self._headed = True
        header = self._body.header()
        return header + data if header else data


def encoded_whole(pcm: bytes, source_rate: int, format: media_pb2.AudioFormat) -> bytes:
    """Return a finished file: lengths stand in its header, and a player can seek in it.

    A minute of audio takes up to half a second of CPU, so call it in a thread.

    Args:
        pcm: 16-bit signed little-endian mono samples.
        source_rate: Samples per second of `pcm`.
        format: To encode to. An unspecified encoding is PCM, a rate of 0 the source's.

    Raises:
        UnsupportedError: There is no such encoding, or it cannot have the rate.
    """
    encoding, source_rate, rate = _checked(source_rate, format)
    pcm = pcm[: len(pcm) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE]
    if encoding == media_pb2.AUDIO_ENCODING_MP3:
        return _whole_mp3(pcm, source_rate, rate)
    body = body_of(encoding, source_rate, rate)
    data = (body.encode(pcm) if pcm else b"") + body.finish()
    return body.header(len(data)) + data


def mime_type_of(format: media_pb2.AudioFormat) -> str:
    """Return the MIME type of audio of that format; an unspecified encoding is PCM."""
    return _MIME_TYPES[format.encoding or media_pb2.AUDIO_ENCODING_PCM_S16LE]


def decoded(data: bytes) -> tuple[bytes, int]:
    """Return the 16-bit signed little-endian mono samples, and their rate, of a file that FFmpeg reads.

    Raises:
        InvalidMediaError: It is no audio file, or is damaged.
    """
    import av  # noqa: PLC0415  # slow to import

    pieces: list[bytes] = []
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                raise InvalidMediaError("The file has no audio in it.")
            rate = container.streams.audio[0].rate
            resampler = resampler_to(rate)
            for frame in (*container.decode(audio=0), None):
                pieces.extend(map(samples_of, resampler.resample(frame)))
    except av.FFmpegError as error:
        raise InvalidMediaError("The file is no audio that can be decoded.") from error
    return b"".join(pieces), rate


async def preload() -> None:
    """Import PyAV in a thread, so that the first encoding does not hold up the event loop."""
    await asyncio.to_thread(importlib.import_module, "av")


def _checked(source_rate: int, wanted: media_pb2.AudioFormat) -> tuple[AudioEncoding.ValueType, int, int]:
    """Return encoding, source rate and target rate."""
    encoding = wanted.encoding or media_pb2.AUDIO_ENCODING_PCM_S16LE
    rate = wanted.sample_rate_hertz or source_rate
    rates = SAMPLE_RATES_HERTZ.get(encoding)
    if rates is None:
        names = ", ".join(map(media_pb2.AudioEncoding.Name, SAMPLE_RATES_HERTZ))
        raise UnsupportedError("There is no such audio encoding.", Violation("format.encoding", f"allowed: {names}"))
    # Samples that are only passed on may have any rate.
    if rate not in rates and (encoding, rate) != (media_pb2.AUDIO_ENCODING_PCM_S16LE, source_rate):
        raise UnsupportedError(
            f"{media_pb2.AudioEncoding.Name(encoding)} cannot have {rate} samples per second.",
            Violation("format.sample_rate_hertz", f"is {rate}; allowed: {', '.join(map(str, rates))}"),
        )
    return encoding, source_rate, rate


def _whole_mp3(pcm: bytes, source_rate: int, rate: int) -> bytes:
    """Return MP3 as FFmpeg's muxer writes it: its Xing header tells the length and the silence to cut off."""
    import av  # noqa: PLC0415  # slow to import

    codec = mp3(rate)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = cast("AudioStream", container.add_stream(codec.name, rate=rate, options=codec.options, layout="mono"))
        stream.bit_rate = codec.bit_rate
        if pcm:
            container.mux(stream.encode(frame_of(pcm, source_rate)))
        container.mux(stream.encode(None))
    return file.getvalue()
