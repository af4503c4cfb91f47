"""Speech by DashScope through a real server and the emulated vendor: what is heard, asked and billed."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from calling import (
    config_message,
    kinds,
    text_message,
)
from pixvox.media.audio import StreamEncoder, decoded
from pixvox.providers.dashscope.speech_models import speech_models
from pixvox.testing.dashscope import (
    DashScopeEmulator,
    billed_characters,
    expected_pcm,
)
from pixvox.testing.dashscope.sound import wav_of
from pixvox.v1 import media_pb2, speech_service_pb2, voice_service_pb2, voice_service_pb2_grpc
from speaking import HTTP, REALTIME, TEXT, pcm_of, place_of

ENCODINGS = [encoding for encoding in media_pb2.AudioEncoding.values() if encoding]
LOSSLESS = {media_pb2.AUDIO_ENCODING_PCM_S16LE, media_pb2.AUDIO_ENCODING_WAV, media_pb2.AUDIO_ENCODING_FLAC}


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def place(vendor):
    async with place_of(vendor) as place:
        yield place


async def made_voice(place, model):
    """A cloned or designed voice for a model."""
    voices = voice_service_pb2_grpc.VoiceServiceStub(place.stubs.channel)
    if "-vd-" in model:
        request = voice_service_pb2.DesignVoiceRequest(
            display_name="me", description="a calm voice", preview_text="Hello, and welcome to the show.", model=model
        )
        return (await voices.DesignVoice(request)).voice
    recording = wav_of(expected_pcm("A recording of more than ten seconds. " * 6, "me"))
    request = voice_service_pb2.CloneVoiceRequest(
        display_name="me",
        audio=media_pb2.MediaInput(data=recording),
        consent=voice_service_pb2.Consent(speaker="me", statement="I agree."),
        model=model,
    )
    return (await voices.CloneVoice(request)).voice


@pytest.mark.parametrize(
    ("model", "lane"),
    [
        (model.id, lane)
        for model in speech_models()
        for lane in ("sse", "download")
        if not ("realtime" in model.id and lane == "download")
    ],
)
async def test_every_model_speaks_what_the_vendor_speaks_sample_by_sample(vendor, model, lane):
    async with place_of(vendor, speech_lane=lane) as place:
        voice = vendors_voice = "Ethan"
        if "-vc-" in model or "-vd-" in model:
            made = await made_voice(place, model)
            voice, vendors_voice = made.id, made.provider_voice_id
        answers = await place.stream(config_message(model=model, voice=voice), text_message(TEXT))
    assert pcm_of(answers) == expected_pcm(TEXT, vendors_voice)
    started, summary = answers[0].started, answers[-1].summary
    assert (started.provider, started.region, started.model, started.voice) == ("qwen", "sg", model, voice)
    assert started.format.sample_rate_hertz == 24000
    assert summary.receipt.model == model
    assert summary.receipt.usage.characters == billed_characters(TEXT)
    assert summary.audio_duration == summary.receipt.usage.audio_duration
    operation = {"sse": "speech_sse", "download": "speech_http"}[lane]
    assert place.asked[-1].operation == ("realtime" if "realtime" in model else operation)


@pytest.mark.parametrize(("model", "lane"), [(REALTIME, "sse"), (HTTP, "sse"), (HTTP, "download")])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=media_pb2.AudioEncoding.Name)
async def test_every_encoding_decodes_to_what_the_vendor_spoke(vendor, model, lane, encoding):
    audio_format = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=24000)
    expected = expected_pcm(TEXT, "Cherry")
    async with place_of(vendor, speech_lane=lane) as place:
        answers = await place.stream(config_message(model=model, format=audio_format), text_message(TEXT))
        config = speech_service_pb2.SpeechConfig(model=model, format=audio_format)
        whole = await place.stubs.speech.SynthesizeSpeech(
            speech_service_pb2.SynthesizeSpeechRequest(text=TEXT, config=config)
        )
    for data in (pcm_of(answers), whole.data):
        sound = heard(data, encoding)
        if encoding in LOSSLESS:
            np.testing.assert_array_equal(sound, np.frombuffer(expected, "<i2"))
    # What a lossy encoding makes of the vendor's samples is what it makes of the expected ones, sample by sample.
    encoder = StreamEncoder(24000, audio_format)
    alike = heard(encoder.encode(expected) + encoder.finish(), encoding)
    np.testing.assert_array_equal(heard(pcm_of(answers), encoding), alike)
    assert whole.receipt.usage.characters == billed_characters(TEXT)
    assert whole.format == audio_format


def heard(data, encoding):
    """The samples that a listener gets."""
    if encoding == media_pb2.AUDIO_ENCODING_PCM_S16LE:
        return np.frombuffer(data, "<i2")
    if encoding == media_pb2.AUDIO_ENCODING_MULAW:
        return np.frombuffer(data, np.uint8)
    pcm, _ = decoded(data)
    return np.frombuffer(pcm, "<i2")


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 48000])
async def test_other_rates_are_made_here(place, rate):
    audio_format = media_pb2.AudioFormat(sample_rate_hertz=rate)
    answers = await place.stream(config_message(format=audio_format), text_message(TEXT))
    encoder = StreamEncoder(24000, audio_format)
    assert pcm_of(answers) == encoder.encode(expected_pcm(TEXT, "Cherry")) + encoder.finish()
    assert place.asked[0].events[0].json["session"]["sample_rate"] == 24000


async def test_the_receipt_says_who_did_it_and_what_it_costs(place):
    answers = await place.stream(config_message(request_id="talk-1", model=REALTIME), text_message("Hello 世界."))
    receipt = answers[-1].summary.receipt
    assert (receipt.request_id, receipt.provider, receipt.region, receipt.model) == (
        "talk-1",
        "qwen",
        "sg",
        REALTIME,
    )
    assert receipt.provider_request_id.startswith("sess_")
    assert receipt.usage.characters == 11
    assert (receipt.cost.state, receipt.cost.currency) == (media_pb2.COST_STATE_PRICED, "USD")
    assert receipt.cost.amount == "0.000143"


async def test_the_vendor_is_asked_in_its_own_words(place):
    await place.stream(
        config_message(
            model="qwen3-tts-instruct-flash-realtime",
            voice="Ono Anna",
            language_code="pt-BR",
            speaking_rate=1.25,
            pitch=0.5,
            volume=70.4,
            instructions="like a pirate",
            provider_options={"dashscope": {"optimize_instructions": True, "bit_rate": 64}},
        ),
        text_message("Olá."),
    )
    (record,) = place.asked
    assert record.query == {"model": "qwen3-tts-instruct-flash-realtime"}
    assert record.events[0].json["session"] == {
        "voice": "Ono Anna",
        "language_type": "Portuguese",
        "speech_rate": 1.25,
        "pitch_rate": 0.5,
        "volume": 70,
        "instructions": "like a pirate",
        "optimize_instructions": True,
        "bit_rate": 64,
        "mode": "commit",
        "response_format": "pcm",
        "sample_rate": 24000,
    }


async def test_what_the_caller_leaves_open_is_left_to_the_vendor(place):
    await place.stream(config_message(), text_message("Hello."))
    await place.stream(config_message(model=HTTP), text_message("Hello."))
    session, http = place.asked
    fixed = {"mode": "commit", "response_format": "pcm", "sample_rate": 24000}
    assert session.events[0].json["session"] == {"voice": "Cherry", "language_type": "Auto"} | fixed
    assert http.json == {"model": HTTP, "input": {"text": "Hello.", "voice": "Cherry", "language_type": "Auto"}}


async def test_rate_pitch_and_volume_change_the_audio_as_the_vendor_says(place):
    answers = await place.stream(config_message(speaking_rate=2.0, pitch=1.5, volume=20), text_message("Hello there."))
    assert pcm_of(answers) == expected_pcm("Hello there.", "Cherry", speech_rate=2.0, pitch_rate=1.5, volume=20)
    assert "warning" not in kinds(answers)


async def test_a_volume_that_the_vendor_cannot_have_is_rounded_and_said_so(place):
    answers = await place.stream(config_message(volume=20.4), text_message("Hello."))
    warning = next(answer.warning for answer in answers if answer.HasField("warning"))
    assert (warning.field, warning.reason) == ("config.volume", media_pb2.WARNING_REASON_VALUE_ADJUSTED)
    assert pcm_of(answers) == expected_pcm("Hello.", "Cherry", volume=20)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": HTTP, "speaking_rate": 1.5}, "config.speaking_rate"),
        ({"model": HTTP, "instructions": "whisper"}, "config.instructions"),
        ({"model": HTTP, "voice": "Nobody"}, "config.voice"),
        ({"model": "qwen3-tts-vc-2026-01-22"}, "config.voice"),
        ({"model": "qwen3-tts-vd-realtime-2026-01-15"}, "config.voice"),
        ({"language_code": "nl"}, "config.language_code"),
        ({"provider_options": {"dashscope": {"voice": "Cherry"}}}, "config.provider_options.dashscope.voice"),
        ({"provider_options": {"dashscope": 1}}, "config.provider_options.dashscope"),
    ],
)
async def test_what_cannot_be_is_refused_by_name_before_the_vendor_is_asked(place, fields, path):
    seen, failed = await place.failure(config_message(**fields), text_message("Hello."))
    assert seen == []
    assert [one.field for one in failed.violations] == [path]
    assert place.vendor.count() == 0


@pytest.mark.parametrize(("model", "longest"), [(REALTIME, 2000), (HTTP, 600)])
async def test_the_longest_text_is_spoken_whole_and_a_longer_one_is_refused(place, model, longest):
    text = ("A sentence of forty-nine letters with its blank.  " * 40)[:longest]
    answers = await place.stream(config_message(model=model), text_message(text))
    assert pcm_of(answers) == expected_pcm(text, "Cherry")
    _, failed = await place.failure(config_message(model=model), text_message(text), text_message("x"))
    assert (failed.code, failed.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "text")


async def test_the_operator_can_lower_the_longest_text(vendor):
    async with place_of(vendor, max_text_chars=10) as place:
        _, failed = await place.failure(config_message(), text_message("01234567890"))
        assert failed.reason == "UNSUPPORTED"
