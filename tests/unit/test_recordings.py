"""Recordings are looked at as a whole before they are sent, and converted where that helps."""

from __future__ import annotations

import io
import math
import struct
import wave

import av
import numpy as np
import pytest

from pixvox.errors import InvalidAudioError, MediaTooLargeError
from pixvox.media.audio import decoded, encoded_whole
from pixvox.media.recordings import RecordingRules, checked_recording
from pixvox.v1 import media_pb2

RULES = RecordingRules(
    min_seconds=3.0, max_seconds=60.0, min_rate_hertz=24_000, max_bytes=7_000_000, max_input_bytes=20_000_000
)


def tone(seconds: float, rate: int = 24_000, peak: int = 8000) -> bytes:
    count = int(seconds * rate)
    return struct.pack(
        f"<{count}h", *(int(peak * math.sin(index * 440 * 2 * math.pi / rate)) for index in range(count))
    )


def wav(seconds: float = 4.0, rate: int = 24_000, channels: int = 1, peak: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, 2, rate, 0, "NONE", ""))
        samples = np.frombuffer(tone(seconds, rate, peak), "<i2")
        writer.writeframes(np.repeat(samples, channels).tobytes())
    return file.getvalue()


def packed(container_format: str, codec: str, rate: int = 48_000, layout: str = "mono", picture: bool = False) -> bytes:
    """Four seconds of a tone in a container."""
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if picture:
            video = container.add_stream("mjpeg", rate=1)
            video.width = video.height = 16
            video.pix_fmt = "yuvj420p"
        source = np.frombuffer(tone(4.0, rate), "<i2").astype(np.int16)
        width = {"mono": 1, "stereo": 2}[layout]
        frame = av.AudioFrame.from_ndarray(np.repeat(source, width).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        if picture:
            container.mux(video.encode(av.VideoFrame(16, 16, "yuvj420p")))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def of(encoding: int, rate: int = 24_000) -> bytes:
    audio_format = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate)
    return encoded_whole(tone(4.0, rate), rate, audio_format)


def checked(data: bytes, **changed: object):
    rules = RecordingRules(**{name: getattr(RULES, name) for name in RULES.__slots__} | changed)
    return checked_recording(data, field="audio", rules=rules)


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (wav(), "audio/wav"),
        (wav(rate=44_100), "audio/wav"),
        (wav(rate=96_000), "audio/wav"),
        (of(media_pb2.AUDIO_ENCODING_MP3), "audio/mpeg"),
        (packed("ipod", "aac"), "audio/mp4"),
    ],
    ids=["wav", "wav of 44.1 kHz", "wav of 96 kHz", "mp3", "m4a"],
)
def test_what_a_vendor_takes_stays_as_it_is(data, mime_type):
    found = checked(data)
    assert (found.data, found.mime_type, found.converted) == (data, mime_type, "")
    assert found.seconds == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize(
    ("data", "why", "rate"),
    [
        (of(media_pb2.AUDIO_ENCODING_OGG_OPUS), "is ogg with ", 48_000),
        (of(media_pb2.AUDIO_ENCODING_FLAC), "is flac with flac", 24_000),
        (wav(channels=2), "has 2 channels", 24_000),
        (packed("wav", "pcm_s24le"), "is wav with pcm_s24le", 48_000),
        (packed("wav", "pcm_f32le", rate=32_000), "is wav with pcm_f32le", 32_000),
        (packed("webm", "libopus"), "is matroska,webm with", 48_000),
        (packed("ipod", "aac", layout="stereo"), "has 2 channels", 48_000),
        (packed("ipod", "alac"), "with alac", 48_000),
        (packed("mov", "aac", picture=True), "with aac", 48_000),
        (wav(rate=96_000, channels=2), "has 2 channels", 48_000),
    ],
)
def test_anything_else_becomes_mono_wav_of_16_bits_that_sounds_the_same(data, why, rate):
    found = checked(data)
    assert why in found.converted
    assert f"converted to mono WAV of 16 bits and {rate} samples per second" in found.converted
    with wave.open(io.BytesIO(found.data)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (1, 2, rate)
        assert reader.getnframes() / rate == pytest.approx(4.0, abs=0.1)
    assert found.mime_type == "audio/wav"
    pcm, _ = decoded(found.data)
    samples = np.frombuffer(pcm, "<i2").astype(float)
    middle = samples[rate : rate * 3]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * rate / len(middle) == pytest.approx(440, abs=2)
    assert np.abs(middle).max() == pytest.approx(8000, rel=0.1)


def test_a_file_that_is_too_large_is_converted_at_the_best_rate_that_fits():
    data = wav(20.0, rate=96_000)
    found = checked(data, max_bytes=1_000_000)
    assert found.converted.startswith(f"has {len(data)} bytes; ")
    with wave.open(io.BytesIO(found.data)) as reader:
        assert reader.getframerate() == 24_000
    assert len(found.data) <= 1_000_000


def test_a_file_that_cannot_be_made_small_enough_is_refused():
    with pytest.raises(InvalidAudioError, match="send a shorter one"):
        checked(wav(20.0, rate=48_000), max_bytes=500_000)


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (wav(2.5), "has 2.50 seconds; allowed: 3..60 seconds"),
        (wav(60.5), "is longer than 60 seconds; allowed: 3..60 seconds"),
        (wav(rate=16_000), "has 16000 samples per second; allowed: 24000 or more, as it was recorded"),
        (wav(peak=100), "is silent"),
        (wav(peak=0), "is silent"),
    ],
)
def test_what_cannot_be_cloned_is_refused_with_what_is_allowed(data, description):
    with pytest.raises(InvalidAudioError) as refused:
        checked(data)
    (violation,) = refused.value.violations
    assert (violation.field, violation.description) == ("audio", description)


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(InvalidAudioError) as refused:
        checked(wav(1.0, rate=8000, peak=0))
    assert len(refused.value.violations) == 3


