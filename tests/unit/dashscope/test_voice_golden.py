"""Our requests for voices, field by field against those of the vendor's own SDK for the same intent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import dashscope as sdk
import pytest
from dashscope.api_entities.http_request import close_shared_sync_session
from dashscope.client.base_api import BaseApi
from google.protobuf import json_format

from pixvox.errors import PixvoxError
from pixvox.provider import Recording
from pixvox.providers import dashscope
from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.voices import DashScopeVoices
from pixvox.testing.dashscope import DashScopeEmulator
from pixvox.upstream import Upstream
from pixvox.v1 import model_service_pb2, voice_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FOLDER = Path(__file__).parents[2] / "fixtures" / "dashscope"
NAMES = ("clone_voice", "design_voice", "delete_voice")
# Who asks, and how the connection is used: of no interest to the vendor.
OWN_HEADERS = ("accept-encoding", "connection", "content-length", "host", "user-agent", "x-dashscope-sdk-")


@pytest.fixture(params=NAMES)
def golden(request) -> dict:
    return json.loads((FOLDER / f"{request.param}.json").read_text())


@pytest.fixture
async def emulator() -> AsyncIterator[DashScopeEmulator]:
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
def redirected_sdk(emulator, monkeypatch, tmp_path) -> Iterator[None]:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sdk, "api_key", "sk-test")
    monkeypatch.setattr(sdk, "base_http_api_url", emulator.http_base)
    yield
    close_shared_sync_session()


def sent(emulator: DashScopeEmulator) -> dict:
    """The first request that the emulator got, without what identifies the client."""
    record = emulator.requests[0]
    headers = {name: value for name, value in record.headers.items() if not name.startswith(OWN_HEADERS)}
    return {"method": record.method, "path": record.path, "headers": headers, "body": record.json}


def leaves(value: object, path: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {path: {}} if path and not value else {}
    for name, one in value.items():
        found |= leaves(one, f"{path}.{name}" if path else name)
    return found


async def asked_by_us(emulator: DashScopeEmulator, golden: dict) -> None:
    upstream = Upstream()
    config = dashscope.Config(api_key="sk-test", http_base=emulator.http_base)
    voices = DashScopeVoices(Account(config, upstream))
    model = model_service_pb2.Model(id=golden["model"])
    given = golden["request"]
    # The recording is none and the voice does not exist; only the request matters.
    with contextlib.suppress(PixvoxError):
        if golden["verb"] == "clone":
            request = json_format.ParseDict(given, voice_service_pb2.CloneVoiceRequest())
            data = base64.b64decode(golden["recording"])
            await voices.clone_voice(request, Recording(data, "audio/wav", 3.0), model)
        elif golden["verb"] == "design":
            await voices.design_voice(json_format.ParseDict(given, voice_service_pb2.DesignVoiceRequest()), model)
        else:
            await voices.delete_voice(json_format.ParseDict(given, voice_service_pb2.Voice()))
    await upstream.aclose()


def asked_by_the_sdk(emulator: DashScopeEmulator, golden: dict) -> None:
    arguments = golden["call"]["arguments"]
    if golden["call"]["function"] == "BaseApi.call":
        BaseApi.call(task_group="audio", task="tts", function="customization", **arguments)
        return
    with sdk.Client(api_key="sk-test", base_url=emulator.http_base) as client:
        client.audio.voice_design.create(**arguments)


async def test_what_is_sent_is_what_is_on_record(golden, emulator):
    await asked_by_us(emulator, golden)
    assert sent(emulator) == golden["ours"]


@pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview:FutureWarning")
async def test_what_the_sdk_sends_is_what_is_on_record(golden, emulator, redirected_sdk):
    await asyncio.to_thread(asked_by_the_sdk, emulator, golden)
    assert sent(emulator) == golden["sdk"]


def test_every_difference_is_explained_and_nothing_else_differs(golden):
    theirs, ours = leaves(golden["sdk"]), leaves(golden["ours"])
    different = {path for path in theirs.keys() | ours.keys() if theirs.get(path) != ours.get(path)}
    assert different == golden["differences"].keys()
    assert all(golden["differences"].values())
