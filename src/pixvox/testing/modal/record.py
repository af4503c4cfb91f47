"""Keeps what the emulated edge was asked, so that tests can count it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SECRETS = frozenset({"modal-key", "modal-secret", "authorization"})


@dataclass(slots=True)
class RequestRecord:
    """One request, as far as it has got.

    Attributes:
        operation: ``generate``, ``edit``, ``speech``, ``health``, ``result``, or empty for a path that is not emulated.
        method: Of HTTP.
        path: Without the query.
        query: Decoded.
        headers: Names in lower case, credentials as ``***``.
        status: That was answered, None as long as nothing was.
        fields: That the worker read: text and numbers, without pictures; set when it begins.
        left: Whether the client went away first.
    """

    operation: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    left: bool = False


class Journal:
    """All requests, in the order of arrival."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def begin(
        self, operation: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> RequestRecord:
        """Note a request."""
        shown = {name.lower(): "***" if name.lower() in _SECRETS else value for name, value in headers.items()}
        record = RequestRecord(operation, method, path, dict(query), shown)
        self.records.append(record)
        return record

    def count(self, operation: str) -> int:
        """Return how many requests there were for an operation."""
        return sum(record.operation == operation for record in self.records)

    async def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until a condition is true; raises `TimeoutError` after `seconds`."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions are the tests' own and have no event
                await asyncio.sleep(0.005)
