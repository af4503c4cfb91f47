"""The service's own database: SQLite by default, PostgreSQL for several instances; migrated when the service starts."""

from __future__ import annotations

from pixvox.database.engine import Database, DatabaseError

__all__ = ["Database", "DatabaseError"]
