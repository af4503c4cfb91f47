"""Checks of speech as sound: whole samples that can be heard, at the rate, by the voice and in the language of the request."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from pixvox.media.recordings import SILENT_PEAK
from pixvox.testing.conformance import speaking
from pixvox.testing.conformance.cases import SPEECH, each
from pixvox.testing.conformance.findings import Check, CheckSkippedError
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.testing.conformance.cases import Case
    from pixvox.testing.conformance.speaking import Spoken

# What begins a file rather than samples.
_HEADERS = (b"RIFF", b"OggS", b"fLaC", b"ID3")
_MOST_VOICES = 3
_MOST_LANGUAGES = 3
# No voice speaks a sentence of ten words faster or slower.
_SHORTEST_SECONDS = 0.3
_LONGEST_SECONDS = 60.0
# By which the lengths of the same text at two rates may differ, because a voice need not speak alike twice.
_TOLERANCE = 0.35

_SAMPLES = "Audio is bare 16-bit signed little-endian mono samples, whole ones in each piece."
_RATE = "sample_rate_hertz of the stream is the rate of its samples."


async def check_audio(case: Case) -> None:
    """Speak a sentence and listen."""
    spoken = await case.said()
    odd = [len(chunk) for chunk in spoken.chunks if len(chunk) % speaking.BYTES_PER_SAMPLE]
    seen = f"a piece of audio has {odd[0] if odd else 0} bytes, which is half a sample too many"
    case.require(not odd, seen, _SAMPLES)
    case.require(all(spoken.chunks), "a piece of audio is empty", "A piece of audio has samples in it.")
    case.require(not _is_headed(spoken), f"the audio begins with {spoken.pcm[:4]!r}, like a file", _SAMPLES)
    if not odd:
        _check_heard(case, spoken)
    case.note(f"{spoken.seconds:.1f} s of audio in {len(spoken.chunks)} pieces at {spoken.rate} Hz")


async def check_rates(case: Case) -> None:
    """Ask for every rate and every encoding; both are the service's to make."""
    usual = await case.said()
    capability = case.model.stream_speech
    formats = {f"{rate} Hz": media_pb2.AudioFormat(sample_rate_hertz=rate) for rate in capability.sample_rates_hertz}
    for encoding in capability.encodings:
        formats[media_pb2.AudioEncoding.Name(encoding)] = media_pb2.AudioFormat(encoding=encoding)
    for name, wanted in formats.items():
        spoken = await case.said(format=wanted)
        seen = f"asked for {name}, and the audio begins with {spoken.pcm[:4]!r}, like a file"
        case.require(not _is_headed(spoken), seen, f"{_SAMPLES} The service encodes them.")
        seen = (
            f"asked for {name}: the sentence lasts {spoken.seconds:.2f} s at the {spoken.rate} Hz that the stream says, "
            f"and {usual.seconds:.2f} s when nothing is asked for"
        )
        case.require(abs(spoken.seconds - usual.seconds) <= usual.seconds * _TOLERANCE, seen, _RATE)


async def check_voices(case: Case) -> None:
    """Speak with the first and the last voices, with none, and in several languages."""
    voices = [voice.id for voice in case.model.stream_speech.voices]
    contract = "The stream says which voice speaks: that of the request, or else the first of the table."
    for voice in ["", *_ends(voices, _MOST_VOICES)]:
        spoken = await case.said(voice=voice)
        wanted = voice or (voices[0] if voices else "")
        seen = f"asked for {f'voice {voice!r}' if voice else 'no voice'}; the stream says {spoken.voice!r}"
        case.require(spoken.voice == wanted if wanted else bool(spoken.voice), seen, contract)
    for code in _ends(case.model.stream_speech.language_codes, _MOST_LANGUAGES):
        await case.said(speaking.sentence_for(case.model, code), language_code=code)


async def check_manner(case: Case) -> None:
    """Ask for both ends of rate, pitch and volume."""
    lengths: dict[str, list[float]] = {}
    for field, bounds in case.model.stream_speech.ListFields():
        if field.name in {"speaking_rate", "pitch", "volume"}:
            values = (bounds.min, bounds.max)
            lengths[field.name] = [(await case.said(**{field.name: value})).seconds for value in values]
    if not lengths:
        raise CheckSkippedError(f"{case.model.id} does not let rate, pitch or volume be changed")
    bounds = case.model.stream_speech.speaking_rate
    if bounds.min < bounds.max:
        slow, quick = lengths["speaking_rate"]
        seen = f"at speaking_rate {bounds.max:g} the sentence lasts {quick:.2f} s, and {slow:.2f} s at {bounds.min:g}"
        case.require(quick < slow, seen, "A higher speaking_rate is quicker speech.")


CHECKS = (
    Check("speech-audio", "Speech is whole samples that can be heard.", each(check_audio, SPEECH), 1),
    Check(
        "speech-rates",
        "Speech comes at the rate that the stream says, whatever format was asked for.",
        each(check_rates, SPEECH),
        calls=14,
    ),
    Check("speech-voices", "Voices and languages of the table speak.", each(check_voices, SPEECH), 8),
    Check(
        "speech-manner",
        "Rate, pitch and volume can be asked for as far as the table says.",
        each(check_manner, SPEECH),
        calls=6,
    ),
)


def _is_headed(spoken: Spoken) -> bool:
    return bool(spoken.chunks) and spoken.pcm[:4].startswith(_HEADERS)


def _check_heard(case: Case, spoken: Spoken) -> None:
    samples = array("h", spoken.pcm)
    peak = max(map(abs, samples), default=0)
    case.require(peak > SILENT_PEAK, f"the loudest sample is {peak} of 32767", "Speech can be heard.")
    seen = f"a sentence of {len(case.sentence)} characters lasts {spoken.seconds:.2f} s at {spoken.rate} Hz"
    case.require(_SHORTEST_SECONDS <= spoken.seconds <= _LONGEST_SECONDS, seen, _RATE)


def _ends(values: Sequence[str], most: int) -> list[str]:
    """Return the first values and the last one, each once."""
    return list(dict.fromkeys([*values[: most - 1], *values[-1:]]))
