"""The catalogue keeps what voices are spoken from as long as the voices, and not a byte longer, on every database."""

from __future__ import annotations

import asyncio
import datetime
import random
from pathlib import Path

import alembic.command
import alembic.config
import pytest
import sqlalchemy as sa

from databases import database, database_url, postgres
from pixvox.database import Database, DatabaseError, migrate
from pixvox.database.address import address_of
from pixvox.database.schema import VOICE_REFERENCES, VOICES
from pixvox.provider import Reference
from pixvox.v1 import voice_service_pb2
from pixvox.v1.voice_service_pb2 import Voice
from pixvox.voices import VoiceStore, new_voice_id

__all__ = ["database", "database_url", "postgres"]

ACTIVE = voice_service_pb2.VOICE_STATE_ACTIVE
DELETED = voice_service_pb2.VOICE_STATE_DELETED
PURGED = voice_service_pb2.VOICE_STATE_PURGED
# Longer than a page of either database, and unlike anything else in it.
RECORDING = random.Random(7).randbytes(300_000)
REFERENCE = Reference(RECORDING, "audio/wav", "Ich bin’s — 你好.", "de")


@pytest.fixture
def store(database) -> VoiceStore:
    return VoiceStore(database)


def voice(**fields: object) -> Voice:
    made = Voice(
        id=new_voice_id(),
        kind=voice_service_pb2.VOICE_KIND_CLONED,
        display_name="Narrator",
        provider="echo",
        model="echo-1",
        **fields,
    )
    made.create_time.FromDatetime(datetime.datetime.now(datetime.UTC))
    return made


async def finished(store: VoiceStore, reference: Reference | None = REFERENCE) -> Voice:
    made = voice()
    await store.begin(made)
    made.state = ACTIVE
    made.provider_voice_id = f"upstream-{made.id}"
    assert await store.finish(made, reference)
    return made


def blocking(url: str) -> sa.Engine:
    return sa.create_engine(address_of(url).blocking_url, poolclass=sa.NullPool)


def rows(url: str, statement: str = "SELECT voice_id, data, sha256 FROM voice_references") -> list[tuple]:
    """What another process finds in the database."""
    with blocking(url).begin() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def in_files_of(url: str) -> bool:
    """Whether a piece of the recording is in the files of an SQLite, its log included."""
    file = address_of(url).file
    piece = RECORDING[150_000:150_100]
    return any(piece in path.read_bytes() for path in Path(file).parent.glob(f"{Path(file).name}*"))


async def test_a_reference_comes_back_with_its_voice_as_it_was_given(store):
    made = await finished(store)
    kept = await store.kept(made.id)
    assert (kept.voice, kept.by_reference, kept.reference) == (made, True, REFERENCE)
    assert await store.get(made.id) == made


async def test_a_voice_that_its_provider_keeps_has_none(store, database_url):
    made = await finished(store, None)
    kept = await store.kept(made.id)
    assert (kept.voice, kept.by_reference, kept.reference) == (made, False, None)
    assert rows(database_url) == []


async def test_ids_that_no_voice_has_are_not_kept(store):
    begun = voice()
    await store.begin(begun)
    for unlikely in ("", "Cherry", "voices/\0" + "0" * 31, new_voice_id(), begun.id):
        assert await store.kept(unlikely) is None


async def test_a_deleted_voice_keeps_its_reference_and_does_not_give_it_out(store, database_url):
    made = await finished(store)
    await store.delete(made.id)
    kept = await store.kept(made.id)
    assert (kept.voice.state, kept.by_reference, kept.reference) == (DELETED, True, None)
    assert [row[0] for row in rows(database_url)] == [made.id]
    await store.undelete(made.id)
    assert (await store.kept(made.id)).reference == REFERENCE


async def test_a_purge_leaves_nothing_of_a_recording_in_the_database(store, database_url):
    made, other = await finished(store), await finished(store, Reference(b"another", "audio/mpeg"))
    if address_of(database_url).file is not None:
        assert in_files_of(database_url)
    await store.delete(made.id)
    assert (await store.purge(made.id)).state == PURGED
    assert [row[0] for row in rows(database_url)] == [other.id]
    if address_of(database_url).file is not None:
        # While the service runs on, which has the file open.
        assert not in_files_of(database_url)
    assert (await store.kept(made.id)).reference is None
    assert (await store.kept(other.id)).reference.data == b"another"


