"""What Alembic runs to migrate: the connection comes from `pixvox.database.migrate`, in a transaction that holds the lock."""

from __future__ import annotations

from alembic import context

from pixvox.database.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
