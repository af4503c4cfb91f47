"""A pytest plugin with the emulators and the conformance kit as fixtures.

A test suite names it, ``pytest_plugins = ["pixvox.testing.plugin"]``, and imports the fixtures' parts when they are used. It
is no entry point of pytest's: pixvox is installed by whoever calls the service, and their test runs have nothing to do with it.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pixvox.testing.dashscope import DashScopeEmulator

if importlib.util.find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def dashscope_emulator() -> AsyncIterator[DashScopeEmulator]:
        """Give an emulated DashScope on a free port whose only good key is ``sk-test``."""
        # Here, so that a test run that does not use it loads neither aiohttp nor Pillow.
        from pixvox.testing.dashscope import DashScopeEmulator  # noqa: PLC0415

        async with DashScopeEmulator() as emulator:
            yield emulator


@pytest.fixture(scope="session")
def conformance() -> Callable[..., None]:
    """Give a function that checks a provider, ``conformance("acme", {"colour": "blue"})``, with all checks in one test.

    `pixvox.testing.conformance.conformance_tests` takes the same arguments and makes a test of each check.
    """

    def check(kind: str, table: Mapping[str, Any] | None = None, *, only: tuple[str, ...] = (), **options: Any) -> None:  # noqa: ANN401
        from pixvox.testing.conformance import Result, Subject, chosen, lines, run  # noqa: PLC0415

        outcomes = list(run(Subject(kind, table, **options), chosen(only)))
        failed = [one for one in outcomes if one.result is Result.FAIL]
        if failed:
            pytest.fail("\n".join(line for one in failed for line in (one.check, *lines(one))), pytrace=False)

    return check
