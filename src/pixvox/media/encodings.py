"""From 16-bit mono PCM to the bytes of each encoding, piece by piece; what `pixvox.media.audio` is built on.

Containers are written here and not by FFmpeg's muxers, so that a piece is whole samples, frames or pages, and nothing
waits but what the codec itself looks ahead. PyAV takes a tenth of a second to import, so it is imported when first
needed; bare samples at an unchanged rate never need it.
Sources: RFC 9639 (FLAC), https://pyav.basswood-io.com/docs/stable/api/audio.html.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol, cast

from pixvox.media import mulaw
from pixvox.media.ogg import GRANULE_RATE_HERTZ, OggOpus
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from av import AudioCodecContext, AudioFrame, AudioResampler, AudioStream, Packet

    from pixvox.v1.media_pb2 import AudioEncoding

BYTES_PER_SAMPLE = 2

_UNKNOWN_LENGTH = 0xFFFFFFFF
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Body(Protocol):
    """The making of a stream but for its header. Nothing is loaded before the first call."""

    @property
    def samples(self) -> int:
        """Samples at the target rate of everything given out, as a decoder gives them."""
        ...

    def encode(self, pcm: bytes) -> bytes:
        """Return what is ready after some more whole samples."""
        ...

    def finish(self) -> bytes:
        """Return the rest."""
        ...

    def header(self, length: int | None = None) -> bytes:
        """Return what stands before the body: of `length` bytes and finished, or to be continued."""
        ...


def body_of(encoding: AudioEncoding.ValueType, source_rate: int, rate: int) -> Body:
    """Return what makes a body of a known encoding at a rate that it can have."""
    if encoding == media_pb2.AUDIO_ENCODING_MP3:
        return _Frames(mp3(rate), source_rate, rate)
    if encoding == media_pb2.AUDIO_ENCODING_OGG_OPUS:
        return _Opus(source_rate, rate)
    if encoding == media_pb2.AUDIO_ENCODING_FLAC:
        return _Flac(source_rate, rate)
    return _Samples(encoding, source_rate, rate)


@dataclass(frozen=True, slots=True)
class Codec:
    """An encoder of FFmpeg and what it is told; `bit_rate` in bits per second, 0 where there is no choice."""

    name: str
    sample_format: str
    options: dict[str, str]
    bit_rate: int = 0


def mp3(rate: int) -> Codec:
    """Return the MP3 encoder for a sample rate."""
    # A little under three bits a sample is clear for speech; MPEG-2.5, below 16 kHz, has no more than 64 kbit/s.
    return Codec("libmp3lame", "s16p", {"compression_level": "5"}, min(max(24, rate // 3000 * 8), 96) * 1000)


def frame_of(pcm: bytes, rate: int) -> AudioFrame:
    """Return a frame of 16-bit mono samples."""
    import av  # noqa: PLC0415  # slow to import

    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // BYTES_PER_SAMPLE)
    frame.planes[0].update(pcm)
    frame.sample_rate = rate
    return frame


def samples_of(frame: AudioFrame) -> bytes:
    """Return the 16-bit mono samples of a frame."""
    # A plane is longer than its samples, for alignment.
    return bytes(memoryview(frame.planes[0])[: frame.samples * BYTES_PER_SAMPLE])


def resampler_to(rate: int) -> AudioResampler:
    """Return what makes frames of 16-bit mono samples at `rate`."""
    import av  # noqa: PLC0415  # slow to import

    return av.AudioResampler(format="s16", layout="mono", rate=rate)


class _Samples:
    """PCM, WAV and mu-law: a fixed number of bytes for each sample."""

    def __init__(self, encoding: AudioEncoding.ValueType, source_rate: int, rate: int) -> None:
        self._encoding = encoding
        self._source_rate = source_rate
        self._rate = rate
        self._resampler: AudioResampler | None = None
        self.samples = 0

    def encode(self, pcm: bytes) -> bytes:
        if self._rate != self._source_rate:
            self._resampler = self._resampler or resampler_to(self._rate)
            pcm = b"".join(map(samples_of, self._resampler.resample(frame_of(pcm, self._source_rate))))
        return self._given(pcm)

    def finish(self) -> bytes:
        return self._given(b"".join(map(samples_of, self._resampler.resample(None)))) if self._resampler else b""

    def header(self, length: int | None = None) -> bytes:
        return _wav_header(self._rate, length) if self._encoding == media_pb2.AUDIO_ENCODING_WAV else b""

    def _given(self, pcm: bytes) -> bytes:
        self.samples += len(pcm) // BYTES_PER_SAMPLE
        return mulaw.encoded(pcm) if self._encoding == media_pb2.AUDIO_ENCODING_MULAW else pcm


class _Frames:
    """MP3: frames one behind the other. The encoder's own delay is in them and counts, since nothing tells of it."""

    def __init__(self, codec: Codec, source_rate: int, rate: int) -> None:
        self._codec = codec
        self._source_rate = source_rate
        self._rate = rate
        self._context: AudioCodecContext | None = None
        self.samples = 0

    def encode(self, pcm: bytes) -> bytes:
        return self._given(self._opened().encode(frame_of(pcm, self._source_rate)))

    def finish(self) -> bytes:
        return self._given(self._opened().encode(None))

    def header(self, length: int | None = None) -> bytes:
        del length
        return b""

    def _given(self, packets: Iterable[Packet[AudioStream]]) -> bytes:
        frames = [bytes(packet) for packet in packets]
        self.samples += len(frames) * self._opened().frame_size
        return b"".join(frames)

    def _opened(self) -> AudioCodecContext:
        self._context = self._context or _codec_context(self._codec, self._rate)
        return self._context


