"""Gives signs of life for the calls that this process is making, so that others tell them from those of a dead one."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from typing import TYPE_CHECKING

from pixvox.database import DatabaseError

if TYPE_CHECKING:
    from pixvox.idempotency.earlier import RequestKey
    from pixvox.idempotency.store import RequestStore

# Signs of life in the time of a lease, so that one or two may fail.
SIGNS = 3


class Leases:
    """What is held. One task gives the signs of life, and only while there is something to hold.

    Args:
        store: Where they are noted.
        lease_seconds: How long one is good for.
    """

    def __init__(self, store: RequestStore, lease_seconds: float) -> None:
        self._store = store
        self._pause = lease_seconds / SIGNS
        self._held: set[tuple[RequestKey, str]] = set()
        self._renewing: asyncio.Task[None] | None = None

    def hold(self, key: RequestKey, owner: str) -> None:
        """Keep the row of `key` from lapsing until it is released."""
        self._held.add((key, owner))
        if self._renewing is None or self._renewing.done():
            # Belongs to no call, whose span and record it would keep.
            self._renewing = asyncio.create_task(self._renew(), context=contextvars.Context())

    def release(self, key: RequestKey, owner: str) -> None:
        """Undo `hold`."""
        self._held.discard((key, owner))

    async def aclose(self) -> None:
        """Give no more signs of life."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait((self._renewing,))

    async def _renew(self) -> None:
        await asyncio.sleep(self._pause)
        while self._held:
            # The database has logged it, and the next sign may come in time.
            with contextlib.suppress(DatabaseError):
                await self._store.renew(tuple(self._held))
            await asyncio.sleep(self._pause)
