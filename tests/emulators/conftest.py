"""What the tests of the emulators share."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import dashscope
import pytest
from dashscope.api_entities.http_request import close_shared_sync_session

from pixvox.testing.plugin import dashscope_emulator

if TYPE_CHECKING:
    from pixvox.testing.dashscope import DashScopeEmulator

__all__ = ["dashscope_emulator"]


PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Answered:
    status: int
    json: dict
    headers: Mapping[str, str]


Ask = Callable[..., Awaitable[Answered]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def ask(dashscope_emulator: DashScopeEmulator, session: aiohttp.ClientSession) -> Ask:
    """Give a function that posts JSON to a path of the emulator, or gets it if there is no body."""

    async def asked(path: str, body: object = None, *, key: str = "sk-test", **headers: str) -> Answered:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"Authorization": f"Bearer {key}"}
        method = "GET" if body is None else "POST"
        url = f"{dashscope_emulator.http_base}{path}"
        # aiohttp warns of large bodies that are not files.
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        sent |= {} if body is None else {"Content-Type": "application/json"}
        async with session.request(method, url, data=data, headers=sent) as response:
            return Answered(response.status, await response.json(), response.headers)

    return asked


@pytest.fixture
def sdk(
    dashscope_emulator: DashScopeEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> Iterator[DashScopeEmulator]:
    """Point the vendor's SDK at the emulator, and away from everything of this machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dashscope, "api_key", "sk-test")
    monkeypatch.setattr(dashscope, "base_http_api_url", dashscope_emulator.http_base)
    yield dashscope_emulator
    close_shared_sync_session()


@pytest.fixture
def client(sdk: DashScopeEmulator) -> Iterator[dashscope.Client]:
    with dashscope.Client(api_key="sk-test", base_url=sdk.http_base) as opened:
        yield opened
