"""Many writes share few transactions, and recordings of streams come back as they were."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from databases import database, database_url, postgres
from pixvox.database import DatabaseError
from pixvox.database.schema import REQUESTS
from pixvox.idempotency.batches import Batches
from pixvox.idempotency.earlier import RequestKey
from pixvox.idempotency.recordings import Recording, Tapes, unpacked
from pixvox.idempotency.store import RequestStore
from pixvox.v1.speech_service_pb2 import AudioChunk, StreamSpeechResponse

__all__ = ["database", "database_url", "postgres"]


async def test_writes_that_come_together_share_their_transactions(database, monkeypatch):
    transactions = []
    real = database.transaction

    def counted():
        transactions.append(1)
        return real()

    monkeypatch.setattr(database, "transaction", counted)
    store = RequestStore(database, lease_seconds=60, retention_seconds=60)
    keys = [RequestKey("m", str(number)) for number in range(300)]
    assert await asyncio.gather(*(store.claim(key, "f", "o") for key in keys)) == [None] * 300
    assert len(transactions) <= 5
    assert all(await asyncio.gather(*(store.forget(key, "o") for key in keys)))
    await store.aclose()


async def test_writes_on_one_key_are_made_in_their_order(database):
    store = RequestStore(database, lease_seconds=60, retention_seconds=60)
    key = RequestKey("m", "1")
    done = await asyncio.gather(
        store.claim(key, "f", "a"),
        store.forget(key, "a"),
        store.claim(key, "f", "b"),
        store.dispatch(key, "b"),
        store.keep(key, "b", b"x", None),
    )
    assert done == [None, True, None, True, True]
    assert await store.answer(key, "b") == b"x"


async def test_a_failure_is_told_to_all_and_the_next_writes_are_made(database):
    batches = Batches(database)

    async def broken(connection):
        await connection.execute(sa.text("UPDATE nothing SET x = 1"))

    async def fine(connection):
        return (await connection.execute(sa.delete(REQUESTS))).rowcount

    keys = [RequestKey("m", str(number)) for number in range(3)]
    failures = await asyncio.gather(
        batches.run(keys[0], fine), batches.run(keys[1], broken), batches.run(keys[2], fine), return_exceptions=True
    )
    assert [type(one) for one in failures] == [DatabaseError] * 3
    assert len({id(one) for one in failures}) == 3
    assert await batches.run(keys[0], fine) == 0


async def test_a_write_whose_caller_leaves_is_made(database):
    store = RequestStore(database, lease_seconds=60, retention_seconds=60)
    key = RequestKey("m", "1")
    await store.look(key)
    claiming = asyncio.create_task(store.claim(key, "f", "a"))
    await asyncio.sleep(0)
    assert store._batches._waiting
    claiming.cancel()
    await asyncio.wait((claiming,))
    await store.aclose()
    assert (await store.look(key)).owner == "a"


class Written:
    """A call that takes what it is given."""

    def __init__(self) -> None:
        self.messages = []
        self.name = "context"

    async def write(self, message):
        self.messages.append(message)


def chunk(number: int) -> StreamSpeechResponse:
    return StreamSpeechResponse(audio=AudioChunk(sequence=number, data=b"x" * number))


async def test_a_recording_holds_what_was_written_byte_for_byte():
    context, tapes = Written(), Tapes(10_000)
    messages = [StreamSpeechResponse(), *map(chunk, range(40))]
    with Recording(context, tapes) as recording:
        for message in messages:
            await recording.context.write(message)
        packed = bytes(recording.packed)
        assert recording.context.name == "context"
    assert context.messages == messages
    assert list(unpacked(packed)) == [message.SerializeToString() for message in messages]


async def test_a_recording_takes_no_more_memory_than_there_is_and_gives_it_back():
    tapes = Tapes(10_000, memory=1000)
    for _ in range(3):
        with Recording(Written(), tapes) as first, Recording(Written(), tapes) as second:
            await first.write(chunk(600))
            await second.write(chunk(600))
            await second.write(chunk(1))
            assert first.packed
            assert second.packed is None
    assert tapes._free == 1000


@pytest.mark.parametrize("size", [100, 101])
async def test_a_recording_is_no_longer_than_an_answer_may_be(size):
    message = chunk(size)
    whole = len(message.SerializeToString()) + 4
    with Recording(Written(), Tapes(whole - (size - 100))) as recording:
        await recording.write(message)
        assert (recording.packed is None) is (size > 100)
