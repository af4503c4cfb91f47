"""The sandbox's voices by measurement: loudness, length and pitch of what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pixvox.errors import UnsupportedError, VoiceNotFoundError
from pixvox.providers.sandbox.languages import LANGUAGE_CODES, Guess, voice_of
from pixvox.providers.sandbox.speech import SandboxSpeech, speech_models
from pixvox.v1 import speech_service_pb2

pytest.importorskip("espeakng_loader")

RATE = 24000
GREETINGS = {
    "zh": "你好，今天天气很好，我们一起去公园散步吧。",
    "en": "Good morning, the weather is nice today and we walk to the park.",
    "de": "Guten Morgen, das Wetter ist heute schön und wir gehen in den Park.",
    "it": "Buongiorno, oggi il tempo è bello e andiamo a fare una passeggiata.",
    "pt": "Bom dia, hoje o tempo está bom e nós vamos passear no parque.",
    "es": "Buenos días, hoy hace buen tiempo y vamos a pasear por el parque.",
    "ja": "おはようございます、きょうはいいてんきなので、こうえんをさんぽします。",
    "ko": "안녕하세요, 오늘은 날씨가 좋아서 공원에 산책하러 갑니다.",
    "fr": "Bonjour, il fait beau aujourd'hui et nous allons nous promener au parc.",
    "ru": "Доброе утро, сегодня хорошая погода, и мы идём гулять в парк.",
}
VOICES = [voice.id for voice in speech_models()[0].stream_speech.voices]


@pytest.fixture(scope="module")
def model():
    return speech_models()[0]


@pytest.fixture
async def speech():
    speech = SandboxSpeech()
    yield speech
    await speech.aclose()


async def heard(speech, text: str, **fields: object) -> np.ndarray:
    async def once():
        yield text

    config = speech_service_pb2.SpeechConfig(**fields)
    async with speech.stream_speech(config, once(), speech_models()[0]) as stream:
        pcm = b"".join([event async for event in stream.events if isinstance(event, bytes)])
    return np.frombuffer(pcm, "<i2").astype(float)


def loudness(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def pitch_hertz(sound: np.ndarray) -> float:
    """The median over the voiced frames of the shortest lag at which the autocorrelation is nearly at its greatest."""
    found = []
    lags = np.arange(RATE // 600, RATE // 40)
    for start in range(0, len(sound) - 2048, 512):
        frame = sound[start : start + 2048] - sound[start : start + 2048].mean()
        if loudness(frame) < 600:
            continue
        likeness = np.correlate(frame, frame, "full")[2047:][lags] / (2048 - lags)
        peaks = (
            (likeness[1:-1] > 0.85 * likeness.max())
            & (likeness[1:-1] >= likeness[:-2])
            & (likeness[1:-1] >= likeness[2:])
        )
        if peaks.any():
            found.append(RATE / lags[1:-1][peaks.argmax()])
    return float(np.median(found))


@pytest.mark.parametrize("language", LANGUAGE_CODES)
async def test_every_language_is_heard_at_a_natural_length(speech, language):
    sound = await heard(speech, GREETINGS[language], language_code=language)
    assert 400 < loudness(sound) < 12000
    assert 2.0 < len(sound) / RATE < 9.0
    # No more than the pauses between clauses is silent.
    quiet = sum(loudness(part) < 50 for part in np.array_split(sound, 50))
    assert quiet < 25


@pytest.mark.parametrize("tag", ["en-GB", "pt-BR", "zh-CN", "zh-Hant-TW", "es-MX", "fr-CA", "fr-CH", "DE-at", "ko-KR"])
async def test_a_region_is_taken(speech, tag):
    assert loudness(await heard(speech, GREETINGS[tag[:2].lower()], language_code=tag)) > 400


async def test_a_region_with_a_voice_of_its_own_sounds_different(speech):
    text = "a dance in the bath after the class"
    american = await heard(speech, text, language_code="en-US")
    british = await heard(speech, text, language_code="en-GB")
    assert abs(len(american) - len(british)) > 0.02 * len(american)


async def test_most_of_the_energy_is_in_the_band_of_speech(speech):
    sound = await heard(speech, GREETINGS["en"], language_code="en")
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
    assert power[(frequency > 80) & (frequency < 4000)].sum() / power.sum() > 0.9


@pytest.mark.parametrize("voice", VOICES)
async def test_every_voice_speaks_every_language(speech, voice):
    for language, text in GREETINGS.items():
        assert loudness(await heard(speech, text, voice=voice, language_code=language)) > 400


async def test_the_voices_are_four_different_ones(speech):
    sounds = [await heard(speech, GREETINGS["en"], voice=voice) for voice in VOICES]
    pitches = sorted(map(pitch_hertz, sounds))
    assert len(VOICES) == 4
    assert pitches[0] * 1.5 < pitches[-1]
    assert all(higher > lower * 1.05 for lower, higher in itertools.pairwise(pitches))


@pytest.mark.parametrize("rate", [0.5, 2.0])
async def test_the_speaking_rate_divides_the_length(speech, rate):
    normal = len(await heard(speech, GREETINGS["en"]))
    assert len(await heard(speech, GREETINGS["en"], speaking_rate=rate)) == pytest.approx(normal / rate, rel=0.15)


@pytest.mark.parametrize("pitch", [0.5, 0.75, 1.4, 2.0])
async def test_the_pitch_multiplies_the_fundamental_frequency_and_leaves_the_length(speech, pitch):
    normal = await heard(speech, GREETINGS["en"])
    changed = await heard(speech, GREETINGS["en"], pitch=pitch)
    assert pitch_hertz(changed) == pytest.approx(pitch_hertz(normal) * pitch, rel=0.1)
    assert len(changed) == pytest.approx(len(normal), rel=0.1)


async def test_the_volume_multiplies_the_loudness(speech):
    soft, normal = [loudness(await heard(speech, GREETINGS["en"], volume=volume)) for volume in (25.0, 50.0)]
    loud = loudness(await heard(speech, GREETINGS["en"], volume=100.0))
    assert soft == pytest.approx(normal / 2, rel=0.1)
    assert loud > normal * 1.5
    # espeak-ng's filters ring on a little from what was said before.
    assert loudness(await heard(speech, GREETINGS["en"], volume=0.0)) < 50


async def test_unset_is_normal(speech):
    plain = await heard(speech, GREETINGS["en"], language_code="en")
    said = await heard(
        speech, GREETINGS["en"], language_code="en", speaking_rate=1.0, pitch=1.0, volume=50.0, voice="aria"
    )
    assert len(plain) == pytest.approx(len(said), rel=0.02)
    assert loudness(plain) == pytest.approx(loudness(said), rel=0.05)


@pytest.mark.parametrize("language", LANGUAGE_CODES)
def test_the_language_of_a_sentence_is_found_out(language):
    assert Guess().language_of(GREETINGS[language]) == language


@pytest.mark.parametrize(
    ("segments", "languages"),
    [
        (["Hello there. ", "123 ", "OK."], ["en", "en", "en"]),
        (["", "xyzzy"], ["en", "en"]),
        (["わたしは", "東京"], ["ja", "ja"]),
        (["东京", "我用 Python 写代码"], ["zh", "zh"]),
        (["Das ist nicht der Tag. ", "No."], ["de", "de"]),
        (["The word 日本 means Japan to the people who live there."], ["en"]),
        (["Москва is the capital of the country in which they live."], ["en"]),
    ],
)
def test_a_short_segment_is_in_the_language_of_those_before(segments, languages):
    guess = Guess()
    assert [guess.language_of(segment) for segment in segments] == languages


def test_auto_speaks_as_the_language_that_it_finds(speech):
    assert voice_of(Guess().language_of(GREETINGS["ru"])) == "ru"


async def test_an_unknown_language_is_refused_with_the_known_ones(speech, model):
    with pytest.raises(UnsupportedError) as raised:
        await heard(speech, "hello", language_code="tlh")
    (violation,) = raised.value.violations
    assert violation.field == "config.language_code"
    assert all(code in violation.description for code in model.stream_speech.language_codes)


async def test_an_unknown_voice_is_refused_with_the_known_ones(speech):
    with pytest.raises(VoiceNotFoundError) as raised:
        await heard(speech, "hello", voice="nobody")
    assert all(voice in raised.value.violations[0].description for voice in VOICES)
