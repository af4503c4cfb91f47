"""A real service on free ports, as fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calling import Stubs, settings_for_tests, stubs_of
from pixvox import server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def service() -> AsyncIterator[server.Running]:
    async with server.running(settings_for_tests()) as running:
        yield running


@pytest.fixture
async def stubs(service: server.Running) -> AsyncIterator[Stubs]:
    async with stubs_of(service.target) as reached:
        yield reached
