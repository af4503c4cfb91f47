"""A real service whose only provider is DashScope, as emulated."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import msgspec

from calling import Stubs, settings_for_tests, stubs_of
from pixvox import client, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from pixvox.testing.dashscope import DashScopeEmulator


def provider_table(emulator: DashScopeEmulator, **fields: object) -> dict[str, object]:
    """The settings of a provider that asks the emulator, with its good key."""
    authority = urlsplit(emulator.http_base).netloc
    table = {"kind": "dashscope", "api_key": "sk-test", "http_base": emulator.http_base, "result_hosts": [authority]}
    return table | {"poll_seconds": 0.01} | fields


@contextlib.asynccontextmanager
async def serving(emulator: DashScopeEmulator, **fields: object) -> AsyncIterator[Stubs]:
    """Stubs for a service that asks the emulator; `fields` are those of the provider's settings."""
    providers = {"qwen": provider_table(emulator, **fields)}
    settings = msgspec.structs.replace(settings_for_tests(), providers=providers)
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        yield stubs


async def failure_of(call: Awaitable[object]) -> client.Failure:
    """What a call fails with."""
    try:
        await call
    except grpc.RpcError as error:
        return client.failure(error)
    raise AssertionError("the call did not fail")
