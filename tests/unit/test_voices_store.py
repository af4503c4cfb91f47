"""The catalogue keeps voices and their states, on every database."""

from __future__ import annotations

import asyncio
import datetime

import pytest

from databases import database, database_url, postgres
from pixvox.database import DatabaseError
from pixvox.v1 import media_pb2, voice_service_pb2
from pixvox.voices import VoiceChoice, VoiceStore, is_voice_id, new_voice_id

__all__ = ["database", "database_url", "postgres"]

ACTIVE = voice_service_pb2.VOICE_STATE_ACTIVE
DELETED = voice_service_pb2.VOICE_STATE_DELETED
PURGED = voice_service_pb2.VOICE_STATE_PURGED
CLONED = voice_service_pb2.VOICE_KIND_CLONED
DESIGNED = voice_service_pb2.VOICE_KIND_DESIGNED
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture
def store(database) -> VoiceStore:
    return VoiceStore(database)


def voice(
    number: int = 0, kind: int = CLONED, seconds: float | None = None, **fields: object
) -> voice_service_pb2.Voice:
    made = voice_service_pb2.Voice(
        id=new_voice_id(),
        kind=kind,
        display_name=f"Ünïcode 播音员 {number}",
        provider="qwen",
        model="vc-1",
        labels={"team": "audio", "émoji": "🎙"},
        receipt=media_pb2.Receipt(request_id=f"r-{number}"),
        **fields,
    )
    made.create_time.FromDatetime(NOON + datetime.timedelta(seconds=number if seconds is None else seconds))
    if kind == CLONED:
        made.consent.speaker, made.consent.statement = "Ann O'Nymous", "I agree; see contract 7."
        made.consent.consent_time.FromDatetime(NOON)
    else:
        made.description = "warm and low"
    return made


async def kept(store: VoiceStore, begun: voice_service_pb2.Voice) -> voice_service_pb2.Voice:
    """Insert and finish a voice."""
    await store.begin(begun)
    begun.state = ACTIVE
    begun.provider_voice_id = f"upstream-{begun.id}"
    begun.provider_request_id = "p-1"
    begun.region = "sg"
    begun.receipt.CopyFrom(
        media_pb2.Receipt(
            request_id=begun.receipt.request_id,
            provider="qwen",
            region="sg",
            model="vc-1",
            provider_request_id="p-1",
            usage=media_pb2.Usage(voices=1),
            cost=media_pb2.Cost(
                state=media_pb2.COST_STATE_PRICED, amount="0.01", currency="USD", price_table="2026-10"
            ),
        )
    )
    assert await store.finish(begun)
    return begun


async def test_a_finished_voice_comes_back_with_everything_it_has(store):
    made = await kept(store, voice())
    assert await store.get(made.id) == made


async def test_microseconds_of_its_making_are_kept(store):
    made = voice()
    made.create_time.FromDatetime(NOON.replace(microsecond=123_456))
    assert (await store.get((await kept(store, made)).id)).create_time == made.create_time


async def test_a_voice_that_is_being_made_is_given_to_nobody(store):
    begun = voice()
    await store.begin(begun)
    assert await store.get(begun.id) is None
    assert await store.page(VoiceChoice(deleted=True), after=None, most=10) == []
    assert await store.delete(begun.id) is None
    (unfinished,) = await store.unfinished(NOON + datetime.timedelta(seconds=1))
    assert unfinished == begun


async def test_finishing_twice_is_the_same_and_with_another_id_it_is_refused(store):
    made = await kept(store, voice())
    assert await store.finish(made)
    made.provider_voice_id = "another"
    assert not await store.finish(made)


async def test_only_what_was_begun_can_be_finished_forgotten_or_lost(store):
    assert not await store.finish(voice(provider_voice_id="x"))
    made = await kept(store, voice())
    assert not await store.forget(made.id)
    assert not await store.lose(made.id)
    assert await store.get(made.id) == made


async def test_what_was_not_made_is_forgotten_and_what_was_lost_is_lost_once(store):
    for end in (store.forget, store.lose):
        begun = voice()
        await store.begin(begun)
        assert await end(begun.id)
        assert not await end(begun.id)
        assert not await store.finish(begun)
    assert await store.unfinished(NOON + datetime.timedelta(days=1)) == []


