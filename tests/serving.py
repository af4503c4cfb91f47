"""A real service with routes to emulated vendors and the sandbox."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from calling import Stubs, settings_for_tests, stubs_of
from emulated import provider_table
from pixvox import server
from pixvox.settings import RouteSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pixvox.settings import Settings
    from pixvox.testing.dashscope import DashScopeEmulator

# Limits that a test does not run into by the way.
UNLIMITED = {"requests_per_minute": 0.0, "max_in_flight": 0}


def settings_with(
    providers: Mapping[str, Mapping[str, object]], routes: Mapping[str, Mapping[str, object]], **tables: object
) -> Settings:
    """Settings with these providers and routes; other tables are laid over the defaults."""
    compiled = {name: msgspec.convert(route, RouteSettings) for name, route in routes.items()}
    changed = {
        name: msgspec.convert(table, type(getattr(settings_for_tests(), name))) for name, table in tables.items()
    }
    return msgspec.structs.replace(settings_for_tests(), providers=dict(providers), routes=compiled, **changed)


def vendors(**emulators: DashScopeEmulator) -> dict[str, dict[str, object]]:
    """Tables of providers that ask these emulators."""
    return {name: provider_table(emulator) for name, emulator in emulators.items()}


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Stubs]:
    """Stubs for a service with these settings."""
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        yield stubs
