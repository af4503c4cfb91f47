"""The statements on the tables of voices and of their references, and the reading of their rows."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from google.protobuf import json_format

from pixvox.database.schema import VOICE_REFERENCES, VOICES
from pixvox.provider import Reference
from pixvox.v1 import voice_service_pb2
from pixvox.v1.voice_service_pb2 import Voice

if TYPE_CHECKING:
    from collections.abc import Collection

    from pixvox.voices.store import VoiceChoice

_MAKING, _ACTIVE, _DELETED, _PURGED, _LOST = "making", "active", "deleted", "purged", "lost"
_STATES = {
    _ACTIVE: voice_service_pb2.VOICE_STATE_ACTIVE,
    _DELETED: voice_service_pb2.VOICE_STATE_DELETED,
    _PURGED: voice_service_pb2.VOICE_STATE_PURGED,
}
_KINDS = {
    voice_service_pb2.VOICE_KIND_CLONED: "cloned",
    voice_service_pb2.VOICE_KIND_DESIGNED: "designed",
}
_KINDS_BY_NAME = {name: kind for kind, name in _KINDS.items()}
_TEXTS = (
    "id",
    "display_name",
    "provider",
    "region",
    "model",
    "provider_request_id",
    "language_code",
    "description",
)

_V, _R = VOICES.c, VOICE_REFERENCES.c


class VoiceTable:
    """Statements, each to be executed in a transaction of its own where nothing else is said."""

    def begin(self, voice: Voice) -> sa.Insert:
        """Insert a voice that a provider is about to make."""
        row: dict[str, Any] = {name: getattr(voice, name) for name in _TEXTS}
        row |= {
            "kind": _KINDS[voice.kind],
            "state": _MAKING,
            "consent": json_format.MessageToDict(voice.consent) if voice.HasField("consent") else None,
            "labels": dict(voice.labels),
            "receipt": json_format.MessageToDict(voice.receipt),
            "create_time": voice.create_time.ToDatetime(tzinfo=datetime.UTC),
        }
        return sa.insert(VOICES).values(row)

    def finish(self, voice: Voice, *, by_reference: bool) -> sa.Update:
        """Make it active; if it is spoken from a reference, that is inserted in the same transaction."""
        again = sa.and_(_V.state == _ACTIVE, _V.provider_voice_id == voice.provider_voice_id)
        return (
            sa.update(VOICES)
            .where(_V.id == voice.id, sa.or_(_V.state == _MAKING, again))
            .values(
                state=_ACTIVE,
                region=voice.region,
                model=voice.model,
                provider_voice_id=voice.provider_voice_id,
                provider_request_id=voice.provider_request_id,
                receipt=json_format.MessageToDict(voice.receipt),
                by_reference=by_reference,
            )
        )

    def insert_reference(self, voice_id: str, reference: Reference, sha256: str, now: datetime.datetime) -> sa.Insert:
        """Keep how a voice sounds."""
        return sa.insert(VOICE_REFERENCES).values(
            voice_id=voice_id,
            data=reference.data,
            mime_type=reference.mime_type,
            transcript=reference.transcript,
            language_code=reference.language_code,
            sha256=sha256,
            create_time=now,
        )

    def delete_reference(self, voice_id: str) -> sa.Delete:
        """Remove how a voice sounds, if that is kept."""
        return sa.delete(VOICE_REFERENCES).where(_R.voice_id == voice_id)

    def forget(self, voice_id: str) -> sa.Delete:
        """Remove what was not made."""
        return sa.delete(VOICES).where(_V.id == voice_id, _V.state == _MAKING)

    def lose(self, voice_id: str) -> sa.Update:
        """Keep it as lost."""
        return sa.update(VOICES).where(_V.id == voice_id, _V.state == _MAKING).values(state=_LOST)

    def unfinished(self, before: datetime.datetime) -> sa.Select[Any]:
        """Find what was begun before a time and came to no end."""
        return sa.select(VOICES).where(_V.state == _MAKING, _V.create_time < before).order_by(_V.create_time, _V.id)

    def known(self, provider: str, provider_voice_ids: Collection[str]) -> sa.Select[Any]:
        """Find which ids of a provider are there."""
        return sa.select(_V.provider_voice_id).where(
            _V.provider == provider, _V.provider_voice_id.in_(list(provider_voice_ids))
        )

    def one(self, voice_id: str) -> sa.Select[Any]:
        """Find a made voice."""
        return sa.select(VOICES).where(_V.id == voice_id, _V.state.in_(_STATES))

    def one_to_speak(self, voice_id: str) -> sa.Select[Any]:
        """Find a made voice, and its reference if it is active and has one; columns of the latter have a prefix."""
        to_speak = sa.and_(_R.voice_id == _V.id, _V.state == _ACTIVE)
        columns = (_R.data, _R.mime_type, _R.transcript, _R.language_code, _R.sha256)
        return (
            sa.select(VOICES, *(column.label(f"reference_{column.name}") for column in columns))
            .join_from(VOICES, VOICE_REFERENCES, to_speak, isouter=True)
            .where(_V.id == voice_id, _V.state.in_(_STATES))
        )

    def page(self, choice: VoiceChoice, after: tuple[datetime.datetime, str] | None, most: int) -> sa.Select[Any]:
        """Find made voices in the order of their making."""
        query = sa.select(VOICES).where(_V.state.in_(_STATES if choice.deleted else (_ACTIVE,)))
        if choice.kind:
            query = query.where(_V.kind == _KINDS[choice.kind])
        if choice.provider:
            query = query.where(_V.provider == choice.provider)
        if choice.model:
            query = query.where(_V.model == choice.model)
        if after is not None:
            time, voice_id = after
            query = query.where(sa.or_(_V.create_time > time, sa.and_(_V.create_time == time, _V.id > voice_id)))
        return query.order_by(_V.create_time, _V.id).limit(most)

    def delete(self, voice_id: str, now: datetime.datetime) -> sa.Update:
        """Take an active voice out of use."""
        return sa.update(VOICES).where(_V.id == voice_id, _V.state == _ACTIVE).values(state=_DELETED, delete_time=now)

    def undelete(self, voice_id: str) -> sa.Update:
        """Take a deleted voice back into use."""
        return sa.update(VOICES).where(_V.id == voice_id, _V.state == _DELETED).values(state=_ACTIVE, delete_time=None)

    def purge(self, voice_id: str, now: datetime.datetime) -> sa.Update:
        """Note that it is gone; a voice that was undeleted while its provider deleted it is gone as well.

        Its reference goes in the same transaction.
        """
        return (
            sa.update(VOICES)
            .where(_V.id == voice_id, _V.state.in_((_ACTIVE, _DELETED)))
            .values(state=_PURGED, delete_time=sa.func.coalesce(_V.delete_time, now))
        )

    def reference_of(self, row: sa.Row[Any]) -> Reference | None:
        """Return the reference of a row of `one_to_speak`, None if it has none."""
        if row.reference_data is None:
            return None
        return Reference(
            row.reference_data, row.reference_mime_type, row.reference_transcript, row.reference_language_code
        )

    def voice_of(self, row: sa.Row[Any]) -> Voice:
        """Return a row as a voice; one that was begun or lost has no state."""
        voice = Voice(
            kind=_KINDS_BY_NAME[row.kind],
            state=_STATES.get(row.state, voice_service_pb2.VOICE_STATE_UNSPECIFIED),
            provider_voice_id=row.provider_voice_id or "",
            labels=row.labels,
            **{name: getattr(row, name) for name in _TEXTS},
        )
        voice.create_time.FromDatetime(row.create_time)
        if row.delete_time is not None:
            voice.delete_time.FromDatetime(row.delete_time)
        if row.consent is not None:
            json_format.ParseDict(row.consent, voice.consent, ignore_unknown_fields=True)
        json_format.ParseDict(row.receipt, voice.receipt, ignore_unknown_fields=True)
        return voice
