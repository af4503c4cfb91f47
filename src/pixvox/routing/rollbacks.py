"""Keeps which canaries have lost their weight, for every process on the same database and beyond their end.

A rollback belongs to a target's entry in the settings as it was: a changed weight or guard is another entry, which nobody
has rolled back. So rollbacks are only ever added, and instances that run on different files do not undo each other's.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from pixvox.database import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.database import Database
    from pixvox.routing.guards import Measure
    from pixvox.routing.rollback_table import RollbackTable

log = structlog.get_logger("pixvox.routing")

# Between two looks at a database that fails, at most.
LONGEST_WAIT_SECONDS = 60.0
CLOSING_SECONDS = 5.0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class Rollback:
    """How a canary lost its weight.

    Attributes:
        route: Its name.
        target: PROVIDER/MODEL.
        fingerprint: Of the entry in the settings; see `pixvox.routing.guards.fingerprint`.
        measure: By which it was worse.
        message: A sentence with the figures, for a person.
        time: When it happened, aware of its zone.
    """

    route: str
    target: str
    fingerprint: str
    measure: Measure
    message: str
    time: datetime.datetime = field(default_factory=_now)


class Rollbacks:
    """What is known of rollbacks, in memory; the database is read and written beside the calls.

    A database that fails keeps no call waiting and takes no rollback back: it is tried again, less and less often.

    Args:
        database: Where they are kept; None keeps them for the life of this object.
        refresh_seconds: Between two looks for what other processes have added.
        closing_seconds: How long `aclose` tries to keep what is not kept yet.
    """

    def __init__(
        self, database: Database | None, *, refresh_seconds: float = 5.0, closing_seconds: float = CLOSING_SECONDS
    ) -> None:
        self._database = database
        self._refresh_seconds = refresh_seconds
        self._closing_seconds = closing_seconds
        self._known: dict[tuple[str, str, str], Rollback] = {}
        self._unkept: list[Rollback] = []
        self._changed = asyncio.Event()
        self._started = False
        self._closing = False
        self._failing = False
        self._loaded: RollbackTable | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is kept, and look for more from now on; does nothing if that was begun before.

        If the database fails, the service goes on with what it knows until it works again. The first use loads
        SQLAlchemy, so this is for a service whose routes have guards.
        """
        if self._database is None or self._started:
            return
        self._started = True
        wait = await self._exchanged(self._database, self._refresh_seconds, first=True)
        self._task = asyncio.create_task(self._follow(self._database, wait))

    async def aclose(self) -> None:
        """Keep what is not kept yet, for some seconds at most, and end. Comes before the end of the database."""
        self._closing = True
        self._changed.set()
        if self._task is not None:
            try:
                await asyncio.wait((self._task,), timeout=self._closing_seconds)
            finally:
                self._task.cancel()
            await asyncio.wait((self._task,))
            if not self._task.cancelled():
                self._task.result()
        for rollback in self._unkept:
            log.error(
                "a rollback could not be kept; after a restart the canary has its weight again", **_names(rollback)
            )

    def of(self, route: str, target: str, fingerprint: str) -> Rollback | None:
        """Return how a target's entry lost its weight, None if it did not.

        Args:
            route: Its name.
            target: PROVIDER/MODEL.
            fingerprint: Of the entry in the settings that is in force.
        """
        return self._known.get((route, target, fingerprint))

    def add(self, rollback: Rollback) -> None:
        """Put a rollback in force in this process at once, and have it kept; the first of an entry stays."""
        if not self._learnt(rollback):
            return
        log.error("canary rolled back", **_names(rollback))
        if self._database is not None:
            self._unkept.append(rollback)
            self._changed.set()

    def _learnt(self, rollback: Rollback) -> bool:
        key = (rollback.route, rollback.target, rollback.fingerprint)
        return self._known.setdefault(key, rollback) is rollback

    async def _follow(self, database: Database, wait: float) -> None:
        while self._unkept or not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait, 1.0) if self._closing else wait):
                    await self._changed.wait()
            self._changed.clear()
            if self._unkept or not self._closing:
                wait = await self._exchanged(database, wait)

    async def _exchanged(self, database: Database, wait: float, *, first: bool = False) -> float:
        """Keep what is new here and learn what is new there; return how long to wait until the next time."""
        added = list(self._unkept)
        try:
            kept = await self._synchronised(database, added)
        except DatabaseError:
            if not self._failing:
                log.warning("rollbacks are neither kept nor learnt until the database works again")
            self._failing = True
            return min(wait * 2, max(LONGEST_WAIT_SECONDS, self._refresh_seconds))
        if self._failing:
            log.info("rollbacks are kept and learnt again")
        self._failing = False
        del self._unkept[: len(added)]
        for rollback in kept:
            if self._learnt(rollback) and not first:
                log.warning("canary rolled back by another instance", **_names(rollback))
        return self._refresh_seconds

    async def _synchronised(self, database: Database, added: Iterable[Rollback]) -> list[Rollback]:
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(_table)
        table = self._loaded
        async with database.transaction() as connection:
            for rollback in added:
                await connection.execute(table.keep(rollback, connection.dialect))
            return [table.rollback_of(row) for row in await connection.execute(table.all())]


def _names(rollback: Rollback) -> dict[str, str]:
    return {
        "route": rollback.route,
        "target": rollback.target,
        "measure": rollback.measure,
        "message": rollback.message,
    }


def _table() -> RollbackTable:
    # Loads SQLAlchemy; see `pixvox.database.engine`.
    from pixvox.routing.rollback_table import RollbackTable  # noqa: PLC0415

    return RollbackTable()
