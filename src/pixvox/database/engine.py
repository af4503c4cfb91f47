"""The open database: transactions, and what goes wrong in them as our own error. SQLAlchemy is loaded at the first use."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from pixvox.database.address import address_of
from pixvox.database.migrate import migrate
from pixvox.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from pixvox.database.address import Address
    from pixvox.database.connections import Connections

log = structlog.get_logger("pixvox.database")


class DatabaseError(ServiceError):
    """The service's own database cannot be reached, or failed."""


class Database:
    """One database, shared by all that keep something. Its connections are opened when they are needed.

    Made by `open`.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._opening = asyncio.Lock()
        self._connections: Connections | None = None
        self._closed = False

    @classmethod
    async def open(cls, url: str) -> Database:
        """Bring the database to the schema of today and return it.

        Args:
            url: Such as ``sqlite+aiosqlite:///pixvox.db`` or ``postgresql+psycopg://user:password@host/name``.

        Raises:
            SettingsError: It is no address of a database, or the database cannot be used.
        """
        address = address_of(url)
        if await asyncio.to_thread(migrate, address):
            log.info("database migrated", database=address.shown)
        return cls(address)

    def __repr__(self) -> str:
        return f"Database({self._address.shown})"

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction for the block; leaving it without an exception commits.

        Raises:
            DatabaseError: The database cannot be reached or failed. Whether a commit that failed was made is not known.
        """
        connections = await self._opened()
        try:
            async with connections.transaction() as connection:
                yield connection
        except connections.failures as error:
            log.exception("database failed", database=self._address.shown)
            raise DatabaseError("The service's database failed; its log has the details. Try again later.") from error

    @contextlib.asynccontextmanager
    async def erasure(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction as of `transaction`, after which nothing of what it deleted is left in the files of SQLite.

        Readers that do not end within seconds put that off until the next erasure or the end of the last process.
        PostgreSQL has it in its files until it vacuums the table.

        Raises:
            DatabaseError: As of `transaction`.
        """
        if self._address.file is None:
            async with self.transaction() as connection:
                yield connection
            return
        async with self.transaction() as connection:
            # Deleted pages are overwritten (https://www.sqlite.org/pragma.html#pragma_secure_delete).
            await connection.exec_driver_sql("PRAGMA secure_delete = ON")
            yield connection
        async with self.transaction() as connection:
            # The write-ahead log has the pages as they were when they were written (https://www.sqlite.org/wal.html).
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    async def aclose(self) -> None:
        """Close all connections. Is called once, after the last use."""
        self._closed = True
        if self._connections is not None:
            await self._connections.aclose()

    async def _opened(self) -> Connections:
        async with self._opening:
            if self._closed:
                message = "the database is closed"
                raise RuntimeError(message)
            if self._connections is None:
                # Takes some 200 ms, in which other calls go on.
                self._connections = await asyncio.to_thread(_opened, self._address)
            return self._connections


def _opened(address: Address) -> Connections:
    # A service that is asked nothing about voices starts sooner and stays smaller without SQLAlchemy.
    from pixvox.database.connections import Connections  # noqa: PLC0415

    return Connections(address)
