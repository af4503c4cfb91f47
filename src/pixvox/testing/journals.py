"""What emulators remember of the requests that they were sent, and how tests wait for them to get on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Record = TypeVar("_Record")


class Changes:
    """That something has happened to a request, for those who wait for it."""

    def __init__(self) -> None:
        self._change = asyncio.Event()

    def changed(self) -> None:
        """Have conditions looked at again."""
        self._change.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition is true; it is asked again whenever something has got further."""
        while not condition():
            self._change.clear()
            await self._change.wait()


class Journal(Changes, Generic[_Record]):
    """All requests.

    Attributes:
        records: In the order of their arrival.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[_Record] = []


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers by their names in lower case, without keys."""
    kept = {name.lower(): value for name, value in headers.items()}
    if "authorization" in kept:
        scheme, _, secret = kept["authorization"].partition(" ")
        kept["authorization"] = f"{scheme} ***" if secret else "***"
    return kept
