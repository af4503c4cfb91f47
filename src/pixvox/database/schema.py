"""The tables of the database, as the newest migration leaves them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UtcTime(sa.TypeDecorator[datetime.datetime]):
    """A point in time, aware of its zone in Python. SQLite keeps it in UTC without saying so."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Return what is kept."""
        if value is None:
            return None
        value = value.astimezone(datetime.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Return what was kept."""
        if value is None:
            return None
        return value.replace(tzinfo=datetime.UTC) if dialect.name == "sqlite" else value.astimezone(datetime.UTC)


JSON_OBJECT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# The catalogue of made voices. A row is there before its provider is asked, so that no voice is made without a trace.
VOICES = sa.Table(
    "voices",
    METADATA,
    # "voices/" and a unique id, as in pixvox.v1.Voice.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    # making and lost are known to nobody but the service: a provider may be at work, or may have been.
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    # NULL until the provider has told it.
    sa.Column("provider_voice_id", sa.Text),
    sa.Column("provider_request_id", sa.Text, nullable=False),
    sa.Column("language_code", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    # The messages Consent and Receipt in the JSON of protobuf.
    sa.Column("consent", JSON_OBJECT),
    sa.Column("labels", JSON_OBJECT, nullable=False),
    sa.Column("receipt", JSON_OBJECT, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("delete_time", UtcTime),
    # Whether it is spoken from what is in voice_references, because its provider keeps no voices.
    sa.Column("by_reference", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("state IN ('making', 'active', 'deleted', 'purged', 'lost')", name="state"),
    sa.CheckConstraint("kind IN ('cloned', 'designed')", name="kind"),
    sa.UniqueConstraint("provider", "provider_voice_id"),
    sa.Index(None, "create_time", "id"),
)

# How voices sound whose providers keep none: recordings of persons, which go with their voices when these are purged.
VOICE_REFERENCES = sa.Table(
    "voice_references",
    METADATA,
    # Of a voice that is active or deleted.
    sa.Column("voice_id", sa.Text, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("mime_type", sa.Text, nullable=False),
    # What is said in it, and in which language; empty where that is not known.
    sa.Column("transcript", sa.Text, nullable=False),
    sa.Column("language_code", sa.Text, nullable=False),
    # Of data, in hexadecimal.
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
)

# Calls that came with a request_id: who makes one now, and what became of those that were made.
REQUESTS = sa.Table(
    "requests",
    METADATA,
    # Such as "pixvox.v1.ImageService/GenerateImage"; an id belongs to one method.
    sa.Column("method", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    # SHA-256 of the payload in hexadecimal: of a stream's config alone, whose text has its own.
    sa.Column("fingerprint", sa.Text, nullable=False),
    # NULL where there is none, or it is not known yet.
    sa.Column("text_fingerprint", sa.Text),
    # uncertain: a provider may have done the work, and there is no answer.
    sa.Column("state", sa.Text, nullable=False),
    # Whether a provider may have been asked.
    sa.Column("dispatched", sa.Boolean, nullable=False),
    # A unique id of the try to make the call.
    sa.Column("owner", sa.Text, nullable=False),
    # Why it is uncertain, a reason of the log or of pixvox.v1.ErrorReason; otherwise empty.
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    # Until when the owner counts as alive without a sign of life.
    sa.Column("lease_time", UtcTime, nullable=False),
    # NULL while the call is being made.
    sa.Column("end_time", UtcTime),
    # When the row may go.
    sa.Column("expire_time", UtcTime, nullable=False),
    # The serialised answer, of a stream as `pixvox.idempotency.recordings` packs it; NULL if it was too large.
    sa.Column("answer", sa.LargeBinary),
    sa.CheckConstraint("state IN ('running', 'done', 'uncertain')", name="state"),
    sa.Index(None, "expire_time"),
)

# Canaries that lost their weight; rows are only ever added.
ROLLBACKS = sa.Table(
    "rollbacks",
    METADATA,
    sa.Column("route", sa.Text, primary_key=True),
    # PROVIDER/MODEL.
    sa.Column("target", sa.Text, primary_key=True),
    # Of the weight and the guard in the settings, as `pixvox.routing.guards` makes it.
    sa.Column("fingerprint", sa.Text, primary_key=True),
    # error_rate, p95 or first_audio.
    sa.Column("measure", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("time", UtcTime, nullable=False),
)
