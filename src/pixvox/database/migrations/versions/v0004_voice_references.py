"""How voices sound whose providers keep none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pixvox.database.schema import UtcTime

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Make the table, and tell which voices have a row in it."""
    op.add_column("voices", sa.Column("by_reference", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "voice_references",
        sa.Column("voice_id", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("mime_type", sa.Text, nullable=False),
        sa.Column("transcript", sa.Text, nullable=False),
        sa.Column("language_code", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint("voice_id", name=op.f("pk_voice_references")),
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("voice_references")
    op.drop_column("voices", "by_reference")
