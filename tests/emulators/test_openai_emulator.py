"""The emulated engines have the quirks of their dialects."""

from __future__ import annotations

import base64

import aiohttp
import pytest

from pixvox.testing.dashscope import Painting, expected_pcm, painted
from pixvox.testing.openai import Cut, OpenAIEmulator, Refused

HEADERS = {"Authorization": "Bearer sk-test"}
VOICES = {"openai": "alloy", "vllm_omni": "vivian", "localai": "v", "kokoro": "af_heart"}


async def posted(session, emulator, path, body, **headers):
    async with session.post(f"{emulator.base_url}{path}", json=body, headers=HEADERS | headers) as response:
        return response.status, response.content_type, await response.read()


@pytest.mark.parametrize(
    ("dialect", "status"), [("openai", 404), ("vllm_omni", 400), ("sglang", 200), ("localai", 404)]
)
async def test_another_models_name_is_refused_in_the_dialects_way(dialect, status, session):
    async with OpenAIEmulator(dialect) as emulator:
        answer = await posted(session, emulator, "/images/generations", {"model": "other", "prompt": "x"})
    assert answer[0] == status


async def test_openai_refuses_members_that_it_does_not_know_and_others_ignore_them(session):
    body = {"prompt": "x", "num_inference_steps": 3}
    async with OpenAIEmulator("openai") as strict, OpenAIEmulator("vllm_omni") as lax:
        assert (await posted(session, strict, "/images/generations", body))[0] == 400
        assert (await posted(session, lax, "/images/generations", body))[0] == 200


@pytest.mark.parametrize("dialect", ["sglang", "localai"])
async def test_some_name_pictures_by_their_addresses_unless_asked_for_the_bytes(dialect, session):
    expected = painted(Painting("x", (256, 256)))
    async with OpenAIEmulator(dialect) as emulator:
        url = f"{emulator.base_url}/images/generations"
        async with session.post(url, json={"prompt": "x"}, headers=HEADERS) as response:
            address = (await response.json())["data"][0]["url"]
        assert address.startswith("/v1/" if dialect == "sglang" else "http://")
        origin = emulator.base_url.removesuffix("/v1") if dialect == "sglang" else ""
        async with session.get(f"{origin}{address}") as response:
            assert await response.read() == expected
        body = {"prompt": "x", "response_format": "b64_json"}
        async with session.post(url, json=body, headers=HEADERS) as response:
            assert base64.b64decode((await response.json())["data"][0]["b64_json"]) == expected


@pytest.mark.parametrize(
    ("dialect", "fields", "kind"),
    [
        ("openai", {"stream_format": "sse", "response_format": "pcm"}, "text/event-stream"),
        ("openai", {"response_format": "pcm"}, "audio/pcm"),
        ("openai", {}, "audio/mpeg"),
        ("vllm_omni", {"stream": True, "response_format": "pcm"}, "text/event-stream"),
        ("vllm_omni", {}, "audio/wav"),
        ("localai", {}, "audio/wav"),
        ("kokoro", {"response_format": "pcm"}, "audio/pcm"),
    ],
)
async def test_speech_has_the_dialects_default_form(dialect, fields, kind, session):
    async with OpenAIEmulator(dialect) as emulator:
        body = {"input": "hi", "voice": VOICES[dialect]} | fields
        status, found, _ = await posted(session, emulator, "/audio/speech", body)
    assert (status, found) == (200, kind)


async def test_old_versions_of_vllm_omni_answer_a_stream_with_bare_samples(session):
    body = {"input": "hi", "voice": "vivian", "stream": True, "response_format": "pcm"}
    async with OpenAIEmulator("vllm_omni", streams_events=False) as emulator:
        _, kind, data = await posted(session, emulator, "/audio/speech", body)
    assert (kind, data) == ("audio/pcm", expected_pcm("hi", "vivian"))


async def test_a_wrong_key_is_refused_and_never_remembered(session):
    async with OpenAIEmulator("vllm_omni") as emulator:
        answer = await posted(session, emulator, "/audio/speech", {"input": "hi"}, Authorization="Bearer secret")
    assert answer[0] == 401
    assert answer[2] == b'{"error": "Unauthorized"}'
    assert "secret" not in str(emulator.requests)


async def test_faults_come_in_the_order_in_which_they_were_ordered(session):
    async with OpenAIEmulator() as emulator:
        emulator.faults.add("generate", Refused(503, retry_after=7))
        emulator.faults.add("generate", Cut(after=5))
        assert (await posted(session, emulator, "/images/generations", {"prompt": "x"}))[0] == 503
        with pytest.raises(aiohttp.ClientPayloadError):
            await posted(session, emulator, "/images/generations", {"prompt": "x"})
        assert (await posted(session, emulator, "/images/generations", {"prompt": "x"}))[0] == 200
