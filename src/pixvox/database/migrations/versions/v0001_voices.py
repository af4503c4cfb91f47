"""The catalogue of voices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pixvox.database.schema import JSON_OBJECT, UtcTime

revision = "v0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "voices",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider_voice_id", sa.Text),
        sa.Column("provider_request_id", sa.Text, nullable=False),
        sa.Column("language_code", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("consent", JSON_OBJECT),
        sa.Column("labels", JSON_OBJECT, nullable=False),
        sa.Column("receipt", JSON_OBJECT, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
        sa.Column("delete_time", UtcTime),
        sa.CheckConstraint("state IN ('making', 'active', 'deleted', 'purged', 'lost')", name=op.f("ck_voices_state")),
        sa.CheckConstraint("kind IN ('cloned', 'designed')", name=op.f("ck_voices_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voices")),
        sa.UniqueConstraint("provider", "provider_voice_id", name=op.f("uq_voices_provider_provider_voice_id")),
    )
    op.create_index(op.f("ix_voices_create_time_id"), "voices", ["create_time", "id"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("voices")
