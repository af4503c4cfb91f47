"""The emulated engines are as strict as those that they stand for, so that a test that passes says something."""

from __future__ import annotations

import io

import aiohttp
import pytest
from PIL import Image

from pixvox.testing.openai import OpenAIEmulator

SPEECH, MAKE, EDIT = "/audio/speech", "/images/generations", "/images/edits"
GPT = {"model": "gpt-4o-mini-tts", "input": "a", "voice": "alloy"}
PICTURE = {"prompt": "a"}
CLONE = {"input": "a", "ref_audio": "data:audio/wav;base64,AAAA", "ref_text": "b"}
QWEN = {"model": "Qwen3-TTS-12Hz-1.7B-CustomVoice", "input": "a", "voice": "", "response_format": "wav"}

REFUSED = [
    ("openai", "", SPEECH, GPT | {"stream": True}, 400),
    ("openai", "", SPEECH, GPT | {"language": "English"}, 400),
    ("openai", "", SPEECH, GPT | {"model": "tts-1", "stream_format": "sse"}, 400),
    ("openai", "", SPEECH, GPT | {"model": "tts-1", "instructions": "calm"}, 400),
    ("openai", "", SPEECH, GPT | {"input": "a" * 4097}, 400),
    ("openai", "", SPEECH, GPT | {"voice": ""}, 400),
    ("openai", "", SPEECH, GPT | {"model": "other"}, 404),
    ("openai", "", MAKE, PICTURE | {"seed": 1}, 400),
    ("openai", "", MAKE, PICTURE | {"response_format": "b64_json"}, 400),
    ("openai", "", MAKE, PICTURE | {"size": "512x512"}, 400),
    ("openai", "", MAKE, PICTURE | {"n": 11}, 400),
    ("openai", "", MAKE, {}, 400),
    ("openai", "", EDIT, PICTURE, 400),
    ("vllm_omni", "", MAKE, PICTURE | {"model": "qwen-image"}, 400),
    ("vllm_omni", "", MAKE, PICTURE | {"response_format": "url"}, 400),
    ("vllm_omni", "", MAKE, PICTURE | {"size": "512*512"}, 400),
    ("vllm_omni", "", EDIT, PICTURE, 422),
    ("vllm_omni", "CustomVoice", SPEECH, {"input": "a", "voice": "alloy"}, 400),
    ("vllm_omni", "CustomVoice", SPEECH, {"input": "a", "language": "de"}, 400),
    ("vllm_omni", "CustomVoice", SPEECH, {"input": "a", "task_type": "Base"}, 400),
    ("vllm_omni", "CustomVoice", SPEECH, CLONE, 400),
    ("vllm_omni", "CustomVoice", SPEECH, {"input": "a", "stream": True, "speed": 2.0}, 400),
    ("vllm_omni", "CustomVoice", SPEECH, {"input": "a", "stream": True, "response_format": "mp3"}, 400),
    ("vllm_omni", "VoiceDesign", SPEECH, {"input": "a"}, 400),
    ("vllm_omni", "Base", SPEECH, {"input": "a"}, 400),
    ("vllm_omni", "Base", SPEECH, CLONE | {"ref_audio": "AAAA"}, 400),
    ("vllm_omni", "Base", SPEECH, {"input": "a", "ref_audio": CLONE["ref_audio"]}, 400),
    ("sglang", "", MAKE, PICTURE | {"size": "512*512"}, 422),
    ("sglang", "", SPEECH, GPT, 404),
    ("localai", "", EDIT, PICTURE, 404),
    ("localai", "", MAKE, PICTURE | {"model": "other"}, 404),
    ("xinference", "", MAKE, PICTURE | {"seed": 1}, 422),
    ("xinference", "", MAKE, PICTURE | {"kwargs": "seed=1"}, 500),
    ("xinference", "CustomVoice", SPEECH, QWEN | {"stream": True}, 500),
    ("xinference", "CustomVoice", SPEECH, QWEN | {"voice": "alloy"}, 500),
    ("xinference", "CustomVoice", SPEECH, QWEN | {"kwargs": '{"language":"English"}'}, 500),
    ("xinference", "CustomVoice", SPEECH, {"model": QWEN["model"], "input": "a"}, 422),
    ("xinference", "Base", SPEECH, QWEN, 500),
    ("speaches", "", SPEECH, {"model": "other", "input": "a"}, 404),
    ("kokoro", "", SPEECH, {"input": "a", "voice": "alloy"}, 400),
]