async def test_a_purge_of_a_voice_without_a_reference_takes_nobody_elses(store, database_url):
    made, other = await finished(store), await finished(store, None)
    await store.purge(other.id)
    await store.purge(new_voice_id())
    assert await store.purge("Cherry") is None
    assert [row[0] for row in rows(database_url)] == [made.id]


async def test_finishing_twice_keeps_one_reference(store, database_url):
    made = await finished(store)
    assert await store.finish(made, REFERENCE)
    assert len(rows(database_url)) == 1


async def test_a_voice_that_is_not_finished_leaves_no_reference(store, database_url):
    assert not await store.finish(voice(provider_voice_id="x"), REFERENCE)
    purged = await finished(store)
    await store.purge(purged.id)
    assert not await store.finish(purged, REFERENCE)
    first, second = await finished(store, None), voice()
    await store.begin(second)
    second.provider_voice_id = first.provider_voice_id
    with pytest.raises(DatabaseError):
        await store.finish(second, REFERENCE)
    assert rows(database_url) == []


async def test_without_its_reference_a_voice_is_not_finished(store, database_url):
    begun = voice()
    await store.begin(begun)
    rows(database_url, "ALTER TABLE voice_references RENAME TO away")
    begun.provider_voice_id = "x"
    with pytest.raises(DatabaseError):
        await store.finish(begun, REFERENCE)
    rows(database_url, "ALTER TABLE away RENAME TO voice_references")
    assert rows(database_url, "SELECT state FROM voices") == [("making",)]
    assert await store.finish(begun, REFERENCE)
    assert (await store.kept(begun.id)).reference == REFERENCE


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM voice_references",
        "UPDATE voice_references SET data = 'x'",
        "UPDATE voice_references SET sha256 = ''",
    ],
)
async def test_a_reference_that_is_lost_or_damaged_is_not_given_out(store, database_url, damage):
    made = await finished(store)
    if "data" in damage and address_of(database_url).file is not None:
        damage = damage.replace("'x'", "x'00'")
    rows(database_url, damage)
    kept = await store.kept(made.id)
    assert (kept.voice, kept.by_reference, kept.reference) == (made, True, None)


async def test_of_two_who_purge_and_repeat_the_finish_at_once_no_reference_is_left(store, database_url):
    for _ in range(5):
        made = await finished(store)
        await asyncio.gather(store.purge(made.id), store.finish(made, REFERENCE), store.purge(made.id))
        assert (await store.get(made.id)).state == PURGED
    assert rows(database_url) == []


async def test_twenty_references_at_once_stay_with_their_voices(store):
    references = [Reference(bytes([number]) * 50_000, "audio/wav", str(number)) for number in range(20)]
    made = await asyncio.gather(*(finished(store, one) for one in references))
    kept = await asyncio.gather(*(store.kept(one.id) for one in made))
    assert [one.reference for one in kept] == references


async def test_what_a_transaction_of_erasure_did_is_undone_if_it_fails(database, store, database_url):
    made = await finished(store)

    async def erase() -> None:
        async with database.erasure() as connection:
            await connection.execute(sa.delete(VOICE_REFERENCES))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await erase()
    assert [row[0] for row in rows(database_url)] == [made.id]


async def test_voices_from_before_references_stay_as_they_are(database_url):
    database = await Database.open(database_url)
    made = await finished(VoiceStore(database), None)
    await database.aclose()
    downgrade(database_url, "v0003")
    with blocking(database_url).connect() as connection:
        names = {column["name"] for column in sa.inspect(connection).get_columns("voices")}
    assert names == {column.name for column in VOICES.columns} - {"by_reference"}
    database = await Database.open(database_url)
    kept = await VoiceStore(database).kept(made.id)
    assert (kept.voice, kept.by_reference) == (made, False)
    await database.aclose()


def downgrade(url: str, revision: str) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with blocking(url).begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, revision)