async def test_only_what_was_begun_before_a_time_counts_as_unfinished(store):
    for number in (3, 1, 2):
        await store.begin(voice(number))
    found = await store.unfinished(NOON + datetime.timedelta(seconds=3))
    assert [one.receipt.request_id for one in found] == ["r-1", "r-2"]


async def test_deleting_undeleting_and_purging_change_the_state_and_never_back_from_purged(store):
    made = await kept(store, voice())
    deleted = await store.delete(made.id)
    assert deleted.state == DELETED
    assert abs(deleted.delete_time.ToDatetime(tzinfo=datetime.UTC) - datetime.datetime.now(datetime.UTC)).seconds < 60
    assert await store.delete(made.id) == deleted
    assert await store.undelete(made.id) == made
    await store.delete(made.id)
    purged = await store.purge(made.id)
    assert purged.state == PURGED
    for change in (store.delete, store.undelete, store.purge):
        assert await change(made.id) == purged


async def test_purging_a_voice_that_was_not_deleted_sets_the_time_of_deletion(store):
    made = await kept(store, voice())
    assert (await store.purge(made.id)).HasField("delete_time")


async def test_ids_that_no_voice_can_have_are_not_looked_for(store):
    for unlikely in (
        "",
        "Cherry",
        "voices/",
        "voices/1",
        "voices/" + "0" * 32 + "\n",
        "voices/\0" + "0" * 31,
        "VOICES/",
    ):
        assert not is_voice_id(unlikely)
        assert await store.get(unlikely) is None
        assert await store.undelete(unlikely) is None
    assert await store.get(new_voice_id()) is None


async def test_pages_give_every_voice_once_in_the_order_of_making_though_times_are_equal(store):
    made = [await kept(store, voice(number, seconds=number // 4)) for number in range(10)]
    ordered = sorted(made, key=lambda one: (one.create_time.seconds, one.id))
    found, after = [], None
    while page := await store.page(VoiceChoice(), after=after, most=3):
        assert len(page) <= 3
        found += page
        after = (page[-1].create_time.ToDatetime(tzinfo=datetime.UTC), page[-1].id)
    assert found == ordered


async def test_a_page_is_not_disturbed_by_what_is_made_and_deleted_meanwhile(store):
    made = [await kept(store, voice(number)) for number in range(4)]
    first = await store.page(VoiceChoice(), after=None, most=2)
    await store.delete(made[0].id)
    newer = await kept(store, voice(9))
    after = (first[-1].create_time.ToDatetime(tzinfo=datetime.UTC), first[-1].id)
    assert await store.page(VoiceChoice(), after=after, most=10) == [made[2], made[3], newer]


async def test_lists_can_be_narrowed(store):
    clone = await kept(store, voice(1))
    design = await kept(store, voice(2, DESIGNED))
    foreign = voice(3)
    foreign.provider, foreign.model = "other", "vc-2"
    await kept(store, foreign)
    gone = await kept(store, voice(4))
    await store.delete(gone.id)

    async def ids(**fields: object) -> list[str]:
        return [one.id for one in await store.page(VoiceChoice(**fields), after=None, most=10)]

    assert await ids() == [clone.id, design.id, foreign.id]
    assert await ids(deleted=True) == [clone.id, design.id, foreign.id, gone.id]
    assert await ids(kind=DESIGNED) == [design.id]
    assert await ids(provider="other") == [foreign.id]
    assert await ids(model="vc-1", kind=CLONED) == [clone.id]
    assert await ids(provider="o\0ther") == []


async def test_an_upstream_voice_belongs_to_one_row_alone(store):
    first = await kept(store, voice(1))
    second = voice(2)
    await store.begin(second)
    second.provider_voice_id = first.provider_voice_id
    with pytest.raises(DatabaseError):
        await store.finish(second)
    assert await store.known("qwen", [first.provider_voice_id, "unheard"]) == {first.provider_voice_id}
    assert await store.known("other", [first.provider_voice_id]) == set()
    assert await store.known("qwen", []) == set()


async def test_twenty_voices_at_once_are_all_kept(store):
    made = await asyncio.gather(*(kept(store, voice(number)) for number in range(20)))
    assert await store.page(VoiceChoice(), after=None, most=100) == made


async def test_of_two_who_undelete_and_purge_at_once_the_purge_stays(store):
    for _ in range(5):
        made = await kept(store, voice())
        await store.delete(made.id)
        await asyncio.gather(store.undelete(made.id), store.purge(made.id))
        assert (await store.get(made.id)).state == PURGED