def test_sound_in_opposite_phases_of_two_channels_is_silence_when_they_are_one():
    samples = np.frombuffer(tone(4.0), "<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 24_000, 0, "NONE", ""))
        writer.writeframes(np.column_stack([samples, -samples]).astype("<i2").tobytes())
    with pytest.raises(InvalidAudioError, match="is silent"):
        checked(file.getvalue())


def video_alone() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuvj420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no audio that can be decoded"),
        (b"not audio", "no audio that can be decoded"),
        (b"RIFF" + bytes(100), "no audio that can be decoded"),
        (wav()[:44], "no audio that can be decoded"),
        (video_alone(), "no audio in it"),
        (packed("ipod", "aac")[:2000], "no audio that can be decoded"),
    ],
)
def test_what_is_no_audio_is_refused(data, message):
    with pytest.raises(InvalidAudioError, match=message) as refused:
        checked(data)
    assert [violation.field for violation in refused.value.violations] == ["audio"]


def test_a_file_with_too_many_bytes_is_not_looked_at():
    with pytest.raises(MediaTooLargeError) as refused:
        checked(bytes(101), max_input_bytes=100)
    assert refused.value.violations[0].description == "has 101 bytes; allowed: 100"


def test_a_small_file_of_endless_sound_is_decoded_only_as_far_as_is_needed():
    # 20 minutes of silence in a few kilobytes.
    quiet = of(media_pb2.AUDIO_ENCODING_FLAC)
    assert checked(quiet).seconds == pytest.approx(4.0, abs=0.1)
    hours = encoded_whole(
        bytes(8000 * 2 * 1200),
        8000,
        media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_FLAC, sample_rate_hertz=8000),
    )
    assert len(hours) < 2_000_000
    with pytest.raises(InvalidAudioError) as refused:
        checked(hours)
    assert any("is longer than 60 seconds" in one.description for one in refused.value.violations)


def test_without_rules_any_sound_is_taken():
    found = checked_recording(wav(0.1, rate=8000, peak=500), field="audio", rules=RecordingRules())
    assert found.converted == ""
