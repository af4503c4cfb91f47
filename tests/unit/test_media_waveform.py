"""The samples of an answer that comes in pieces, whatever it is wrapped in and wherever it is cut."""

from __future__ import annotations

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.media.waveform import CutShortError, OtherAudioError, Samples
from pixvox.testing.dashscope.sound import wav_of

SOUND = bytes(range(200))
LONG = bytes(range(256)) * 4
UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFDB)


def with_length(length):
    file = bytearray(wav_of(SOUND))
    struct.pack_into("<I", file, 40, length)
    return bytes(file)


def titled(title=b"title!", place=12):
    """A file with a chunk of odd length at a place of its header, and one behind its samples."""
    file = wav_of(SOUND)
    note = b"LIST" + struct.pack("<I", len(title)) + title + b"\0" * (len(title) % 2)
    return file[:place] + note + file[place:] + note


WHOLE = [SOUND, wav_of(SOUND), *map(with_length, UNKNOWN), titled(), titled(b"odd"), titled(b"odd", 36)]


def heard(*pieces, rate=24_000):
    samples = Samples(rate)
    audio = [samples.feed(piece) for piece in pieces]
    samples.finish()
    assert all(len(piece) % 2 == 0 for piece in audio)
    return b"".join(audio)


def cut(data, sizes):
    place = 0
    for size in sizes:
        yield data[place : place + size]
        place += size
    yield data[place:]


SIZES = st.lists(st.integers(min_value=0, max_value=40), max_size=60)


@pytest.mark.parametrize("data", WHOLE)
def test_the_samples_of_an_answer_are_found_wherever_it_is_cut(data):
    assert heard(data) == SOUND
    for place in range(len(data) + 1):
        assert heard(data[:place], data[place:]) == SOUND
    assert heard(*(bytes([byte]) for byte in data)) == SOUND


@given(SIZES)
def test_the_samples_of_an_answer_are_found_however_often_it_is_cut(sizes):
    assert heard(*cut(LONG, sizes)) == LONG
    assert heard(*cut(wav_of(LONG), sizes)) == LONG


@given(st.binary(max_size=60), st.integers(1, 7))
def test_bare_samples_are_what_came_but_for_half_a_sample(data, width):
    data = b"\0" + data
    samples = Samples(24_000)
    audio = b"".join(samples.feed(data[start : start + width]) for start in range(0, len(data), width))
    assert audio == data[: len(data) - len(data) % 2]
    if len(data) % 2:
        with pytest.raises(CutShortError, match="half a sample"):
            samples.finish()
    else:
        samples.finish()


def test_samples_that_look_like_the_beginning_of_a_header_are_samples():
    assert heard(b"RI", b"xy") == b"RIxy"


def test_sound_is_given_as_soon_as_the_header_is_whole():
    samples = Samples(24_000)
    file = with_length(0xFFFFFFFF)
    assert samples.feed(file[:43]) == b""
    assert not samples.headed
    assert samples.feed(file[43:47]) == SOUND[:2]
    assert samples.headed
    assert samples.feed(file[47:50]) == SOUND[2:6]
    assert not samples.length_is_told


def test_a_length_that_is_told_is_known():
    samples = Samples(24_000)
    samples.feed(wav_of(SOUND))
    assert samples.length_is_told


def test_bare_samples_have_no_header():
    samples = Samples(24_000)
    samples.feed(SOUND)
    assert not samples.headed


@pytest.mark.parametrize(
    "data", [wav_of(SOUND)[:-2], wav_of(SOUND)[:20], SOUND[:-1], b"RIFF", b"R", with_length(0)[:-1]]
)
def test_an_answer_that_is_cut_short_is_seen(data):
    with pytest.raises(CutShortError):
        heard(data)


def changed(place, form, value):
    file = bytearray(wav_of(SOUND))
    struct.pack_into(form, file, place, value)
    return bytes(file)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wav_of(SOUND, 22_050), "22050 Hz"),
        (changed(20, "<H", 3), "format 3"),
        (changed(22, "<H", 2), "2 channels"),
        (changed(34, "<H", 24), "24 bits"),
        (wav_of(SOUND)[:12] + wav_of(SOUND)[36:], "does not say"),
        (wav_of(SOUND)[:12] + b"LIST" + struct.pack("<I", 1_000_000) + bytes(100), "longer than any"),
    ],
)
def test_audio_of_another_kind_is_refused_before_a_sample_is_given(data, words):
    with pytest.raises(OtherAudioError, match=words):
        Samples(24_000).feed(data)


@pytest.mark.parametrize(("rate", "channels", "width"), [(16_000, 1, 2), (24_000, 2, 2), (24_000, 1, 1)])
def test_audio_of_another_kind_is_refused_in_a_file_of_another_writer(rate, channels, width):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(SOUND)
    with pytest.raises(OtherAudioError):
        heard(file.getvalue())
