"""Our requests for pictures, field by field against those of the vendor's own SDK for the same intent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import dashscope as sdk
import msgspec
import pytest
from dashscope.api_entities.http_request import close_shared_sync_session
from google.protobuf import json_format

from pixvox.errors import PixvoxError
from pixvox.provider import Blob
from pixvox.providers import dashscope
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator
from pixvox.upstream import Upstream
from pixvox.v1 import image_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "fixtures" / "dashscope"
NAMES = ("generate_image", "edit_image", "create_task")
# Who asks, and how the connection is used: of no interest to the vendor.
OWN_HEADERS = ("accept-encoding", "connection", "content-length", "host", "user-agent", "x-dashscope-sdk-")


@pytest.fixture(params=NAMES)
def golden(request) -> dict:
    return json.loads((FOLDER / f"{request.param}.json").read_text())


@pytest.fixture
async def emulator():
    # A task that never begins, so that it is only created.
    async with DashScopeEmulator(behaviour=Behaviour(task_pending=1e9)) as running:
        yield running


@pytest.fixture
def redirected_sdk(emulator, monkeypatch, tmp_path) -> Iterator[object]:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sdk, "api_key", "sk-test")
    monkeypatch.setattr(sdk, "base_http_api_url", emulator.http_base)
    yield sdk
    close_shared_sync_session()


def sent(emulator: DashScopeEmulator) -> dict:
    """The first request that the emulator got, without what identifies the client."""
    record = emulator.requests[0]
    headers = {name: value for name, value in record.headers.items() if not name.startswith(OWN_HEADERS)}
    return {"method": record.method, "path": record.path, "headers": headers, "body": record.json}


def leaves(value: object, path: str = "") -> dict[str, object]:
    match value:
        case dict():
            items = value.items()
        case list():
            items = ((str(index), one) for index, one in enumerate(value))
        case _:
            return {path: value}
    found: dict[str, object] = {}
    for name, one in items:
        found |= leaves(one, f"{path}.{name}" if path else name)
    return found


async def test_what_is_sent_is_what_is_on_record(golden, emulator):
    upstream = Upstream()
    table = {"api_key": "sk-test", "http_base": emulator.http_base, "poll_seconds": 0.01} | golden["config"]
    provider = dashscope.create(msgspec.convert(table, type=dashscope.Config), upstream)
    [model] = [one for one in provider.models() if one.id == golden["request"]["model"]]
    # The pictures of the record are no pictures, and the task never ends: only the request matters.
    with contextlib.suppress(PixvoxError, TimeoutError):
        async with asyncio.timeout(0.3):
            if "images" in golden:
                request = json_format.ParseDict(golden["request"], image_service_pb2.EditImageRequest())
                images = [Blob("image/png", base64.b64decode(data)) for data in golden["images"]]
                await provider.edit_image(request, images, None, model)
            else:
                request = json_format.ParseDict(golden["request"], image_service_pb2.GenerateImageRequest())
                await provider.generate_image(request, model)
    await upstream.aclose()
    assert sent(emulator) == golden["ours"]


async def test_what_the_sdk_sends_is_what_is_on_record(golden, emulator, redirected_sdk):
    thing, function = golden["call"]["function"].split(".")
    call = getattr(getattr(redirected_sdk, thing), function)
    await asyncio.to_thread(call, **golden["call"]["arguments"])
    assert sent(emulator) == golden["sdk"]


def test_every_difference_is_explained_and_nothing_else_differs(golden):
    theirs, ours = leaves(golden["sdk"]), leaves(golden["ours"])
    different = {path for path in theirs.keys() | ours.keys() if theirs.get(path) != ours.get(path)}
    assert different == golden["differences"].keys()
    assert all(golden["differences"].values())
