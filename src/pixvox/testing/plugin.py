"""A pytest plugin with the emulators as fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pixvox.testing.dashscope import DashScopeEmulator


@pytest_asyncio.fixture
async def dashscope_emulator() -> AsyncIterator[DashScopeEmulator]:
    """Give an emulated DashScope on a free port whose only good key is ``sk-test``."""
    # Here, so that a test run that does not use it loads neither aiohttp nor Pillow.
    from pixvox.testing.dashscope import DashScopeEmulator  # noqa: PLC0415

    async with DashScopeEmulator() as emulator:
        yield emulator
