"""Connections to the database through SQLAlchemy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from pixvox.database.address import Address

# How long one write of SQLite waits for another.
BUSY_SECONDS = 10.0
CONNECT_SECONDS = 10


class Connections:
    """The pool of one database.

    Attributes:
        failures: What its transactions raise when the database is at fault.
    """

    failures: tuple[type[Exception], ...] = (SQLAlchemyError,)

    def __init__(self, address: Address) -> None:
        """Prepare the pool; nothing is connected yet."""
        options: dict[str, object] = (
            {"connect_args": {"timeout": BUSY_SECONDS}}
            if address.file is not None
            # A server that was restarted has closed what the pool still holds.
            else {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
        )
        # Parameters of a statement are names and consents of people.
        self._engine = create_async_engine(address.url, hide_parameters=True, **options)

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Give a connection in a transaction for the block."""
        return self._engine.begin()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
