"""The emulator clones and designs voices as the vendor does."""

from __future__ import annotations

import base64
import io
import struct
import wave
from dataclasses import replace

import av
import pytest

from pixvox.testing.dashscope import expected_pcm

CUSTOMIZATION = "/services/audio/tts/customization"
MULTIMODAL = "/services/aigc/multimodal-generation/generation"
CLONE_TARGET = "qwen3-tts-vc-2026-01-22"
DESIGN_TARGET = "qwen3-tts-vd-2026-01-26"
SPEECH = expected_pcm("a" * 60, "speaker")


def wav(pcm: bytes = SPEECH, rate: int = 24000, channels: int = 1) -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, 2, rate, 0, "NONE", ""))
        writer.writeframes(pcm)
    return f"data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode()}"


def clone(**changed: object) -> dict:
    given = {
        "action": "create",
        "target_model": CLONE_TARGET,
        "preferred_name": "narrator1",
        "audio": {"data": wav()},
        "language": "en",
    }
    return {"model": "qwen-voice-enrollment", "input": given | changed}


def design(parameters: dict | None = None, **changed: object) -> dict:
    given = {
        "action": "create",
        "target_model": DESIGN_TARGET,
        "voice_prompt": "warm low voice",
        "preview_text": "Welcome to the evening.",
        "preferred_name": "host",
    }
    return {"model": "qwen-voice-design", "input": given | changed, "parameters": parameters or {}}


def spoken(model: str, voice: str) -> dict:
    return {"model": model, "input": {"text": "Hello.", "voice": voice, "language_type": "English"}}


async def test_a_voice_works_with_its_target_model_only(ask):
    made = (await ask(CUSTOMIZATION, clone())).json
    assert made["output"]["fallback_mode"] is False
    voice = made["output"]["voice"]
    assert (await ask(MULTIMODAL, spoken(CLONE_TARGET, voice))).status == 200
    for model in ("qwen3-tts-flash", DESIGN_TARGET):
        answered = await ask(MULTIMODAL, spoken(model, voice))
        assert (answered.status, answered.json["code"]) == (400, "invalid_value")
        assert voice in answered.json["message"]
    system = await ask(MULTIMODAL, spoken(CLONE_TARGET, "Cherry"))
    assert (system.status, system.json["message"]) == (400, "[qwen-tts:]Engine return error code: 411")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"target_model": DESIGN_TARGET}, "InvalidParameter"),
        ({"target_model": "qwen3-tts-flash"}, "InvalidParameter"),
        ({"preferred_name": "narrator one"}, "InvalidParameter"),
        ({"preferred_name": "n" * 17}, "InvalidParameter"),
        ({"preferred_name": ""}, "InvalidParameter"),
        ({"language": "English"}, "InvalidParameter"),
        ({"action": "query"}, "InvalidParameter"),
        ({"audio": {"data": wav(SPEECH, 16000)}}, "Audio.AudioRateError"),
        ({"audio": {"data": wav(SPEECH[: 24000 * 2])}}, "Audio.AudioShortError"),
        ({"audio": {"data": wav(SPEECH * 20)}}, "Audio.DurationLimitError"),
        ({"audio": {"data": wav(bytes(len(SPEECH)))}}, "Audio.AudioSilentError"),
        ({"audio": {"data": wav(SPEECH * 2, channels=2)}}, "Audio.PreprocessError"),
        ({"audio": {"data": "data:audio/wav;base64,UklGRg=="}}, "Audio.DecoderError"),
        ({"audio": {"data": "data:audio/ogg;base64,UklGRg=="}}, "BadRequest.UnsupportedFileFormat"),
        ({"audio": {"data": "data:audio/wav;base64," + "A" * 10_485_760}}, "BadRequest.TooLarge"),
        ({"audio": {"data": "https://example.com/voice.wav"}}, "BadRequest.InputDownloadFailed"),
    ],
)
async def test_a_clone_that_the_vendor_refuses_is_refused(ask, dashscope_emulator, changed, code):
    answered = await ask(CUSTOMIZATION, clone(**changed))
    assert (answered.status, answered.json["code"]) == (400, code)
    assert dashscope_emulator.voices == ()


