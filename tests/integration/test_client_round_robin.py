"""Clients that know several addresses of the service share their calls out among them, as docs/deploy.md tells them to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import grpc
import pytest

from pixvox import client
from pixvox.v1.model_service_pb2 import ListModelsRequest
from pixvox.v1.model_service_pb2_grpc import ModelServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Connect = Callable[[str], grpc.aio.Channel]

DOCS = Path(__file__).parents[2] / "docs" / "deploy.md"
CALLS = 20


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[dict[str, str]]:
    """A `pixvox serve` of its own; its addresses, as its log says them."""
    file = sandboxed(folder)
    machine = {name: value for name, value in os.environ.items() if not name.startswith(("PIXVOX_", "QWEN_", "OTEL_"))}
    arguments = ("serve", "--config", str(file), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pixvox.cli", *arguments),
        cwd=folder,
        env=machine | {"PIXVOX_LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    reading = None
    try:
        while (line := json.loads(await process.stderr.readline()))["event"] != "serving":
            pass
        reading = asyncio.create_task(process.stderr.read())
        yield line
    finally:
        process.terminate()
        await process.wait()
        if reading is not None:
            await reading


def sandboxed(folder: Path) -> Path:
    """A file of settings in a new folder."""
    folder.mkdir()
    file = folder / "pixvox.toml"
    file.write_text('[providers.sandbox]\nkind = "sandbox"\n')
    return file


async def answered(http: str) -> int:
    """How many calls of ListModels a gateway has had."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{http}/metrics") as answer:
        text = await answer.text()
    lines = re.findall(r"^rpc_server_call_duration_seconds_count\{(.*)\} (\S+)$", text, re.MULTILINE)
    return sum(int(float(count)) for labels, count in lines if "ListModels" in labels)


def documented() -> str:
    """The service config in docs/deploy.md."""
    (block,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert json.loads(block)
    return block


def as_documented(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, options=[("grpc.service_config", documented())])


def without(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target)


async def shares(folder: Path, connect: Connect, *, together: bool = True) -> list[int]:
    """How many of the calls over one channel each of two gateways has had, once the channel has both of them."""
    async with gateway(folder / "first") as first, gateway(folder / "second") as second:
        both = [first["http"], second["http"]]
        async with connect(f"ipv4:{first['listen']},{second['listen']}") as channel:
            models = ModelServiceStub(channel)
            if together:
                await connected(models, both)
            before = [await answered(http) for http in both]
            for _ in range(CALLS):
                await models.ListModels(ListModelsRequest(), timeout=30)
            after = [await answered(http) for http in both]
    return [late - early for late, early in zip(after, before, strict=True)]


async def connected(models: ModelServiceStub, gateways: list[str]) -> None:
    """Call until each has answered: a channel begins with the address that is connected first."""
    async with asyncio.timeout(60):
        while not all([await answered(http) for http in gateways]):
            await models.ListModels(ListModelsRequest(), timeout=30, wait_for_ready=True)


@pytest.mark.parametrize("connect", [as_documented, client.connect_aio], ids=["grpc", "pixvox.client"])
async def test_calls_over_one_channel_are_shared_out_among_the_gateways(tmp_path, connect):
    assert await shares(tmp_path, connect) == [CALLS / 2, CALLS / 2]


async def test_a_channel_that_is_not_told_to_share_asks_one_gateway_alone(tmp_path):
    assert sorted(await shares(tmp_path, without, together=False)) == [0, CALLS]


async def test_the_calls_of_a_gateway_that_goes_away_reach_the_other_one(tmp_path):
    async with contextlib.AsyncExitStack() as leaving, gateway(tmp_path / "second") as second:
        first = await leaving.enter_async_context(gateway(tmp_path / "first"))
        async with as_documented(f"ipv4:{first['listen']},{second['listen']}") as channel:
            models = ModelServiceStub(channel)
            await connected(models, [first["http"], second["http"]])
            await leaving.aclose()
            before = await answered(second["http"])
            for _ in range(CALLS):
                await models.ListModels(ListModelsRequest(), timeout=30)
            assert await answered(second["http"]) - before == CALLS
