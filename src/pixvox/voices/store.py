"""Keeps made voices in the database.

A voice is inserted before its provider is asked to make it, and is nobody's business until it is finished: no call gives
it out. So what a process leaves behind when it dies can be looked for at the provider.

A voice whose provider keeps none is spoken from a reference, a recording that is kept here: from the moment in which the voice
is finished to the one in which it is purged, and nowhere but in the database.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.v1 import voice_service_pb2

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Update

    from pixvox.database import Database
    from pixvox.provider import Reference
    from pixvox.v1.voice_service_pb2 import Voice
    from pixvox.voices.table import VoiceTable

ID_PREFIX = "voices/"

_ID = re.compile(f"{ID_PREFIX}[0-9a-f]{{32}}")


@dataclass(frozen=True, slots=True)
class VoiceChoice:
    """Which voices to list; what is unset lets everything through.

    Attributes:
        kind: Cloned or designed.
        provider: Configured name.
        model: Id.
        deleted: Whether deleted and purged voices are listed, too.
    """

    kind: voice_service_pb2.VoiceKind.ValueType = voice_service_pb2.VOICE_KIND_UNSPECIFIED
    provider: str = ""
    model: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class KeptVoice:
    """A made voice, and what it is spoken from.

    Attributes:
        voice: In any state.
        by_reference: Whether it is spoken from a reference, or was until it was purged, because its provider keeps no voices.
        reference: That reference, of an active voice. None if it is lost or damaged.
    """

    voice: Voice
    by_reference: bool
    reference: Reference | None


def new_voice_id() -> str:
    """Return an id that no voice has."""
    return f"{ID_PREFIX}{uuid.uuid4().hex}"


def is_voice_id(text: str) -> bool:
    """Tell whether a made voice can have this id; the database is asked for no other."""
    return _ID.fullmatch(text) is not None


class VoiceStore:
    """The catalogue. Every method is one transaction, and raises `DatabaseError` if the database is at fault.

    A change of state is conditional on the state before it, so of two that cross only one is made.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loaded: VoiceTable | None = None

    async def begin(self, voice: Voice) -> None:
        """Insert a voice that a provider is about to make; its id has to be new."""
        table = await self._table()
        async with self._database.transaction() as connection:
            await connection.execute(table.begin(voice))

    async def finish(self, voice: Voice, reference: Reference | None = None) -> bool:
        """Make a voice that was begun an active one, as its provider has described it.

        May be repeated when it is not known whether the first time was kept.

        Args:
            voice: As it is kept.
            reference: What the voice is spoken from, if its provider does not keep it.

        Returns:
            Whether the voice had been begun and is active now.
        """
        table = await self._table()
        sha256 = "" if reference is None else await _sha256(reference)
        async with self._database.transaction() as connection:
            finish = table.finish(voice, by_reference=reference is not None)
            finished = (await connection.execute(finish)).rowcount == 1
            if finished and reference is not None:
                # That of the first time, if this is a repetition.
                await connection.execute(table.delete_reference(voice.id))
                now = datetime.datetime.now(datetime.UTC)
                await connection.execute(table.insert_reference(voice.id, reference, sha256, now))
        return finished

    async def forget(self, voice_id: str) -> bool:
        """Remove a voice that was begun and not made; return whether it was there."""
        table = await self._table()
        async with self._database.transaction() as connection:
            return (await connection.execute(table.forget(voice_id))).rowcount == 1

    async def lose(self, voice_id: str) -> bool:
        """Note that nobody knows what became of a voice that was begun; return whether that is news."""
        table = await self._table()
        async with self._database.transaction() as connection:
            return (await connection.execute(table.lose(voice_id))).rowcount == 1

    async def unfinished(self, before: datetime.datetime) -> list[Voice]:
        """Return the voices that were begun before a time and came to no end, oldest first."""
        table = await self._table()
        async with self._database.transaction() as connection:
            return [table.voice_of(row) for row in await connection.execute(table.unfinished(before))]

    async def known(self, provider: str, provider_voice_ids: Collection[str]) -> set[str]:
        """Return those of a provider's ids that are in the catalogue, in any state."""
        table = await self._table()
        async with self._database.transaction() as connection:
            return set((await connection.execute(table.known(provider, provider_voice_ids))).scalars())

    async def get(self, voice_id: str) -> Voice | None:
        """Return a made voice in any state, or None."""
        if not is_voice_id(voice_id):
            return None
        table = await self._table()
        async with self._database.transaction() as connection:
            row = (await connection.execute(table.one(voice_id))).one_or_none()
        return None if row is None else table.voice_of(row)

    async def kept(self, voice_id: str) -> KeptVoice | None:
        """Return a made voice in any state with what it is spoken from, or None if there is no such voice."""
        if not is_voice_id(voice_id):
            return None
        table = await self._table()
        async with self._database.transaction() as connection:
            row = (await connection.execute(table.one_to_speak(voice_id))).one_or_none()
        if row is None:
            return None
        reference = table.reference_of(row)
        if reference is not None and await _sha256(reference) != row.reference_sha256:
            reference = None
        return KeptVoice(table.voice_of(row), row.by_reference, reference)

    async def page(self, choice: VoiceChoice, *, after: tuple[datetime.datetime, str] | None, most: int) -> list[Voice]:
        """Return made voices in the order of their making.

        Args:
            choice: Which.
            after: Time and id of the last voice that is not wanted any more.
            most: How many at most.
        """
        if "\0" in choice.provider + choice.model:
            # PostgreSQL takes no such text, and nothing has such a name.
            return []
        table = await self._table()
        async with self._database.transaction() as connection:
            return [table.voice_of(row) for row in await connection.execute(table.page(choice, after, most))]

    async def delete(self, voice_id: str) -> Voice | None:
        """Take an active voice out of use; return the voice as it is now, None if there is none."""
        return await self._changed(
            voice_id, (await self._table()).delete(voice_id, datetime.datetime.now(datetime.UTC))
        )

    async def undelete(self, voice_id: str) -> Voice | None:
        """Take a deleted voice back into use; return the voice as it is now, None if there is none."""
        return await self._changed(voice_id, (await self._table()).undelete(voice_id))

    async def purge(self, voice_id: str) -> Voice | None:
        """Note that a voice is gone for good, and erase its reference; return it as it is now, None if there is none."""
        if not is_voice_id(voice_id):
            return None
        table = await self._table()
        async with self._database.erasure() as connection:
            await connection.execute(table.purge(voice_id, datetime.datetime.now(datetime.UTC)))
            await connection.execute(table.delete_reference(voice_id))
        return await self.get(voice_id)

    async def _changed(self, voice_id: str, change: Update) -> Voice | None:
        if not is_voice_id(voice_id):
            return None
        async with self._database.transaction() as connection:
            await connection.execute(change)
        return await self.get(voice_id)

    async def _table(self) -> VoiceTable:
        if self._loaded is None:
            self._loaded = await asyncio.to_thread(_table)
        return self._loaded


async def _sha256(reference: Reference) -> str:
    # A recording takes some milliseconds.
    return await asyncio.to_thread(lambda: hashlib.sha256(reference.data).hexdigest())


def _table() -> VoiceTable:
    # Loads SQLAlchemy; see `pixvox.database.engine`.
    from pixvox.voices.table import VoiceTable  # noqa: PLC0415

    return VoiceTable()
