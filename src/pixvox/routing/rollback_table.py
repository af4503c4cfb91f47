"""The statements on the table of rollbacks, and the reading of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pixvox.database.schema import ROLLBACKS
from pixvox.routing.rollbacks import Rollback

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

_FIELDS = ("route", "target", "fingerprint", "measure", "message", "time")


class RollbackTable:
    """Statements, each to be executed in a transaction of its own or beside the other."""

    def keep(self, rollback: Rollback, dialect: Dialect) -> sa.Insert:
        """Insert a rollback, unless another instance has kept one of the same entry."""
        insert = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        row = {name: getattr(rollback, name) for name in _FIELDS}
        return insert(ROLLBACKS).values(row).on_conflict_do_nothing()

    def all(self) -> sa.Select[Any]:
        """Find every rollback, oldest first."""
        return sa.select(ROLLBACKS).order_by(ROLLBACKS.c.time)

    def rollback_of(self, row: sa.Row[Any]) -> Rollback:
        """Return a row as a rollback."""
        return Rollback(**{name: getattr(row, name) for name in _FIELDS})
