"""Our requests for speech, field by field against those of the vendor's own SDK for the same intent."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import dashscope as sdk
import pytest
from dashscope.api_entities.http_request import close_shared_sync_session
from dashscope.audio.qwen_tts_realtime import AudioFormat, QwenTtsRealtime, QwenTtsRealtimeCallback
from google.protobuf import json_format

from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.config import Config
from pixvox.providers.dashscope.speech import DashScopeSpeech
from pixvox.testing.dashscope import DashScopeEmulator
from pixvox.v1 import speech_service_pb2
from raw_vendor import opened

FOLDER = Path(__file__).parents[2] / "fixtures" / "dashscope"
NAMES = ("speech_realtime", "speech_sse", "speech_download")
# Who asks, and how the connection is used: of no interest to the vendor.
OWN_HEADERS = (
    *("accept-encoding", "connection", "content-length", "host", "origin", "sec-websocket-", "upgrade", "user-agent"),
    "x-dashscope-sdk-",
)


@pytest.fixture(params=NAMES)
def golden(request):
    return json.loads((FOLDER / f"{request.param}.json").read_text())


@pytest.fixture
async def emulator():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
def redirected_sdk(emulator, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sdk, "api_key", "sk-test")
    monkeypatch.setattr(sdk, "base_http_api_url", emulator.http_base)
    yield emulator
    close_shared_sync_session()


def sent(emulator):
    """The first request that the emulator got, without what identifies the client and its events."""
    record = emulator.requests[0]
    headers = {name: value for name, value in record.headers.items() if not name.startswith(OWN_HEADERS)}
    events = [{name: value for name, value in one.json.items() if name != "event_id"} for one in record.events]
    return {
        "method": record.method,
        "path": record.path,
        "query": dict(record.query),
        "headers": headers,
        "body": record.json,
        "events": {str(number): one for number, one in enumerate(events)},
    }


def leaves(value, path=""):
    if not isinstance(value, dict):
        return {path: value}
    found = {path: {}} if path and not value else {}
    for name, one in value.items():
        found |= leaves(one, f"{path}.{name}" if path else name)
    return found


async def spoken_by_us(emulator, golden):
    async def text():
        for piece in golden["text"]:
            yield piece

    async with opened() as upstream:
        authority = emulator.http_base.split("/")[2]
        given = {"api_key": "sk-test", "http_base": emulator.http_base, "result_hosts": (authority,)}
        speech = DashScopeSpeech(Account(Config(**given | golden["config"]), upstream), lane=golden["lane"])
        config = json_format.ParseDict(golden["request"], speech_service_pb2.SpeechConfig())
        model = next(one for one in speech.models() if one.id == config.model)
        async with speech.stream_speech(config, text(), model) as stream:
            assert [event async for event in stream.events]
        await speech.aclose()


class _Listener(QwenTtsRealtimeCallback):
    def __init__(self):
        self.closed = threading.Event()

    def on_close(self, close_status_code, close_msg):
        self.closed.set()


def spoken_in_real_time(emulator, golden):
    listener = _Listener()
    call = golden["call"]
    speech = QwenTtsRealtime(
        call["model"], callback=listener, url=f"{emulator.ws_base}/realtime", workspace=call["workspace"]
    )
    speech.connect()
    # The SDK drops its socket without closing it.
    with speech.ws.sock.sock:
        speech.update_session(response_format=AudioFormat.PCM_24000HZ_MONO_16BIT, **call["session"])
        for piece in golden["text"]:
            speech.append_text(piece)
        speech.commit()
        speech.finish()
        assert listener.closed.wait(5)
        speech.thread.join(5)


def spoken_over_http(_emulator, golden):
    answer = sdk.MultiModalConversation.call(**golden["call"])
    if golden["call"].get("stream"):
        list(answer)


async def test_what_is_sent_is_what_is_on_record(golden, emulator):
    await spoken_by_us(emulator, golden)
    assert sent(emulator) == golden["ours"]


async def test_what_the_sdk_sends_is_what_is_on_record(golden, redirected_sdk):
    speak = spoken_in_real_time if "session" in golden["call"] else spoken_over_http
    await asyncio.to_thread(speak, redirected_sdk, golden)
    assert sent(redirected_sdk) == golden["sdk"]


def test_every_difference_is_explained_and_nothing_else_differs(golden):
    theirs, ours = leaves(golden["sdk"]), leaves(golden["ours"])
    different = {path for path in theirs.keys() | ours.keys() if theirs.get(path) != ours.get(path)}
    assert different == golden["differences"].keys()
    assert all(golden["differences"].values())
