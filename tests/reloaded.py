"""A real service in this process whose settings file can be changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from calling import fault, settings_for_tests, stubs_of, until
from pixvox import server
from pixvox.configuration import Source
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from calling import Stubs
    from pixvox.configuration import Loaded

DIGEST = "pixvox-config-digest"
SANDBOX = '[providers.sandbox]\nkind = "sandbox"\nfaults = {}\n'
TWO = SANDBOX + '[providers.other]\nkind = "sandbox"\n'
SMALL = GenerateImageRequest(prompt="x", size=media_pb2.Size(width=8, height=8))
SLOW = GenerateImageRequest(prompt="x", provider_options=fault(kind="stall", seconds=600))


@dataclass
class Served:
    """A service in this process whose file can be changed."""

    running: server.Running
    file: Path
    stubs: Stubs
    ask: asyncio.Event

    @property
    def digest(self) -> str:
        return self.running.current.digest

    def provider(self, name: str = "sandbox") -> object:
        return self.running.current.router.entry(name).provider

    async def changed(self, text: str) -> None:
        """Write the file and wait until it is in force."""
        before = self.running.current.generation
        self.file.write_text(text)
        await until(lambda: self.running.current.generation is not before)


def started_with(file: Path, text: str, watch_seconds: float, database: str) -> Loaded:
    file.write_text(text)
    given = settings_for_tests()
    overrides = {
        "server.listen": given.server.listen,
        "server.http": given.server.http,
        "server.grace_seconds": 0.3,
        "server.watch_seconds": watch_seconds,
        "database.url": database or given.database.url,
    }
    return Source.find(file, overrides, {}).read()


@contextlib.asynccontextmanager
async def serving(file: Path, text: str, watch_seconds: float = 0.02, database: str = "") -> AsyncIterator[Served]:
    loaded = started_with(file, text, watch_seconds, database)
    ask = asyncio.Event()
    async with (
        server.running(loaded.settings, loaded=loaded, reload=ask) as running,
        stubs_of(running.target) as stubs,
    ):
        yield Served(running, file, stubs, ask)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path / "pixvox.toml", SANDBOX.format("true")) as one:
        yield one


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sandboxes that were closed."""
    from pixvox.providers import sandbox

    gone: list[object] = []
    aclose = sandbox.SpeakingSandbox.aclose

    async def noted(self: sandbox.SpeakingSandbox) -> None:
        gone.append(self)
        await aclose(self)

    monkeypatch.setattr(sandbox.SpeakingSandbox, "aclose", noted)
    return gone


async def metrics(served: Served) -> str:
    return await asyncio.to_thread(_get, f"http://{served.running.http}/metrics")


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


async def reloads(served: Served, outcome: str) -> int:
    found = re.search(rf'pixvox_config_reloads_total{{[^}}]*outcome="{outcome}"[^}}]*}} (\d+)', await metrics(served))
    return int(found[1]) if found else 0


async def reloaded(served: Served, outcome: str) -> None:
    """Wait for the first reading of that outcome."""
    async with asyncio.timeout(5):
        while not await reloads(served, outcome):
            pass


async def told(served: Served) -> dict[str, str]:
    """The digest by everything that tells it."""
    health = health_pb2_grpc.HealthStub(served.stubs.channel)
    check, call = health.Check(health_pb2.HealthCheckRequest()), served.stubs.images.GenerateImage(SMALL)
    await check
    await call
    providers = await served.stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())
    side = json.loads(await asyncio.to_thread(_get, f"http://{served.running.http}/healthz"))
    (metric,) = re.findall(r'pixvox_config_info{[^}]*digest="(\w+)"[^}]*} 1', await metrics(served))
    return {
        "health": dict(await check.trailing_metadata())[DIGEST],
        "trailer": dict(await call.trailing_metadata())[DIGEST],
        "providers": providers.config_digest,
        "healthz": side["config_digest"],
        "metric": metric,
    }
