"""Voices that the catalogue keeps for engines behind OpenAI's HTTP API: cloned, designed, and spoken with."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import wave

import pytest

import serving
from calling import check_invariants, config_message, spoken, text_message
from emulated import failure_of
from engines import KEY, QWEN, TEXT, broken, pcm_of
from pixvox.media.audio import decoded
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.openai import Cut, NoResult, OpenAIEmulator, Refused, Stalled
from pixvox.testing.openai.performing import voice_of, voice_of_recording
from pixvox.v1 import media_pb2, model_service_pb2, voice_service_pb2_grpc
from recording import cloning, designing, recording

BASE, DESIGN = f"{QWEN}-Base", f"{QWEN}-VoiceDesign"
MODEL = "qwen3-tts-base"


def voices_of(stubs):
    return voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)


@contextlib.asynccontextmanager
async def vllm(**fields):
    """A server of each checkpoint that is needed, and a service that knows both."""
    async with (
        OpenAIEmulator("vllm_omni", models=[BASE], checkpoint="Base") as base,
        OpenAIEmulator("vllm_omni", models=[DESIGN], checkpoint="VoiceDesign") as design,
    ):
        table = {"kind": "openai", "dialect": "vllm_omni", "base_url": base.base_url, "api_key": KEY}
        table["models"] = [{"id": MODEL, "design_url": design.base_url} | fields]
        async with serving.serving(serving.settings_with({"engine": table}, {})) as stubs:
            yield base, design, stubs


@contextlib.asynccontextmanager
async def xinference():
    """A server that has all checkpoints."""
    names = [BASE.removeprefix("Qwen/"), DESIGN.removeprefix("Qwen/")]
    async with OpenAIEmulator("xinference", models=names, checkpoint="Base") as emulator:
        table = {"kind": "openai", "dialect": "xinference", "base_url": emulator.base_url, "api_key": KEY}
        table["models"] = [{"id": MODEL, "design_name": names[1]}]
        async with serving.serving(serving.settings_with({"engine": table}, {})) as stubs:
            yield emulator, stubs


async def test_a_clone_asks_nobody_and_its_recording_goes_along_with_every_text():
    async with vllm() as (base, _, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning(transcript="What is said.", language_code="en"))).voice
        assert not base.requests
        config = config_message(voice=made.id, language_code="de")
        answers = await spoken(stubs, [config, text_message("Eins."), text_message(" Zwei.")])
    check_invariants(answers)
    [asked] = base.requests
    packed = asked.body.pop("ref_audio")
    assert asked.body == {
        "model": BASE,
        "input": "Eins. Zwei.",
        "response_format": "pcm",
        "stream": True,
        "task_type": "Base",
        "language": "German",
        "ref_text": "What is said.",
    }
    assert packed.startswith("data:audio/wav;base64,")
    asked.body["ref_audio"] = packed
    assert pcm_of(answers) == expected_pcm("Eins. Zwei.", voice_of(asked))


async def test_a_recording_goes_out_as_mono_wav_of_24_kilohertz_whatever_it_was():
    given = recording(encoding=media_pb2.AUDIO_ENCODING_MP3, rate=44_100)
    async with vllm() as (base, _, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning(audio=media_pb2.MediaInput(data=given)))).voice
        await spoken(stubs, [config_message(voice=made.id), text_message(TEXT)])
    [asked] = base.requests
    sent = io.BytesIO(base64.b64decode(asked.body["ref_audio"].partition(",")[2]))
    with wave.open(sent) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.getnframes() / 24_000 == pytest.approx(len(decoded(given)[0]) / 2 / 44_100, abs=0.1)
    # Without its words, the engine is told to do without them.
    assert asked.body["x_vector_only_mode"] is True
    assert "ref_text" not in asked.body


async def test_a_design_is_spoken_by_the_engine_for_designs_and_its_preview_is_the_voice():
    async with vllm() as (base, design, stubs):
        answer = await voices_of(stubs).DesignVoice(designing(language_code="en"))
        await spoken(stubs, [config_message(voice=answer.voice.id), text_message(TEXT)])
    [asked] = design.requests
    assert asked.body == {
        "model": DESIGN,
        "input": "Welcome to the evening programme.",
        "response_format": "wav",
        "task_type": "VoiceDesign",
        "instructions": "warm low male voice, slow",
        "language": "English",
    }
    sound = expected_pcm("Welcome to the evening programme.", "design:warm low male voice, slow")
    assert decoded(answer.preview)[0] == sound
    assert answer.voice.receipt.provider_request_id
    [said] = base.requests
    assert said.body["ref_text"] == "Welcome to the evening programme."
    assert voice_of(said) == voice_of_recording(answer.preview)


async def test_one_server_with_all_checkpoints_clones_and_designs_by_parts_of_a_form():
    async with xinference() as (emulator, stubs):
        clone = (await voices_of(stubs).CloneVoice(cloning(transcript="What is said.", language_code="en"))).voice
        answers = await spoken(stubs, [config_message(voice=clone.id), text_message(TEXT)])
    [asked] = emulator.requests
    [file] = asked.files
    assert (file.part, file.content_type) == ("prompt_speech", "audio/wav")
    assert asked.body == {
        "model": BASE.removeprefix("Qwen/"),
        "input": TEXT,
        "voice": "",
        "response_format": "wav",
        "kwargs": '{"language":"auto","prompt_text":"What is said."}',
    }
    assert pcm_of(answers) == expected_pcm(TEXT, voice_of_recording(file.data))


async def test_a_design_of_that_server_says_all_that_openai_has_no_name_for_in_one_member():
    async with OpenAIEmulator("xinference", models=["a", "d"], checkpoint="VoiceDesign") as emulator:
        model = {"id": MODEL, "name": "a", "design_name": "d"}
        table = {"kind": "openai", "dialect": "xinference", "base_url": emulator.base_url, "models": [model]}
        table["api_key"] = KEY
        async with serving.serving(serving.settings_with({"engine": table}, {})) as stubs:
            await voices_of(stubs).DesignVoice(designing(language_code="zh"))
    [asked] = emulator.requests
    assert asked.body["kwargs"] == '{"instruct":"warm low male voice, slow","language":"chinese"}'
    assert (asked.body["model"], asked.body["voice"], asked.files) == ("d", "", ())


async def test_the_list_of_models_says_what_can_be_made_for_which():
    request = model_service_pb2.ListModelsRequest()
    async with vllm() as (_, _, stubs):
        [designs] = (await stubs.models.ListModels(request)).models
    async with xinference() as (_, stubs):
        [needs_words] = (await stubs.models.ListModels(request)).models
    async with vllm(design_url="") as (_, _, stubs):
        [clones] = (await stubs.models.ListModels(request)).models
        failed = await failure_of(voices_of(stubs).DesignVoice(designing(model=MODEL)))
    assert designs.stream_speech.needs_made_voice
    assert (designs.HasField("clone_voice"), designs.HasField("design_voice")) == (True, True)
    assert (clones.HasField("clone_voice"), clones.HasField("design_voice")) == (True, False)
    assert (designs.clone_voice.needs_transcript, needs_words.clone_voice.needs_transcript) == (False, True)
    assert failed.reason == "UNSUPPORTED"


async def test_a_voice_that_nobody_made_is_not_spoken_with():
    async with vllm() as (base, _, stubs):
        for voice, reason in (("", "INVALID_REQUEST"), ("vivian", "VOICE_NOT_FOUND")):
            seen, failed = await broken(stubs, config_message(model=MODEL, voice=voice), text_message(TEXT))
            assert (seen, failed.reason) == ([], reason)
    assert not base.requests


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (Refused(400, "", "VoiceDesign needs instructions."), "INVALID_PARAMETER"),
        (Refused(503), "PROVIDER_UNAVAILABLE"),
        (NoResult(), "PROVIDER_INTERNAL"),
        (Cut(after=5_000), "PROVIDER_DISCONNECTED"),
        (Cut(), "OUTCOME_UNKNOWN"),
    ],
)
async def test_a_design_that_fails_has_its_reason_and_makes_no_voice(effect, reason):
    async with vllm() as (_, design, stubs):
        design.faults.add("speech", effect)
        failed = await failure_of(voices_of(stubs).DesignVoice(designing()))
    assert failed.reason == reason
    assert design.count() == 1


async def test_speech_with_a_made_voice_can_be_cancelled_while_it_is_made():
    async with vllm() as (base, _, stubs):
        made = (await voices_of(stubs).CloneVoice(cloning())).voice
        base.faults.add("speech", Stalled(60, after=1))
        call = stubs.speech.StreamSpeech(iter([config_message(voice=made.id), text_message(TEXT)]))
        async with asyncio.timeout(20):
            while not (await call.read()).HasField("audio"):
                pass
            call.cancel()
            await base.until(lambda: base.requests[0].cancelled)