class _Flac(_Frames):
    """FLAC: frames behind a STREAMINFO, which the codec completes when it has seen everything."""

    def __init__(self, source_rate: int, rate: int) -> None:
        options = {"compression_level": "5", "frame_size": str(rate // 50)}
        super().__init__(Codec("flac", "s16", options), source_rate, rate)

    def header(self, length: int | None = None) -> bytes:
        del length
        info = self._opened().extradata or b""
        # The only block of metadata (RFC 9639 section 8): its "last" bit, type 0, and length.
        return b"fLaC" + b"\x80" + len(info).to_bytes(3, "big") + info

    def _given(self, packets: Iterable[Packet[AudioStream]]) -> bytes:
        # The last packet is empty and only brings the completed STREAMINFO.
        frames = [packet for packet in packets if packet.size]
        self.samples += sum(packet.duration or 0 for packet in frames)
        return b"".join(map(bytes, frames))


class _Opus(_Frames):
    """Ogg Opus: the packets of each call in a page of their own, with the delay and the padding marked for cutting."""

    def __init__(self, source_rate: int, rate: int) -> None:
        # Complexity 3 takes a fifth of the time of the default 10, and speech is hardly larger.
        options = {"compression_level": "3", "frame_duration": "20"}
        super().__init__(Codec("libopus", "s16", options, 24000 if rate <= 16000 else 40000), source_rate, rate)
        self._ogg: OggOpus | None = None

    def encode(self, pcm: bytes) -> bytes:
        return self._paged(self._opened().encode(frame_of(pcm, self._source_rate)), last=False)

    def finish(self) -> bytes:
        return self._paged(self._opened().encode(None), last=True)

    def header(self, length: int | None = None) -> bytes:
        del length
        return self._pages().header()

    def _paged(self, packets: Iterable[Packet[AudioStream]], *, last: bool) -> bytes:
        ticks = GRANULE_RATE_HERTZ // self._rate
        pages = self._pages()
        data = pages.pages([(bytes(packet), (packet.duration or 0) * ticks) for packet in packets], last=last)
        self.samples = pages.samples // ticks
        return data

    def _pages(self) -> OggOpus:
        # libopus puts the identification header, with its pre-skip, into the extradata.
        self._ogg = self._ogg or OggOpus(self._opened().extradata or b"")
        return self._ogg


def _wav_header(rate: int, length: int | None) -> bytes:
    """Return the 44 bytes before the samples; an unknown length is the greatest there is, as FFmpeg writes it."""
    data = _UNKNOWN_LENGTH if length is None else length
    rest = _UNKNOWN_LENGTH if length is None else length + _WAV_HEADER.size - 8
    bytes_a_second = rate * BYTES_PER_SAMPLE
    return _WAV_HEADER.pack(
        *(b"RIFF", rest, b"WAVE"),
        *(b"fmt ", 16, 1, 1, rate, bytes_a_second, BYTES_PER_SAMPLE, 16),
        *(b"data", data),
    )


def _codec_context(codec: Codec, rate: int) -> AudioCodecContext:
    import av  # noqa: PLC0415  # slow to import

    context = cast("AudioCodecContext", av.CodecContext.create(codec.name, "w"))
    context.sample_rate = rate
    context.format = codec.sample_format
    context.layout = "mono"
    context.time_base = Fraction(1, rate)
    context.options = codec.options
    if codec.bit_rate:
        context.bit_rate = codec.bit_rate
    context.open()
    return context
