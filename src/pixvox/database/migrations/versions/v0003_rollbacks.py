"""The canaries that lost their weight."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pixvox.database.schema import UtcTime

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "rollbacks",
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("measure", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("time", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("route", "target", "fingerprint", name=op.f("pk_rollbacks")),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("rollbacks")
