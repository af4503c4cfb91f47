"""The emulator speaks by HTTP as the vendor does, and its voice can be computed again."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import replace

import pytest

from pixvox.testing.dashscope import ErrorEvent, Fault, NoResult, OddChunks, billed_characters, expected_pcm

PATH = "/services/aigc/multimodal-generation/generation"
AUTHORIZED = {"Authorization": "Bearer sk-test", "x-dashscope-sse": "enable"}


def speech(text: str = "Good morning.", model: str = "qwen3-tts-flash", **given: object) -> dict:
    return {"model": model, "input": {"text": text, "voice": "Cherry", **given}}


async def frames(session, emulator, body) -> list[bytes]:
    async with session.post(f"{emulator.http_base}{PATH}", json=body, headers=AUTHORIZED) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        return (await response.read()).removesuffix(b"\n\n").split(b"\n\n")


def data_of(frame: bytes) -> dict:
    return json.loads(frame.split(b"\ndata:", 1)[1])


def test_the_sound_of_a_text_is_the_sound_of_its_parts():
    whole = expected_pcm("Hello, 世界!", "Cherry")
    assert whole == b"".join(expected_pcm(part, "Cherry") for part in ("Hel", "lo, 世", "", "界!"))
    assert whole != expected_pcm("Hello, 世界!", "Ethan")
    assert any(whole)


def test_rate_speed_and_volume_change_the_sound():
    assert len(expected_pcm("ab", "Cherry", 8000)) * 3 == len(expected_pcm("ab", "Cherry"))
    assert len(expected_pcm("ab", "Cherry", speech_rate=2.0)) * 2 == len(expected_pcm("ab", "Cherry"))
    assert not any(expected_pcm("ab", "Cherry", volume=0))
    assert expected_pcm("ab", "Cherry", pitch_rate=1.5) != expected_pcm("ab", "Cherry")


def test_an_ideograph_is_billed_as_two_characters():
    assert billed_characters("Good morning.") == 13
    assert billed_characters("早安, ok") == 8


async def test_the_frames_of_a_stream_are_written_as_the_vendor_writes_them(dashscope_emulator, session):
    first, *_, last = await frames(session, dashscope_emulator, speech())
    lines = first.split(b"\n")
    assert lines[:3] == [b"id:1", b"event:result", b":HTTP_STATUS/200"]
    assert lines[3].startswith(b'data:{"output":{"audio":{"data":"')
    chunk, end = data_of(first), data_of(last)
    assert (chunk["output"]["finish_reason"], chunk["output"]["audio"]["url"]) == ("null", "")
    assert len(base64.b64decode(chunk["output"]["audio"]["data"])) == 4800
    assert (end["output"]["finish_reason"], end["output"]["audio"]["data"]) == ("stop", "")
    assert end["output"]["audio"]["id"] == f"audio_{end['request_id']}"
    assert end["usage"] == {"characters": 13}


async def test_chunks_are_paced_and_their_times_kept(dashscope_emulator, session):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, chunk_interval=0.02, chunk_milliseconds=200)
    await frames(session, dashscope_emulator, speech())
    times = dashscope_emulator.requests[0].chunks_at
    assert len(times) == 4
    assert all(later - earlier >= 0.019 for earlier, later in itertools.pairwise(times))


async def test_a_failure_within_a_stream_is_a_frame_of_its_own(dashscope_emulator, session):
    dashscope_emulator.faults.add(Fault("speech_sse", ErrorEvent("Throttling", "Later.", after=1)))
    received = await frames(session, dashscope_emulator, speech())
    assert len(received) == 2
    assert received[1].split(b"\n")[1] == b"event:error"
    assert {"code": "Throttling", "message": "Later."}.items() <= data_of(received[1]).items()


async def test_chunks_can_end_within_a_sample(dashscope_emulator, session):
    dashscope_emulator.faults.add(Fault("speech_sse", OddChunks()))
    received = await frames(session, dashscope_emulator, speech())
    chunks = [base64.b64decode(data_of(frame)["output"]["audio"]["data"]) for frame in received]
    assert len(chunks[0]) % 2 == 1
    assert b"".join(chunks) == expected_pcm("Good morning.", "Cherry")


async def test_a_success_without_audio_can_be_ordered(ask, dashscope_emulator, session):
    dashscope_emulator.faults.add(Fault("speech_http", NoResult()))
    dashscope_emulator.faults.add(Fault("speech_sse", NoResult()))
    assert (await ask(PATH, speech())).json["output"]["audio"]["url"] == ""
    (only,) = await frames(session, dashscope_emulator, speech())
    assert data_of(only)["output"]["finish_reason"] == "stop"


async def test_a_legacy_model_bills_tokens(ask):
    answered = await ask(PATH, speech(model="qwen-tts"))
    usage = answered.json["usage"]
    assert usage["output_tokens_details"]["audio_tokens"] == 39
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (speech("x" * 601), "InvalidParameter", "at most 600"),
        (speech(""), "InvalidParameter", "text is required"),
        (speech(voice=None), "InvalidParameter", "voice is required"),
        (speech(voice="cherry"), "invalid_value", "The requested voice 'cherry' is not supported."),
        (speech(language_type="english"), "InvalidParameter", "language_type"),
        (speech(model="qwen3-tts-flash-realtime"), "InvalidParameter", "url error, please check url"),
        (speech(model="qwen3-tts"), "InvalidParameter", "Model not exist."),
        ({"model": "qwen3-tts-flash"}, "BadRequest.EmptyInput", "no input"),
        ({"input": {"text": "a", "voice": "Cherry"}}, "BadRequest.EmptyModel", "no model"),
    ],
)
async def test_speech_that_the_vendor_refuses_is_refused_before_the_stream_begins(ask, body, code, words):
    for headers in ({}, {"X-DashScope-SSE": "enable"}):
        answered = await ask(PATH, body, **headers)
        assert (answered.status, answered.json["code"]) == (400, code)
        assert words in answered.json["message"]
