"""The calls that came with a request_id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pixvox.database.schema import UtcTime

revision = "v0002"
down_revision = "v0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "requests",
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("text_fingerprint", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("dispatched", sa.Boolean, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
        sa.Column("lease_time", UtcTime, nullable=False),
        sa.Column("end_time", UtcTime),
        sa.Column("expire_time", UtcTime, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.CheckConstraint("state IN ('running', 'done', 'uncertain')", name=op.f("ck_requests_state")),
        sa.PrimaryKeyConstraint("method", "request_id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_expire_time"), "requests", ["expire_time"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("requests")
