"""Voices of DashScope: what is sent, what is made of the answers, and every refusal, against the emulated vendor."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from google.protobuf import struct_pb2

from pixvox.errors import (
    InvalidAudioError,
    PixvoxError,
    ProviderInternalError,
    ProviderNotConfiguredError,
    VoiceQuotaError,
    reason_name,
)
from pixvox.media.audio import encoded_whole
from pixvox.provider import Recording, VoiceCloner, VoiceDeleter, VoiceDesigner, VoiceFinder
from pixvox.providers import dashscope
from pixvox.providers.dashscope import voice_wire
from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.speech_models import speech_models
from pixvox.providers.dashscope.voices import (
    CLONE_TARGETS,
    DESIGN_TARGETS,
    MAX_AUDIO_BYTES,
    DashScopeVoices,
    check_target,
    with_voices,
)
from pixvox.testing.dashscope import Cut, DashScopeEmulator, Fault, Raw, Refused, expected_pcm
from pixvox.upstream import Upstream
from pixvox.v1 import media_pb2, model_service_pb2, voice_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLONED = voice_service_pb2.VOICE_KIND_CLONED
DESIGNED = voice_service_pb2.VOICE_KIND_DESIGNED
CLONE_MODEL = model_service_pb2.Model(id="qwen3-tts-vc-2026-01-22")
DESIGN_MODEL = model_service_pb2.Model(id="qwen3-tts-vd-2026-01-26")
WAV = media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_WAV, sample_rate_hertz=24_000)
RECORDING = Recording(encoded_whole(expected_pcm("a" * 60, "speaker"), 24_000, WAV), "audio/wav", 6.0)


@pytest.fixture
async def emulator() -> AsyncIterator[DashScopeEmulator]:
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def voices(emulator) -> AsyncIterator[DashScopeVoices]:
    upstream = Upstream()
    yield DashScopeVoices(Account(dashscope.Config(api_key="sk-test", http_base=emulator.http_base), upstream))
    await upstream.aclose()


def cloning(**fields: object) -> voice_service_pb2.CloneVoiceRequest:
    given = {"display_name": "Narrator One", "request_id": "r-1"} | fields
    return voice_service_pb2.CloneVoiceRequest(**given)


def designing(**fields: object) -> voice_service_pb2.DesignVoiceRequest:
    given = {
        "display_name": "Host",
        "description": "warm low male voice, slow",
        "preview_text": "Welcome to the evening programme.",
        "request_id": "r-2",
    }
    return voice_service_pb2.DesignVoiceRequest(**given | fields)


def kept(made, kind: int, request, model: model_service_pb2.Model) -> voice_service_pb2.Voice:
    """What the catalogue has of a voice."""
    return voice_service_pb2.Voice(
        kind=kind,
        display_name=request.display_name,
        model=model.id,
        provider_voice_id=made.provider_voice_id if made else "",
        receipt=media_pb2.Receipt(request_id=request.request_id),
    )


async def failed(work) -> PixvoxError:
    with pytest.raises(PixvoxError) as caught:
        await work
    return caught.value


async def test_a_clone_is_asked_for_as_the_vendor_documents_it(voices, emulator):
    request = cloning(language_code="en-GB", transcript="It was the best of times.")
    await voices.clone_voice(request, RECORDING, CLONE_MODEL)
    (record,) = emulator.requests
    assert (record.method, record.path) == ("POST", "/api/v1/services/audio/tts/customization")
    assert record.json == {
        "model": "qwen-voice-enrollment",
        "input": {
            "action": "create",
            "target_model": "qwen3-tts-vc-2026-01-22",
            "preferred_name": voice_wire.preferred_name(CLONED, "Narrator One", "r-1"),
            "audio": {"data": f"data:audio/wav;base64,{base64.b64encode(RECORDING.data).decode()}"},
            "text": "It was the best of times.",
            "language": "en",
        },
    }


async def test_what_is_unset_is_left_to_the_vendor(voices, emulator):
    await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL)
    await voices.design_voice(designing(), DESIGN_MODEL)
    clone, design = (record.json["input"] for record in emulator.requests)
    assert set(clone) == {"action", "target_model", "preferred_name", "audio"}
    assert set(design) == {"action", "target_model", "preferred_name", "voice_prompt", "preview_text"}


async def test_a_design_is_asked_for_as_the_vendor_documents_it(voices, emulator):
    await voices.design_voice(designing(language_code="en"), DESIGN_MODEL)
    (record,) = emulator.requests
    assert record.json == {
        "model": "qwen-voice-design",
        "input": {
            "action": "create",
            "target_model": "qwen3-tts-vd-2026-01-26",
            "voice_prompt": "warm low male voice, slow",
            "preview_text": "Welcome to the evening programme.",
            "preferred_name": voice_wire.preferred_name(DESIGNED, "Host", "r-2"),
            "language": "en",
        },
        "parameters": {"sample_rate": 24000, "response_format": "wav"},
    }


async def test_a_clone_has_the_vendors_id_its_request_id_and_its_bill(voices, emulator):
    made = await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL)
    (voice,) = emulator.voices
    assert (made.provider_voice_id, voice.target_model) == (voice.name, CLONE_MODEL.id)
    assert (made.preview, made.preview_rate_hertz, made.warnings) == (b"", 0, ())
    receipt = made.receipt
    assert (receipt.region, receipt.model, receipt.usage.voices) == ("sg", CLONE_MODEL.id, 1)
    assert len(receipt.provider_request_id) == 36
    assert not receipt.HasField("cost")


async def test_a_design_has_its_preview_sample_by_sample_from_one_billable_call(voices, emulator):
    made = await voices.design_voice(designing(), DESIGN_MODEL)
    assert made.preview == expected_pcm("Welcome to the evening programme.", made.provider_voice_id, 24_000)
    assert made.preview_rate_hertz == 24_000
    assert emulator.count() == 1


@pytest.mark.parametrize(
    ("name", "kind", "start"),
    [
        ("Narrator One", CLONED, "Narrato_"),
        ("ab", CLONED, "clone_"),
        ("播音员", DESIGNED, "design_"),
        ("__x__", CLONED, "clone_"),
        ("Zoë B.", CLONED, "Zo_B_"),
        ("n1", DESIGNED, "design_"),
        ("a" * 100, CLONED, "aaaaaaa_"),
    ],
)
def test_a_preferred_name_is_lawful_and_the_calls_own(name, kind, start):
    made = voice_wire.preferred_name(kind, name, "r-1")
    assert made.startswith(start)
    assert 3 <= len(made) <= 16
    assert made.isascii()
    assert made.replace("_", "").isalnum()
    assert made != voice_wire.preferred_name(kind, name, "r-2")


async def test_the_voices_of_one_call_are_found_among_many_pages(voices, emulator, monkeypatch):
    monkeypatch.setattr(voice_wire, "PAGE_SIZE", 2)
    made = await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL)
    for number in range(4):
        await voices.clone_voice(cloning(request_id=f"other-{number}"), RECORDING, CLONE_MODEL)
    await voices.design_voice(designing(request_id="r-1"), DESIGN_MODEL)
    found = await voices.find_voices(kept(None, CLONED, cloning(), CLONE_MODEL))
    assert [one.provider_voice_id for one in found] == [made.provider_voice_id]
    assert (found[0].receipt.model, found[0].receipt.region) == (CLONE_MODEL.id, "sg")
    # Five clones in pages of two: the third page is not full, so there is no fourth.
    assert emulator.count("voice_list") == 3


async def test_the_voices_of_a_call_that_made_none_are_none(voices):
    for kind in (CLONED, DESIGNED):
        assert await voices.find_voices(kept(None, kind, cloning(), CLONE_MODEL)) == []


@pytest.mark.parametrize("answer", [Raw(200, b"<html>", "text/html"), Refused(200, "InternalError"), Refused(500, "")])
async def test_a_list_that_cannot_be_read_is_never_taken_for_an_empty_one(voices, emulator, answer, monkeypatch):
    emulator.faults.add(Fault("voice_list", answer, times=None))
    monkeypatch.setattr("pixvox.upstream.replay.MAX_ATTEMPTS", 1)
    error = await failed(voices.find_voices(kept(None, CLONED, cloning(), CLONE_MODEL)))
    assert isinstance(error, ProviderInternalError)


async def test_a_voice_is_deleted_and_deleting_it_again_is_no_error(voices, emulator):
    for made, kind, request, model in (
        (await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL), CLONED, cloning(), CLONE_MODEL),
        (await voices.design_voice(designing(), DESIGN_MODEL), DESIGNED, designing(), DESIGN_MODEL),
    ):
        for _ in range(2):
            await voices.delete_voice(kept(made, kind, request, model))
    assert emulator.voices == ()
    assert emulator.count("voice_delete") == 4


@pytest.mark.parametrize(
    ("ordered", "reason", "asked"),
    [
        (Refused(400, "Audio.AudioShortError", "The audio is too short."), "INVALID_AUDIO", 1),
        (Refused(400, "Audio.PreprocessError"), "INVALID_AUDIO", 1),
        (Refused(430, "Audio.DecoderError"), "INVALID_AUDIO", 1),
        (Refused(400, "BadRequest.UnsupportedFileFormat"), "INVALID_INPUT", 1),
        (Refused(400, "InvalidParameter"), "INVALID_PARAMETER", 1),
        (Refused(400, "Throttling.AllocationQuota", "Maximum voice storage limit exceeded."), "VOICE_QUOTA", 1),
        (Refused(429, "Throttling.AllocationQuota", "Maximum voice-clone voice limit exceeded."), "VOICE_QUOTA", 1),
        (Refused(401, "InvalidApiKey"), "PROVIDER_CREDENTIALS", 1),
        (Refused(403, "AccessDenied.Unpurchased"), "PROVIDER_ACCESS_DENIED", 1),
        (Refused(200, "InternalError.Algo"), "PROVIDER_INTERNAL", 1),
        (Refused(500, "InternalError"), "PROVIDER_INTERNAL", 1),
        (Raw(200, b'{"request_id": "p-1", "output": {}}', "application/json"), "PROVIDER_INTERNAL", 1),
        (Raw(200, b"[1]", "application/json"), "PROVIDER_INTERNAL", 1),
        (Raw(200, b"<html></html>"), "PROVIDER_INTERNAL", 1),
    ],
)
async def test_a_refused_clone_has_its_reason_and_is_asked_for_once(voices, emulator, ordered, reason, asked):
    emulator.faults.add(Fault("voice_create", ordered))
    error = await failed(voices.clone_voice(cloning(), RECORDING, CLONE_MODEL))
    assert reason_name(error.reason) == reason
    assert {"region", "provider_code", "provider_request_id"} <= set(error.metadata)
    assert emulator.count("voice_create") == asked


async def test_a_rate_limit_is_waited_out_because_nothing_was_done(voices, emulator):
    emulator.faults.add(Fault("voice_create", Refused(429, "Throttling.RateQuota")))
    await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL)
    assert (emulator.count("voice_create"), len(emulator.voices)) == (2, 1)


async def test_a_clone_whose_answer_was_lost_is_not_asked_for_again(voices, emulator):
    emulator.faults.add(Fault("voice_create", Cut()))
    error = await failed(voices.clone_voice(cloning(), RECORDING, CLONE_MODEL))
    assert error.metadata["replay"] == "ambiguous"
    assert (emulator.count("voice_create"), len(emulator.voices)) == (1, 1)
    (found,) = await voices.find_voices(kept(None, CLONED, cloning(), CLONE_MODEL))
    assert found.provider_voice_id == emulator.voices[0].name


async def test_the_account_may_be_full(voices, emulator):
    emulator.behaviour = replace(emulator.behaviour, voice_quota=0)
    for work in (voices.clone_voice(cloning(), RECORDING, CLONE_MODEL), voices.design_voice(designing(), DESIGN_MODEL)):
        assert isinstance(await failed(work), VoiceQuotaError)


async def test_the_vendors_own_check_of_the_recording_is_told(voices):
    short = Recording(encoded_whole(expected_pcm("a", "speaker"), 24_000, WAV), "audio/wav", 0.1)
    assert isinstance(await failed(voices.clone_voice(cloning(), short, CLONE_MODEL)), InvalidAudioError)


async def test_what_the_caller_wrote_is_not_repeated_in_errors(voices, emulator):
    emulator.faults.add(
        Fault("voice_create", Refused(400, "InvalidParameter", "Bad text: 'the secret of the old mill'"))
    )
    error = await failed(voices.clone_voice(cloning(transcript="the secret of the old mill"), RECORDING, CLONE_MODEL))
    assert "secret" not in error.message


async def test_the_vendor_making_do_with_unclear_speech_is_told(voices, emulator):
    output = {"voice": "v-1", "fallback_mode": True, "fallback_reason": "no_valid_asr_segments"}
    body = json.dumps({"request_id": "p-1", "output": output, "usage": {"count": 1}}).encode()
    emulator.faults.add(Fault("voice_create", Raw(200, body, "application/json")))
    made = await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL)
    (warning,) = made.warnings
    assert (warning.field, warning.reason) == ("audio", media_pb2.WARNING_REASON_VALUE_ADJUSTED)
    assert "no_valid_asr_segments" in warning.message


async def test_a_voice_made_for_another_model_than_asked_says_so(voices, emulator):
    body = json.dumps({"output": {"voice": "v-1", "target_model": "qwen3-tts-vc-realtime-2026-01-15"}}).encode()
    emulator.faults.add(Fault("voice_create", Raw(200, body, "application/json")))
    made = await voices.clone_voice(cloning(), RECORDING, CLONE_MODEL)
    assert made.receipt.model == "qwen3-tts-vc-realtime-2026-01-15"
    assert [warning.field for warning in made.warnings] == ["model"]
    # Where the vendor does not count, one voice was made all the same.
    assert made.receipt.usage.voices == 1


@pytest.mark.parametrize("preview", [None, {}, {"data": ""}, {"data": "!"}, {"data": "UklGRg=="}])
async def test_a_design_without_a_preview_that_plays_is_still_a_voice(voices, emulator, preview):
    body = json.dumps({"output": {"voice": "v-1", "preview_audio": preview}}).encode()
    emulator.faults.add(Fault("voice_create", Raw(200, body, "application/json")))
    made = await voices.design_voice(designing(), DESIGN_MODEL)
    assert (made.provider_voice_id, made.preview) == ("v-1", b"")
    assert [warning.field for warning in made.warnings] == ["preview_text"]


async def test_options_for_voices_are_not_dropped_silently(voices):
    options = struct_pb2.Struct()
    options.update({"dashscope": {"prefix": "x"}, "other": {}})
    made = await voices.clone_voice(cloning(provider_options=options), RECORDING, CLONE_MODEL)
    (warning,) = made.warnings
    assert (warning.reason, warning.field) == (
        media_pb2.WARNING_REASON_FIELD_IGNORED,
        "provider_options.dashscope",
    )


async def test_without_a_key_nothing_is_sent(emulator):
    upstream = Upstream()
    voices = DashScopeVoices(Account(dashscope.Config(http_base=emulator.http_base), upstream))
    for work in (
        voices.clone_voice(cloning(), RECORDING, CLONE_MODEL),
        voices.design_voice(designing(), DESIGN_MODEL),
        voices.delete_voice(kept(None, CLONED, cloning(), CLONE_MODEL)),
        voices.find_voices(kept(None, CLONED, cloning(), CLONE_MODEL)),
    ):
        assert isinstance(await failed(work), ProviderNotConfiguredError)
    assert emulator.count() == 0
    await upstream.aclose()


def test_voices_can_be_made_for_the_models_that_need_them_and_for_no_other():
    for model in with_voices(speech_models()):
        assert model.HasField("clone_voice") == (model.id in CLONE_TARGETS)
        assert model.HasField("design_voice") == (model.id in DESIGN_TARGETS)
        made = model.HasField("clone_voice") or model.HasField("design_voice")
        assert made == model.stream_speech.needs_made_voice


def test_the_configured_targets_come_first_and_nothing_else_moves():
    plain = [model.id for model in speech_models()]
    assert [model.id for model in with_voices(speech_models())] == plain
    preferred = with_voices(
        speech_models(), clone_target="qwen3-tts-vc-2026-01-22", design_target="qwen3-tts-vd-realtime-2025-12-16"
    )
    ids = [model.id for model in preferred]
    assert next(one for one in ids if one in CLONE_TARGETS) == "qwen3-tts-vc-2026-01-22"
    assert next(one for one in ids if one in DESIGN_TARGETS) == "qwen3-tts-vd-realtime-2025-12-16"
    assert sorted(ids) == sorted(plain)
    others = [one for one in plain if one not in {*CLONE_TARGETS, *DESIGN_TARGETS}]
    assert [one for one in ids if one in others] == others
    assert ids[0] == plain[0]


def test_a_default_target_has_to_be_one_that_voices_are_made_for():
    check_target("vc_target_model", "", CLONE_TARGETS)
    check_target("vc_target_model", CLONE_TARGETS[1], CLONE_TARGETS)
    with pytest.raises(ValueError, match=r"vc_target_model: 'qwen3-tts-flash' is not one of qwen3-tts-vc-"):
        check_target("vc_target_model", "qwen3-tts-flash", CLONE_TARGETS)


def test_the_largest_recording_is_under_the_vendors_limit_as_base64():
    encoded = len("data:audio/wav;base64,") + (MAX_AUDIO_BYTES + 2) // 3 * 4
    assert encoded < 10_000_000


def test_the_provider_has_every_verb_of_voices(emulator):
    provider = dashscope.create(dashscope.Config(api_key="sk-test"), Upstream())
    assert all(isinstance(provider, verb) for verb in (VoiceCloner, VoiceDesigner, VoiceDeleter, VoiceFinder))


async def test_a_design_whose_answer_breaks_off_is_not_asked_for_again(voices, emulator):
    emulator.faults.add(Fault("voice_create", Cut(after=10)))
    error = await failed(voices.design_voice(designing(), DESIGN_MODEL))
    assert error.metadata["replay"] == "ambiguous"
    assert (emulator.count("voice_create"), len(emulator.voices)) == (1, 1)
