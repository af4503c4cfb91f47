"""Voices that are recordings: made from what a caller sends, and from the preview of a design."""

from __future__ import annotations

import io
import wave

import pytest

from pixvox import references
from pixvox.errors import InvalidMediaError
from pixvox.media.audio import decoded
from pixvox.provider import MAX_REFERENCE_BYTES, Recording
from pixvox.testing.dashscope import expected_pcm
from pixvox.v1 import media_pb2
from recording import cloning, designing, recording


def facts_of(data):
    with wave.open(io.BytesIO(data)) as file:
        return file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()


@pytest.mark.parametrize(
    ("given", "mime_type"),
    [
        (recording(20), "audio/wav"),
        (recording(20, rate=48_000), "audio/wav"),
        (recording(20, media_pb2.AUDIO_ENCODING_MP3, 44_100), "audio/mpeg"),
    ],
)
async def test_a_recording_becomes_a_mono_wav_of_24_kilohertz(given, mime_type):
    pcm, rate = decoded(given)
    seconds = len(pcm) / 2 / rate
    request = cloning(transcript="What is said.", language_code="en")
    made = await references.cloned(request, Recording(given, mime_type, seconds))
    reference = made.reference
    assert facts_of(reference.data) == (24_000, 1, 2, pytest.approx(24_000 * seconds, abs=2))
    assert (reference.mime_type, reference.transcript, reference.language_code) == ("audio/wav", "What is said.", "en")
    assert (made.receipt.usage.voices, made.preview, made.preview_rate_hertz) == (1, b"", 0)
    assert decoded(reference.data)[0] == pcm or rate != 24_000


async def test_what_is_no_recording_is_refused():
    with pytest.raises(InvalidMediaError):
        await references.cloned(cloning(), Recording(b"no sound", "audio/wav", 3.0))


async def test_a_preview_is_a_voice_with_its_own_words():
    pcm = expected_pcm("Welcome to the evening programme.", "a", 22_050)
    made = await references.designed(designing(language_code="en"), pcm, 22_050, provider_request_id="r-1")
    assert (made.preview, made.preview_rate_hertz) == (pcm, 22_050)
    assert made.reference.transcript == "Welcome to the evening programme."
    rate, channels, width, frames = facts_of(made.reference.data)
    assert (rate, channels, width) == (24_000, 1, 2)
    assert frames / 24_000 == pytest.approx(len(pcm) / 2 / 22_050, abs=0.001)
    usage = made.receipt.usage
    assert (made.receipt.provider_request_id, usage.voices, usage.characters) == ("r-1", 1, 33)
    assert usage.audio_duration.ToMilliseconds() == pytest.approx(len(pcm) / 2 / 22.05, abs=1)


async def test_no_two_voices_have_one_name_though_they_sound_alike():
    given = Recording(recording(20), "audio/wav", 2.0)
    names = {(await references.cloned(cloning(), given)).provider_voice_id for _ in range(3)}
    assert len(names) == 3


def test_the_longest_recording_that_is_allowed_makes_a_reference_that_can_be_kept():
    capability = references.clone_capability(["en"], needs_transcript=True)
    assert capability.max_audio_seconds * 24_000 * 2 + 100 < MAX_REFERENCE_BYTES
    assert (capability.needs_transcript, list(capability.language_codes)) == (True, ["en"])
    assert list(references.design_capability(["en"]).language_codes) == ["en"]
