"""Runs the writes of many calls in few transactions, for a commit takes longer than what is written in it."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pixvox.database import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from pixvox.database import Database
    from pixvox.idempotency.earlier import RequestKey

    Write = Callable[[AsyncConnection], Awaitable[Any]]

T = TypeVar("T")

MOST = 100


class Batches:
    """What comes while a transaction is under way waits for it, and shares the next one.

    Writes on the same key are made in the order in which they came. Every write has to begin with a statement that changes
    something: SQLite does not let a transaction write that has read what another one has changed since.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def run(self, key: RequestKey, write: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Make a write, and return what it returns once it is committed; it goes on if the caller is cancelled.

        Raises:
            DatabaseError: The transaction failed; whether it was committed is not known.
        """
        waiting = _Waiting(key, write, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None or self._working.done():
            # Belongs to no call, whose span and record it would keep.
            self._working = asyncio.create_task(self._work(), context=contextvars.Context())
        result: T = await asyncio.shield(waiting.result)
        return result

    async def aclose(self) -> None:
        """Wait until everything is written."""
        while self._working is not None and not self._working.done():
            await asyncio.wait((self._working,))

    async def _work(self) -> None:
        while self._waiting:
            # Instances that take the rows of a batch in the same order cannot wait for each other in a circle.
            batch = sorted(self._waiting[:MOST], key=lambda one: one.key)
            del self._waiting[:MOST]
            try:
                await self._written(batch)
            finally:
                for one in batch:
                    # Only after a fault of the program is there anything left to cancel.
                    one.result.cancel()

    async def _written(self, batch: list[_Waiting]) -> None:
        try:
            async with self._database.transaction() as connection:
                results = [await one.write(connection) for one in batch]
        except DatabaseError as error:
            for one in batch:
                # One exception that is raised in many tasks would gather the traces of them all.
                one.result.set_exception(DatabaseError(error.message))
                # A caller that has left does not ask.
                one.result.exception()
        else:
            for one, result in zip(batch, results, strict=True):
                one.result.set_result(result)


@dataclass(frozen=True, slots=True)
class _Waiting:
    key: RequestKey
    write: Write
    result: asyncio.Future[Any]
