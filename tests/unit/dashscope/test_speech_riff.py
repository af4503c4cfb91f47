"""Samples come out of a WAV file, or as they are, however the pieces are cut."""

from __future__ import annotations

import io
import struct
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.providers.dashscope.riff import Samples, WaveformError
from pixvox.testing.dashscope.sound import wav_of

PCM = bytes(range(256)) * 4


def fed(pieces, rate=24000):
    samples = Samples(rate)
    given = [samples.feed(piece) for piece in pieces]
    assert all(len(one) % 2 == 0 for one in given)
    return b"".join(given), samples


def cut(data, sizes):
    place = 0
    for size in sizes:
        yield data[place : place + size]
        place += size
    yield data[place:]


SIZES = st.lists(st.integers(min_value=0, max_value=40), max_size=60)


@given(SIZES)
def test_bare_samples_stay_as_they_are(sizes):
    audio, samples = fed(cut(PCM, sizes))
    assert audio == PCM
    assert not samples.missing


@given(SIZES)
def test_a_header_is_taken_off(sizes):
    audio, samples = fed(cut(wav_of(PCM), sizes))
    assert audio == PCM
    assert not samples.missing


def test_chunks_before_and_behind_the_samples_are_no_samples():
    file = wav_of(PCM)
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    place = file.index(b"data")
    audio, samples = fed([file[:place] + extra + file[place:] + extra])
    assert audio == PCM
    assert not samples.missing


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_stream_that_does_not_know_its_length_goes_on_to_its_end(length):
    file = bytearray(wav_of(PCM))
    place = file.index(b"data") + 4
    file[place : place + 4] = struct.pack("<I", length)
    audio, samples = fed([bytes(file)])
    assert audio == PCM
    assert not samples.missing


def test_a_file_that_breaks_off_is_missed():
    assert fed([wav_of(PCM)[:-2]])[1].missing
    assert fed([wav_of(PCM)[:20]])[1].missing


def test_samples_that_look_like_the_beginning_of_a_header_are_samples():
    audio, _ = fed([b"RI", b"xy"])
    assert audio == b"RIxy"


@pytest.mark.parametrize(("rate", "channels", "width"), [(16000, 1, 2), (24000, 2, 2), (24000, 1, 1)])
def test_audio_of_another_kind_is_refused(rate, channels, width):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(PCM)
    with pytest.raises(WaveformError):
        fed([file.getvalue()])
