"""Keeps the calls that came with a request id in the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pixvox.idempotency.batches import Batches

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Delete, Update
    from sqlalchemy.ext.asyncio import AsyncConnection

    from pixvox.database import Database
    from pixvox.idempotency.earlier import Earlier, RequestKey
    from pixvox.idempotency.table import RequestTable

# Rows that are removed in one transaction; each may hold an answer of many megabytes.
PURGED_AT_ONCE = 20


class RequestStore:
    """One row for each request id. Every method raises `DatabaseError` if the database is at fault.

    Whoever makes a call is the `owner` of its row by a unique id of that try, so a try that was overtaken cannot write.

    Args:
        database: The service's own.
        lease_seconds: How long an owner counts as alive after a sign of life.
        retention_seconds: How long a row stays after the end of the call.
    """

    def __init__(self, database: Database, *, lease_seconds: float, retention_seconds: float) -> None:
        self._database = database
        self._batches = Batches(database)
        self._seconds = (lease_seconds, retention_seconds)
        self._loaded: RequestTable | None = None

    async def claim(self, key: RequestKey, fingerprint: str, owner: str) -> Earlier | None:
        """Make a row, or take over one whose owner died before it asked a provider; return None if that was done.

        Else return what is there.
        """
        table = await self._table()
        parameters = _parameters(key, fingerprint=fingerprint, owner=owner)

        async def write(connection: AsyncConnection) -> Earlier | None:
            statement = table.claims[connection.dialect.name]
            while not (await connection.execute(statement, parameters)).rowcount:
                found = (await connection.execute(table.look, parameters)).one_or_none()
                # It can be gone since.
                if found is not None:
                    return table.earlier_of(found)
            return None

        return await self._batches.run(key, write)

    async def look(self, key: RequestKey) -> Earlier | None:
        """Return what is there."""
        table = await self._table()
        async with self._database.transaction() as connection:
            found = (await connection.execute(table.look, _parameters(key))).one_or_none()
        return None if found is None else table.earlier_of(found)

    async def answer(self, key: RequestKey, owner: str) -> bytes | None:
        """Return the answer that was kept, None if it is gone."""
        table = await self._table()
        async with self._database.transaction() as connection:
            answer: bytes | None = await connection.scalar(table.answer, _parameters(key, owner=owner))
        return answer

    async def renew(self, claims: Collection[tuple[RequestKey, str]]) -> None:
        """Give a sign of life of these owners."""
        table = await self._table()
        # In the order of the batches, whose locks it meets.
        parameters = [_parameters(key, owner=owner) for key, owner in sorted(claims)]
        async with self._database.transaction() as connection:
            await connection.execute(table.renew, parameters)

    async def dispatch(self, key: RequestKey, owner: str) -> bool:
        """Note that a provider is about to be asked; return whether the row is still the owner's."""
        table = await self._table()
        return await self._changed(key, table.dispatch, owner=owner)

    async def keep(self, key: RequestKey, owner: str, answer: bytes | None, text_fingerprint: str | None) -> bool:
        """Note that the call was answered, and the answer unless it is None; return whether the row is the owner's."""
        table = await self._table()
        return await self._changed(key, table.keep, owner=owner, answer=answer, text_fingerprint=text_fingerprint)

    async def forget(self, key: RequestKey, owner: str) -> bool:
        """Remove the row of a call that may be made again; return whether it was the owner's."""
        table = await self._table()
        return await self._changed(key, table.forget, owner=owner)

    async def give_up(self, key: RequestKey, owner: str, reason: str) -> bool:
        """Note that the outcome is not known; return whether the row is the owner's."""
        table = await self._table()
        return await self._changed(key, table.give_up, owner=owner, reason=reason)

    async def bury(self, key: RequestKey, reason: str) -> bool:
        """Note the same of a call whose owner died after it asked a provider; return whether there was one."""
        table = await self._table()
        return await self._changed(key, table.bury, reason=reason)

    async def purge(self) -> int:
        """Remove some rows whose time is up; return how many."""
        table = await self._table()
        async with self._database.transaction() as connection:
            return (await connection.execute(table.purge, {"most_": PURGED_AT_ONCE})).rowcount

    async def aclose(self) -> None:
        """Wait until everything is written."""
        await self._batches.aclose()

    async def _changed(self, key: RequestKey, statement: Update | Delete, **fields: object) -> bool:
        parameters = _parameters(key, **fields)

        async def write(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement, parameters)).rowcount == 1

        return await self._batches.run(key, write)

    async def _table(self) -> RequestTable:
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(_table, *self._seconds)
        return self._loaded


def _parameters(key: RequestKey, **fields: object) -> dict[str, object]:
    # A parameter may not have the name of a column.
    return {f"{name}_": value for name, value in (*key._asdict().items(), *fields.items())}


def _table(lease_seconds: float, retention_seconds: float) -> RequestTable:
    # Loads SQLAlchemy; see `pixvox.database.engine`.
    from pixvox.idempotency.table import RequestTable  # noqa: PLC0415

    return RequestTable.of(lease_seconds, retention_seconds)
