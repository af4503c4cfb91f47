"""Recordings that a voice shall be cloned from: looked at as a whole, and converted where that helps."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.errors import InvalidAudioError, MediaTooLargeError, Violation
from pixvox.media.audio import SAMPLE_RATES_HERTZ, encoded_whole
from pixvox.media.encodings import BYTES_PER_SAMPLE, resampler_to, samples_of
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import AudioFrame
    from av.container import InputContainer

WAV = "audio/wav"
MP3 = "audio/mpeg"
M4A = "audio/mp4"

# A two-hundredth of the full scale, -46 dB: quieter than any speech, louder than the noise of a microphone that is off.
SILENT_PEAK = 160

# Container and codec as FFmpeg calls them.
_KEPT = {
    ("wav", "pcm_s16le"): WAV,
    ("mp3", "mp3float"): MP3,
    ("mp3", "mp3"): MP3,
    ("mov,mp4,m4a,3gp,3g2,mj2", "aac"): M4A,
}
_HIGHEST_RATE_HERTZ = 48_000
_BEST_RATE_HERTZ = 24_000


@dataclass(frozen=True, slots=True)
class RecordingRules:
    """Which recordings can be cloned; 0 is no limit.

    Attributes:
        min_seconds: The shortest.
        max_seconds: The longest.
        min_rate_hertz: The least sample rate. A recording of a lower one has lost what a higher one would show.
        max_bytes: The largest file that is handed on.
        max_input_bytes: The largest file that is looked at.
    """

    min_seconds: float = 0.0
    max_seconds: float = 0.0
    min_rate_hertz: int = 0
    max_bytes: int = 0
    max_input_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CheckedRecording:
    """A recording within the rules.

    Attributes:
        data: The file.
        mime_type: ``audio/wav``, ``audio/mpeg`` or ``audio/mp4``.
        seconds: Its length.
        converted: What was done to it, for the caller to read; empty if it is the caller's own file.
    """

    data: bytes
    mime_type: str
    seconds: float
    converted: str = ""


def checked_recording(data: bytes, *, field: str, rules: RecordingRules) -> CheckedRecording:
    """Decode a recording in any format that FFmpeg reads, and return it as one that can be cloned.

    A mono WAV of 16 bits, MP3 or M4A that is small enough stays as it is; all else becomes a mono WAV of 16 bits. Takes up
    to a second of CPU, so call it in a thread.

    Args:
        data: The file.
        field: Where in the request it stands, for the error.
        rules: What it has to keep to.

    Raises:
        InvalidAudioError: It is no audio, damaged, silent, too short, too long, or of too low a sample rate.
        MediaTooLargeError: It has more than `rules.max_input_bytes`.
    """
    if rules.max_input_bytes and len(data) > rules.max_input_bytes:
        raise MediaTooLargeError(
            "The recording has too many bytes.",
            Violation(field, f"has {len(data)} bytes; allowed: {rules.max_input_bytes}"),
        )
    heard = _heard(data, field, rules.max_seconds)
    if violations := list(_violations(heard, field, rules)):
        sentence = "; ".join(violation.description for violation in violations)
        raise InvalidAudioError(f"The recording cannot be cloned: it {sentence}.", *violations)
    if heard.mime_type and heard.channels == 1 and not (rules.max_bytes and len(data) > rules.max_bytes):
        return CheckedRecording(data, heard.mime_type, heard.seconds)
    return _converted(heard, len(data), field, rules)


@dataclass(slots=True)
class _Heard:
    """What is in a file.

    Attributes:
        pcm: 16-bit mono samples; cut off when it is known to be too long.
        rate: Of the samples.
        channels: Of the file.
        format: Container and codec, for a person.
        mime_type: Of a file that can stay as it is but for its channels; else empty.
        loud: Whether there is anything but silence.
        too_long: Whether there is more than was asked for.
    """

    pcm: bytearray
    rate: int
    channels: int
    format: str
    mime_type: str
    loud: bool = False
    too_long: bool = False

    @property
    def seconds(self) -> float:
        return len(self.pcm) / BYTES_PER_SAMPLE / self.rate


def _heard(data: bytes, field: str, max_seconds: float) -> _Heard:
    import av  # noqa: PLC0415  # slow to import

    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                raise InvalidAudioError("The file has no audio in it.", Violation(field, "has no audio"))
            return _decoded(container, max_seconds)
    # PyAV raises ValueError where a stream changes in the middle.
    except (av.FFmpegError, ValueError) as error:
        raise InvalidAudioError(
            "The recording is no audio that can be decoded, or is damaged.", Violation(field, "cannot be decoded")
        ) from error


def _decoded(container: InputContainer, max_seconds: float) -> _Heard:
    stream = container.streams.audio[0]
    codec, name = stream.codec_context.name, container.format.name
    mime_type = _KEPT.get((name, codec), "") if len(container.streams) == 1 else ""
    heard: _Heard | None = None
    frames = container.decode(stream)
    first = next(frames, None)
    if first is None or not first.sample_rate:
        raise ValueError("there is no sound in it")
    heard = _Heard(bytearray(), first.sample_rate, first.layout.nb_channels, f"{name} with {codec}", mime_type)
    resampler = resampler_to(heard.rate)
    most = int(max_seconds * heard.rate) * BYTES_PER_SAMPLE if max_seconds else 0

    def hear(frame: AudioFrame | None) -> None:
        for piece in map(samples_of, resampler.resample(frame)):
            heard.pcm.extend(piece)
            heard.loud = heard.loud or _is_loud(piece)

    hear(first)
    for frame in frames:
        hear(frame)
        if most and len(heard.pcm) > most:
            heard.too_long = True
            return heard
    hear(None)
    heard.too_long = bool(most) and len(heard.pcm) > most
    return heard


def _is_loud(piece: bytes) -> bool:
    samples = memoryview(piece).cast("h")
    return max(samples, default=0) >= SILENT_PEAK or min(samples, default=0) <= -SILENT_PEAK


def _violations(heard: _Heard, field: str, rules: RecordingRules) -> Iterator[Violation]:
    most = f"{rules.max_seconds:g}" if rules.max_seconds else "any number of"
    allowed = f"allowed: {rules.min_seconds:g}..{most} seconds"
    if heard.too_long:
        yield Violation(field, f"is longer than {rules.max_seconds:g} seconds; {allowed}")
    elif heard.seconds < rules.min_seconds:
        yield Violation(field, f"has {heard.seconds:.2f} seconds; {allowed}")
    if heard.rate < rules.min_rate_hertz:
        yield Violation(
            field, f"has {heard.rate} samples per second; allowed: {rules.min_rate_hertz} or more, as it was recorded"
        )
    if not heard.loud:
        yield Violation(field, "is silent")


def _converted(heard: _Heard, size: int, field: str, rules: RecordingRules) -> CheckedRecording:
    reasons = [] if heard.mime_type else [f"is {heard.format}"]
    if heard.channels != 1:
        reasons.append(f"has {heard.channels} channels")
    if rules.max_bytes and size > rules.max_bytes:
        reasons.append(f"has {size} bytes")
    for rate in _rates(heard.rate, rules.min_rate_hertz):
        audio_format = media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_WAV, sample_rate_hertz=rate)
        wav = encoded_whole(bytes(heard.pcm), heard.rate, audio_format)
        if not rules.max_bytes or len(wav) <= rules.max_bytes:
            done = f"{' and '.join(reasons)}; it was converted to mono WAV of 16 bits and {rate} samples per second"
            return CheckedRecording(wav, WAV, heard.seconds, done)
    raise InvalidAudioError(
        "The recording cannot be made small enough; send a shorter one.",
        Violation(field, f"has {heard.seconds:.2f} seconds and {len(wav)} bytes as WAV; allowed: {rules.max_bytes}"),
    )


def _rates(own: int, least: int) -> list[int]:
    """Return the sample rates to try, the best first."""
    rates = SAMPLE_RATES_HERTZ[media_pb2.AUDIO_ENCODING_WAV]
    best = own if own in rates else _HIGHEST_RATE_HERTZ
    return [best, *(rate for rate in sorted(rates, reverse=True) if max(least, _BEST_RATE_HERTZ) <= rate < best)]
