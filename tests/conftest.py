"""A real service on free ports, as fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calling import Stubs, databases, settings_for_tests, stubs_of
from pixvox import server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True, scope="session")
def folder_of_databases(tmp_path_factory: pytest.TempPathFactory) -> None:
    databases.append(tmp_path_factory.mktemp("databases"))


@pytest.fixture
async def service() -> AsyncIterator[server.Running]:
    async with server.running(settings_for_tests()) as running:
        yield running


@pytest.fixture
async def stubs(service: server.Running) -> AsyncIterator[Stubs]:
    async with stubs_of(service.target) as reached:
        yield reached