async def test_a_voice_can_be_cloned_from_a_url(ask, dashscope_emulator):
    dashscope_emulator.internet["https://example.com/voice.wav"] = base64.b64decode(wav().partition(",")[2])
    answered = await ask(CUSTOMIZATION, clone(audio={"data": "https://example.com/voice.wav"}))
    assert answered.json["usage"] == {"count": 1}


@pytest.mark.parametrize(
    ("changed", "parameters"),
    [
        ({"target_model": CLONE_TARGET}, {}),
        ({"voice_prompt": "x" * 2049}, {}),
        ({"preview_text": "x" * 1025}, {}),
        ({"preferred_name": None}, {}),
        ({}, {"sample_rate": 22050}),
        ({}, {"response_format": "flac"}),
    ],
)
async def test_a_design_that_the_vendor_refuses_is_refused(ask, changed, parameters):
    answered = await ask(CUSTOMIZATION, design(parameters, **changed))
    assert (answered.status, answered.json["code"]) == (400, "InvalidParameter")


@pytest.mark.parametrize("format", ["wav", "mp3", "opus"])
async def test_the_preview_is_in_the_format_that_was_asked_for(ask, format):
    answered = await ask(CUSTOMIZATION, design({"response_format": format, "sample_rate": 16000}))
    preview = answered.json["output"]["preview_audio"]
    assert (preview["sample_rate"], preview["response_format"]) == (16000, format)
    data = base64.b64decode(preview["data"])
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.audio[0].codec.name == {"wav": "pcm_s16le", "mp3": "mp3float"}.get(format, format)


async def test_a_preview_in_pcm_is_the_voice_itself(ask):
    answered = await ask(CUSTOMIZATION, design({"response_format": "pcm", "sample_rate": 8000}))
    output = answered.json["output"]
    expected = expected_pcm("Welcome to the evening.", output["voice"], 8000)
    assert base64.b64decode(output["preview_audio"]["data"]) == expected
    assert max(map(abs, struct.unpack(f"<{len(expected) // 2}h", expected))) > 3000


async def test_clones_are_listed_in_pages_without_a_total(ask):
    voices = [(await ask(CUSTOMIZATION, clone())).json["output"]["voice"] for _ in range(3)]
    await ask(CUSTOMIZATION, design())
    body = {"model": "qwen-voice-enrollment", "input": {"action": "list", "page_index": 1, "page_size": 2}}
    answered = await ask(CUSTOMIZATION, body)
    assert [entry["voice"] for entry in answered.json["output"]["voice_list"]] == voices[:1]
    assert set(answered.json["output"]) == {"voice_list"}
    assert answered.json["usage"] == {"count": 0}


async def test_designs_are_listed_with_a_total_and_deleted_with_their_name(ask):
    voice = (await ask(CUSTOMIZATION, design())).json["output"]["voice"]
    listed = await ask(CUSTOMIZATION, {"model": "qwen-voice-design", "input": {"action": "list"}})
    assert listed.json["output"]["total_count"] == 1
    assert listed.json["output"]["voice_list"][0]["language"] == "zh"
    deletion = {"model": "qwen-voice-design", "input": {"action": "delete", "voice": voice}}
    assert (await ask(CUSTOMIZATION, deletion)).json["output"] == {"voice": voice}
    again = await ask(CUSTOMIZATION, deletion)
    assert (again.status, again.json["code"]) == (400, "VoiceNotFound")


async def test_a_quota_of_voices_is_refused_with_either_status(ask, dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, voice_quota=1)
    await ask(CUSTOMIZATION, clone())
    for body, status in ((clone(), 429), (design(), 400)):
        answered = await ask(CUSTOMIZATION, body)
        assert (answered.status, answered.json["code"]) == (status, "Throttling.AllocationQuota")
        assert answered.json["message"].startswith("Maximum voice")
    assert len(dashscope_emulator.voices) == 1