async def status_of(emulator, path, body, files=()):
    if files:
        form = aiohttp.FormData({name: str(value) for name, value in body.items()})
        for part, data in files:
            form.add_field(part, data, filename="a.png", content_type="image/png")
        options = {"data": form}
    else:
        options = {"json": body}
    headers = {"Authorization": "Bearer sk-test"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{emulator.base_url}{path}", **options) as reply,
    ):
        await reply.read()
        return reply.status


@pytest.mark.parametrize(("dialect", "checkpoint", "path", "body", "status"), REFUSED)
async def test_what_the_real_engine_refuses_or_forgets_is_refused(dialect, checkpoint, path, body, status):
    async with OpenAIEmulator(dialect, checkpoint=checkpoint or "CustomVoice") as emulator:
        assert await status_of(emulator, path, body) == status


@pytest.mark.parametrize(
    ("dialect", "checkpoint", "path", "body"),
    [
        ("openai", "", SPEECH, GPT | {"stream_format": "sse"}),
        ("openai", "", MAKE, PICTURE | {"size": "1024x1024"}),
        ("vllm_omni", "CustomVoice", SPEECH, {"input": "a", "language": "english", "stream": True}),
        ("vllm_omni", "Base", SPEECH, CLONE),
        ("vllm_omni", "VoiceDesign", SPEECH, {"input": "a", "instructions": "calm"}),
        ("xinference", "CustomVoice", SPEECH, QWEN | {"kwargs": '{"language":"english"}'}),
        ("xinference", "", MAKE, PICTURE | {"size": "64*64", "kwargs": '{"seed":1}'}),
    ],
)
async def test_what_it_takes_is_taken(dialect, checkpoint, path, body):
    async with OpenAIEmulator(dialect, checkpoint=checkpoint or "CustomVoice") as emulator:
        assert await status_of(emulator, path, body) == 200


@pytest.mark.parametrize(
    ("dialect", "mode", "status"),
    [("openai", "L", 400), ("openai", "RGBA", 200), ("vllm_omni", "L", 200), ("sglang", "L", 200)],
)
async def test_openai_takes_no_mask_without_transparency(dialect, mode, status):
    picture, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    Image.new(mode, (4, 4)).save(mask, "PNG")
    files = [("image", picture.getvalue()), ("mask", mask.getvalue())]
    async with OpenAIEmulator(dialect) as emulator:
        assert await status_of(emulator, EDIT, PICTURE, files) == status


@pytest.mark.parametrize(
    ("streams_events", "body", "kind"),
    [
        (False, {"stream": True, "response_format": "pcm"}, "audio/pcm"),
        (False, {"stream": True}, "audio/wav"),
        (True, {"stream": True}, "text/event-stream"),
        (True, {"stream_format": "sse"}, "text/event-stream"),
        (False, {"stream_format": "sse"}, "audio/wav"),
        (True, {"stream": True, "stream_format": "audio", "response_format": "pcm"}, "audio/pcm"),
        (False, {"stream": True, "stream_format": "audio", "response_format": "pcm"}, "audio/pcm"),
    ],
)
async def test_what_a_stream_is_depends_on_the_version_of_vllm_omni(streams_events, body, kind):
    async with (
        OpenAIEmulator("vllm_omni", streams_events=streams_events) as emulator,
        aiohttp.ClientSession(headers={"Authorization": "Bearer sk-test"}) as session,
        session.post(f"{emulator.base_url}{SPEECH}", json={"input": "a"} | body) as reply,
    ):
        assert (reply.status, reply.content_type) == (200, kind)
        assert await reply.read()


async def test_an_engine_tells_how_much_it_has_to_do_and_whether_it_is_well():
    async with OpenAIEmulator("vllm_omni") as emulator, aiohttp.ClientSession() as session:
        emulator.load = 3
        url = emulator.base_url.removesuffix("/v1") + "/metrics"
        async with session.get(url) as reply:
            assert (reply.status, "waiting 3.0" in await reply.text()) == (200, True)
        emulator.well = False
        async with session.get(url) as reply:
            assert reply.status == 503
