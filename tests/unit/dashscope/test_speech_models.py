"""The speech models: lanes, limits, voices and languages, each against the vendor's tables as the emulator has them."""

from __future__ import annotations

import pytest

from pixvox import limits
from pixvox.errors import UnsupportedError, VoiceNotFoundError
from pixvox.languages import LANGUAGE_CODES, language_name
from pixvox.media import audio
from pixvox.providers.dashscope.speech_models import SYSTEM_VOICES, Lane, lane_of, speech_models
from pixvox.testing.dashscope import models as vendor
from pixvox.v1 import media_pb2, speech_service_pb2

MODELS = {model.id: model for model in speech_models()}
REALTIME = [name for name in MODELS if "realtime" in name]
HTTP = [name for name in MODELS if "realtime" not in name]


def test_every_model_is_one_of_the_vendors_and_no_current_one_is_missing():
    current = {name for name, model in vendor._SPEECH_MODELS.items() if not model.legacy}
    assert set(MODELS) == current


@pytest.mark.parametrize("name", MODELS)
def test_the_lane_is_the_one_that_the_vendor_has_for_the_model(name):
    realtime = vendor.speech_model(name).realtime
    assert (lane_of(name) is Lane.REALTIME) == (lane_of(name, "download") is Lane.REALTIME) == realtime
    assert MODELS[name].stream_speech.speaks_while_text_arrives == realtime


def test_the_configured_http_lane_is_taken_by_the_models_without_a_socket():
    assert {lane_of(name, "sse") for name in HTTP} == {Lane.SSE}
    assert {lane_of(name, "download") for name in HTTP} == {Lane.DOWNLOAD}


def test_a_file_comes_at_once_and_everything_else_while_it_is_spoken():
    assert all(model.stream_speech.streams_audio for model in MODELS.values())
    at_once = [model.id for model in speech_models(http_lane="download") if not model.stream_speech.streams_audio]
    assert at_once == HTTP


@pytest.mark.parametrize("name", MODELS)
def test_only_models_for_made_voices_need_one_and_none_of_them_lists_voices(name):
    capability = MODELS[name].stream_speech
    made = vendor.speech_model(name).voices != "system"
    assert capability.needs_made_voice == made
    assert not (made and capability.voices)


def test_the_flash_models_have_the_vendors_49_voices_and_cherry_is_the_default():
    for name in ("qwen3-tts-flash-realtime", "qwen3-tts-flash", "qwen3-tts-flash-realtime-2025-11-27"):
        assert [voice.id for voice in MODELS[name].stream_speech.voices] == list(SYSTEM_VOICES)
    assert SYSTEM_VOICES == vendor.SYSTEM_VOICES
    assert len(set(SYSTEM_VOICES)) == 49


def test_a_voice_that_no_flash_model_has_is_refused_before_anything_is_sent():
    config = speech_service_pb2.SpeechConfig(voice="cherry")
    with pytest.raises(VoiceNotFoundError):
        limits.check_speech(config, MODELS["qwen3-tts-flash-realtime"])


@pytest.mark.parametrize("name", [name for name in MODELS if "instruct" in name or "2025-09-18" in name])
def test_where_the_vendor_does_not_say_which_voices_there_are_any_is_let_through(name):
    limits.check_speech(speech_service_pb2.SpeechConfig(voice="Somebody"), MODELS[name])


@pytest.mark.parametrize("name", MODELS)
def test_instructions_are_taken_by_the_instruct_models_alone(name):
    config = speech_service_pb2.SpeechConfig(instructions="whisper")
    if "instruct" in name:
        limits.check_speech(config, MODELS[name])
    else:
        with pytest.raises(UnsupportedError) as raised:
            limits.check_speech(config, MODELS[name])
        assert [one.field for one in raised.value.violations] == ["config.instructions"]


@pytest.mark.parametrize("field", ["speaking_rate", "pitch", "volume"])
def test_prosody_is_taken_by_realtime_models_within_the_vendors_range_and_refused_by_name_elsewhere(field):
    lowest, highest = (0.0, 100.0) if field == "volume" else (0.5, 2.0)
    for name in REALTIME:
        for value in (lowest, highest):
            limits.check_speech(speech_service_pb2.SpeechConfig(**{field: value}), MODELS[name])
        for value in (lowest - 0.1, highest + 0.1):
            with pytest.raises(UnsupportedError):
                limits.check_speech(speech_service_pb2.SpeechConfig(**{field: value}), MODELS[name])
    for name in HTTP:
        with pytest.raises(UnsupportedError) as raised:
            limits.check_speech(speech_service_pb2.SpeechConfig(**{field: 1.0}), MODELS[name])
        assert [one.field for one in raised.value.violations] == [f"config.{field}"]


def test_the_longest_text_is_that_of_the_lane_unless_the_operator_wants_less():
    assert {MODELS[name].stream_speech.max_text_characters for name in REALTIME} == {2000}
    assert {MODELS[name].stream_speech.max_text_characters for name in HTTP} == {600}
    lower = {model.id: model.stream_speech.max_text_characters for model in speech_models(1000)}
    assert {lower[name] for name in REALTIME} == {1000}
    assert {lower[name] for name in HTTP} == {600}


def test_every_rate_that_is_offered_goes_with_every_encoding_that_is():
    for model in MODELS.values():
        capability = model.stream_speech
        assert set(capability.encodings) == set(media_pb2.AudioEncoding.values()) - {0}
        assert capability.sample_rates_hertz[0] == 24000
        for encoding in capability.encodings:
            assert set(capability.sample_rates_hertz) <= set(audio.SAMPLE_RATES_HERTZ[encoding])


def test_languages_have_the_vendors_names_and_no_two_the_same():
    names = [language_name(code) for code in LANGUAGE_CODES]
    assert {"Auto", *names} == set(vendor.LANGUAGE_TYPES)
    assert len(names) == len(set(names))
    assert language_name("") == "Auto"


@pytest.mark.parametrize("name", MODELS)
def test_a_language_that_the_vendor_does_not_speak_is_refused(name):
    with pytest.raises(UnsupportedError):
        limits.check_speech(speech_service_pb2.SpeechConfig(language_code="nl"), MODELS[name])
