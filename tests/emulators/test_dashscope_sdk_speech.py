"""The vendor's own SDK speaks, and makes voices, with the emulator."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import wave
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dashscope
import pytest
from dashscope.audio.qwen_tts_realtime import AudioFormat, QwenTtsRealtime, QwenTtsRealtimeCallback
from dashscope.client.base_api import BaseApi
from dashscope.v2.errors import BadRequestError

from pixvox.testing.dashscope import (
    DashScopeEmulator,
    ErrorEvent,
    Fault,
    expected_pcm,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_TARGET = "qwen3-tts-vc-realtime-2026-01-15"
DESIGN_TARGET = "qwen3-tts-vd-2026-01-26"
# The newer half of the SDK says of itself that it is a preview.
pytestmark = pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview:FutureWarning")


async def test_speaks_into_a_file(sdk, session):
    response = await asyncio.to_thread(
        dashscope.MultiModalConversation.call,
        model="qwen3-tts-flash",
        text="Good morning.",
        voice="Cherry",
        language_type="English",
    )
    assert response.status_code == 200
    assert response.output.finish_reason == "stop"
    assert response.usage["characters"] == 13
    async with session.get(response.output.audio["url"]) as download:
        data = await download.read()
    with wave.open(io.BytesIO(data)) as file:
        assert file.getframerate() == 24000
        assert file.readframes(file.getnframes()) == expected_pcm("Good morning.", "Cherry")


async def test_streams_speech(sdk):
    def listen():
        return list(
            dashscope.MultiModalConversation.call(
                model="qwen3-tts-flash", text="Good morning, 世界.", voice="Serena", stream=True
            )
        )

    responses = await asyncio.to_thread(listen)
    assert {response.status_code for response in responses} == {200}
    sound = b"".join(base64.b64decode(response.output.audio["data"]) for response in responses)
    assert sound == expected_pcm("Good morning, 世界.", "Serena")
    assert [response.output.finish_reason for response in responses[-2:]] == ["null", "stop"]
    assert responses[-1].output.audio["url"].startswith("http://")
    assert responses[-1].usage["characters"] == 19
    assert sdk.requests[0].operation == "speech_sse"
    assert len(sdk.requests[0].chunks_at) == len(responses) - 1


async def test_a_stream_that_breaks_off_gives_the_error(sdk):
    sdk.faults.add(Fault("speech_sse", ErrorEvent("InternalError.Algo", "It broke.", after=2)))

    def listen():
        return list(
            dashscope.MultiModalConversation.call(
                model="qwen3-tts-flash", text="Good morning.", voice="Cherry", stream=True
            )
        )

    responses = await asyncio.to_thread(listen)
    assert [response.status_code for response in responses] == [200, 200, 400]
    assert (responses[-1].code, responses[-1].message) == ("InternalError.Algo", "It broke.")


async def test_the_newer_client_speaks_and_streams(sdk, client):
    http = client.audio.tts.http
    spoken = await asyncio.to_thread(http.synthesize, model="qwen3-tts-flash", text="Hello.", voice="Cherry")
    assert spoken.audio_url.startswith("http://127.0.0.1")
    chunks = await asyncio.to_thread(lambda: list(http.stream(model="qwen3-tts-flash", text="Hello.", voice="Cherry")))
    assert b"".join(chunk.audio for chunk in chunks if chunk.audio) == expected_pcm("Hello.", "Cherry")
    assert chunks[-1].is_final


@dataclass
class Listener(QwenTtsRealtimeCallback):
    events: list[dict] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    close: tuple = ()

    def on_event(self, message) -> None:
        self.events.append(message)

    def on_close(self, close_status_code, close_msg) -> None:
        self.close = (close_status_code, close_msg)
        self.closed.set()

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def sound(self) -> bytes:
        return b"".join(
            base64.b64decode(event["delta"]) for event in self.events if event["type"] == "response.audio.delta"
        )


def realtime(emulator: DashScopeEmulator, model: str, act: Callable[[QwenTtsRealtime], None]) -> Listener:
    listener = Listener()
    speech = QwenTtsRealtime(model, callback=listener, url=f"{emulator.ws_base}/realtime")
    speech.connect()
    # The SDK drops its socket without closing it.
    with speech.ws.sock.sock:
        act(speech)
        assert listener.closed.wait(5)
        speech.thread.join(5)
    return listener


async def test_holds_a_realtime_session(sdk):
    def act(speech: QwenTtsRealtime) -> None:
        speech.update_session(
            "Cherry",
            response_format=AudioFormat.PCM_24000HZ_MONO_16BIT,
            mode="server_commit",
            language_type="English",
            volume=60,
            speech_rate=1.1,
            pitch_rate=0.9,
            bit_rate=128,
            instructions="calm",
            optimize_instructions=True,
        )
        speech.append_text("Hello ")
        speech.append_text("world. Good")
        speech.append_text(" night")
        speech.finish()

    listener = await asyncio.to_thread(realtime, sdk, "qwen3-tts-flash-realtime", act)
    text = "Hello world. Good night"
    expected = expected_pcm(text, "Cherry", speech_rate=1.1, volume=60, pitch_rate=0.9)
    assert listener.sound() == expected
    types = listener.types()
    assert types[:2] == ["session.created", "session.updated"]
    assert types.count("response.done") == 2
    assert types[-1] == "session.finished"
    done = [event["response"]["usage"]["characters"] for event in listener.events if event["type"] == "response.done"]
    assert sum(done) == len(text)
    assert listener.close[0] == 1000
    record = sdk.requests[0]
    assert record.finished
    assert not record.cancelled
    assert [event.json["type"] for event in record.events] == [
        "session.update",
        *["input_text_buffer.append"] * 3,
        "session.finish",
    ]


async def test_a_realtime_session_commits_and_clears(sdk):
    def act(speech: QwenTtsRealtime) -> None:
        speech.update_session("Ethan", mode="commit")
        speech.append_text("Not this.")
        speech.clear_appended_text()
        speech.append_text("But this.")
        speech.commit()
        speech.cancel_response()
        speech.finish()

    listener = await asyncio.to_thread(realtime, sdk, "qwen3-tts-flash-realtime", act)
    assert "input_text_buffer.cleared" in listener.types()
    assert listener.sound() == expected_pcm("But this.", "Ethan")


async def test_clones_lists_and_deletes_a_voice_and_speaks_with_it(sdk):
    def customize(**given):
        return BaseApi.call(
            model="qwen-voice-enrollment", input=given, task_group="audio", task="tts", function="customization"
        )

    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 24000, 0, "NONE", ""))
        writer.writeframes(expected_pcm("a" * 60, "speaker"))
    audio = {"data": f"data:audio/wav;base64,{base64.b64encode(file.getvalue()).decode()}"}
    created = await asyncio.to_thread(
        customize, action="create", target_model=CLONE_TARGET, preferred_name="demo_01", audio=audio, language="en"
    )
    assert (created.status_code, created.usage) == (200, {"count": 1})
    voice = created.output["voice"]
    assert voice.startswith("qwen-tts-vc-demo_01-voice-")

    def act(speech: QwenTtsRealtime) -> None:
        speech.update_session(voice)
        speech.append_text("It is me.")
        speech.finish()

    listener = await asyncio.to_thread(realtime, sdk, CLONE_TARGET, act)
    assert listener.sound() == expected_pcm("It is me.", voice)

    listed = await asyncio.to_thread(customize, action="list", page_index=0, page_size=10)
    assert [entry["voice"] for entry in listed.output["voice_list"]] == [voice]
    deleted = await asyncio.to_thread(customize, action="delete", voice=voice)
    assert deleted.status_code == 200
    again = await asyncio.to_thread(customize, action="delete", voice=voice)
    assert (again.status_code, again.code) == (400, "BadRequest.VoiceNotFound")


async def test_designs_lists_queries_and_deletes_a_voice(sdk, client):
    design = client.audio.voice_design
    created = await asyncio.to_thread(
        design.create,
        target_model=DESIGN_TARGET,
        voice_prompt="deep calm male",
        preview_text="Hello everyone, welcome to the show.",
        preferred_name="demo",
        language="en",
        parameters={"sample_rate": 24000, "response_format": "wav"},
    )
    assert created.target_model == DESIGN_TARGET
    with wave.open(io.BytesIO(base64.b64decode(created.preview_audio["data"]))) as file:
        expected = expected_pcm("Hello everyone, welcome to the show.", created.voice)
        assert file.readframes(file.getnframes()) == expected
    listed = await asyncio.to_thread(design.list)
    assert listed.total_count == 1
    queried = await asyncio.to_thread(design.get, created.voice)
    assert queried.voice_prompt == "deep calm male"
    await asyncio.to_thread(design.delete, created.voice)
    with pytest.raises(BadRequestError) as refused:
        await asyncio.to_thread(design.get, created.voice)
    assert refused.value.code == "VoiceNotFound"
