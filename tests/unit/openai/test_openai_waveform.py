"""The samples of an answer that comes in pieces, whatever it is wrapped in and wherever it is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.providers.openai.waveform import CutShortError, OtherAudioError, Samples, samples_of
from pixvox.testing.dashscope.sound import wav_of

SOUND = bytes(range(200))
UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFDB)


def with_length(length):
    file = bytearray(wav_of(SOUND))
    struct.pack_into("<I", file, 40, length)
    return bytes(file)


def titled(title=b"title!"):
    """A file with a chunk of odd length before its format, and one behind its samples."""
    file = wav_of(SOUND)
    note = b"LIST" + struct.pack("<I", len(title)) + title + b"\0" * (len(title) % 2)
    return file[:12] + note + file[12:] + note


WHOLE = [SOUND, wav_of(SOUND), *map(with_length, UNKNOWN), titled(), titled(b"odd")]


def heard(*pieces, rate=24_000):
    samples = Samples(rate)
    audio = [samples.feed(piece) for piece in pieces]
    samples.finish()
    assert all(len(piece) % 2 == 0 for piece in audio)
    return b"".join(audio)


@pytest.mark.parametrize("data", WHOLE)
def test_the_samples_of_an_answer_are_found_wherever_it_is_cut(data):
    assert samples_of(data, 24_000) == SOUND
    for place in range(len(data) + 1):
        assert heard(data[:place], data[place:]) == SOUND
    assert heard(*(bytes([byte]) for byte in data)) == SOUND


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


def test_sound_is_given_as_soon_as_the_header_is_whole():
    samples = Samples(24_000)
    file = with_length(0xFFFFFFFF)
    assert samples.feed(file[:43]) == b""
    assert samples.feed(file[43:47]) == SOUND[:2]
    assert samples.feed(file[47:50]) == SOUND[2:6]
    assert not samples.length_is_told


def test_a_length_that_is_told_is_known():
    samples = Samples(24_000)
    samples.feed(wav_of(SOUND))
    assert samples.length_is_told


@pytest.mark.parametrize(
    "data", [wav_of(SOUND)[:-2], wav_of(SOUND)[:20], SOUND[:-1], b"RIFF", b"R", with_length(0)[:-1]]
)
def test_an_answer_that_is_cut_short_is_seen(data):
    with pytest.raises(CutShortError):
        samples_of(data, 24_000)


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
