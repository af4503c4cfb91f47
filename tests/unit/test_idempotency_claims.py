"""One try at a time makes a call, and what becomes of it is known to all who share the database."""

from __future__ import annotations

import asyncio
import contextlib
import uuid

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from calling import until
from databases import database, database_url, postgres
from pixvox import errors, telemetry
from pixvox.database import Database, DatabaseError
from pixvox.database.schema import REQUESTS
from pixvox.errors import AnswerNotKeptError, OutcomeUnknownError, RequestIdReusedError
from pixvox.idempotency import Idempotency, claims
from pixvox.idempotency.claims import ClaimLostError, Claims
from pixvox.idempotency.earlier import Earlier, RequestKey
from pixvox.idempotency.store import RequestStore
from pixvox.settings import IdempotencySettings
from pixvox.v1.image_service_pb2 import GenerateImageRequest, GenerateImageResponse

__all__ = ["database", "database_url", "postgres"]

KEY = RequestKey("pixvox.v1.ImageService/GenerateImage", "mine")
SAME = "f" * 64
LEASE_SECONDS = 0.4


@pytest.fixture
async def process(database):
    """What a process knows."""
    async with process_on(database) as made:
        yield made


@contextlib.asynccontextmanager
async def process_on(database: Database, lease: float = LEASE_SECONDS, retention: float = 60.0):
    made = Claims(
        RequestStore(database, lease_seconds=lease, retention_seconds=retention),
        lease_seconds=lease,
        max_answer_bytes=10,
    )
    yield made
    await made.aclose()


async def claimed(process: Claims, fingerprint: str = SAME, key: RequestKey = KEY):
    return await process.claimed(key, fingerprint, "request_id")


async def failed(process: Claims, error: BaseException, *, sent: bool) -> None:
    """A call that fails."""
    async with await claimed(process) as claim:
        if sent:
            await claim.dispatch()
        raise error


def died(process: Claims, claim: claims.Claim) -> None:
    """Have the process give no more signs of life."""
    process.leases.release(KEY, claim._owner)


async def test_a_call_that_was_answered_gives_its_answer(process):
    async with await claimed(process) as claim:
        await claim.dispatch()
        claim.answered(b"answer")
    earlier = await claimed(process)
    assert isinstance(earlier, Earlier)
    assert await process.store.answer(KEY, earlier.owner) == b"answer"


async def test_an_empty_answer_is_an_answer(process):
    async with await claimed(process) as claim:
        claim.answered(b"")
    assert await process.store.answer(KEY, (await claimed(process)).owner) == b""


async def test_another_payload_is_refused_in_every_state(process):
    async with await claimed(process) as claim:
        with pytest.raises(RequestIdReusedError):
            await claimed(process, "other")
        claim.answered(b"")
    with pytest.raises(RequestIdReusedError):
        await claimed(process, "other")


async def test_an_answer_that_is_too_large_is_known_to_have_been_given(process):
    async with await claimed(process) as claim:
        claim.answered(b"01234567890")
    with pytest.raises(AnswerNotKeptError):
        await claimed(process)


async def test_who_comes_second_waits_for_the_first(process):
    async with await claimed(process) as claim:
        second = asyncio.create_task(claimed(process))
        await asyncio.sleep(0.1)
        assert not second.done()
        claim.answered(b"answer")
    assert (await second).kept


async def test_who_comes_second_makes_the_call_if_the_first_never_sent_it(process):
    with contextlib.suppress(ZeroDivisionError):
        async with await claimed(process):
            second = asyncio.create_task(claimed(process))
            raise ZeroDivisionError
    async with await second as claim:
        claim.answered(b"")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.ProviderInternalError("x"), "PROVIDER_INTERNAL"),
        (errors.ProviderDisconnectedError("x"), "PROVIDER_DISCONNECTED"),
        (errors.OutputTooLargeError("x"), "OUTPUT_TOO_LARGE"),
        # Refused, but not before the work was accepted.
        (errors.ProviderCredentialsError("x", metadata={"replay": "accepted"}), "PROVIDER_CREDENTIALS"),
        (asyncio.CancelledError(), "CANCELLED"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_call_that_failed_uncertainly_is_not_repeated(process, error, reason):
    with pytest.raises(type(error)):
        await failed(process, error, sent=True)
    with pytest.raises(OutcomeUnknownError) as raised:
        await claimed(process)
    assert raised.value.metadata["earlier_reason"] == reason


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimitedError("x"),
        errors.ProviderUnavailableError("x", metadata={"replay": "not_dispatched"}),
        errors.InvalidParameterError("x"),
        errors.OutputBlockedError("x", metadata={"replay": "accepted"}),
        errors.OverloadedError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_call_that_was_refused_before_any_work_may_be_repeated(process, error):
    with pytest.raises(type(error)):
        await failed(process, error, sent=True)
    async with await claimed(process, "another payload") as claim:
        claim.answered(b"")


async def test_a_call_that_fails_uncertainly_before_it_is_sent_may_be_repeated(process):
    with pytest.raises(errors.InternalError):
        await failed(process, errors.InternalError("x"), sent=False)
    assert isinstance(await claimed(process), claims.Claim)


async def test_a_call_is_not_taken_over_while_its_process_lives(process):
    async with await claimed(process) as claim:
        second = asyncio.create_task(claimed(process))
        await asyncio.sleep(3 * LEASE_SECONDS)
        assert not second.done()
        await claim.dispatch()
        await asyncio.sleep(3 * LEASE_SECONDS)
        assert not second.done()
        claim.answered(b"")
    assert (await second).kept


async def test_no_signs_of_life_are_given_when_nothing_is_being_made(process):
    async with await claimed(process) as claim:
        claim.answered(b"")
    await asyncio.sleep(LEASE_SECONDS)
    assert process.leases._renewing.done()


@pytest.mark.parametrize("seconds", [0.0, 2 * LEASE_SECONDS], ids=["at once", "later"])
async def test_a_call_of_a_dead_process_is_made_by_another_if_it_was_not_sent(database, process, seconds):
    claim = await claimed(process)
    died(process, claim)
    await asyncio.sleep(seconds)
    async with process_on(database) as other, await claimed(other) as taken:
        # The first was not dead, and must not send now.
        with pytest.raises(ClaimLostError):
            await claim.dispatch()
        await taken.dispatch()
        taken.answered(b"")


@pytest.mark.parametrize("seconds", [0.0, 2 * LEASE_SECONDS], ids=["at once", "later"])
async def test_a_call_of_a_dead_process_is_uncertain_if_it_was_sent(database, process, seconds):
    claim = await claimed(process)
    await claim.dispatch()
    died(process, claim)
    await asyncio.sleep(seconds)
    async with process_on(database) as other:
        with pytest.raises(OutcomeUnknownError) as raised:
            await claimed(other)
    assert raised.value.metadata["earlier_reason"] == "INSTANCE_LOST"


async def test_the_answer_of_a_process_that_was_taken_for_dead_counts(database, process):
    async with await claimed(process) as claim:
        await claim.dispatch()
        died(process, claim)
        async with process_on(database) as other:
            with pytest.raises(OutcomeUnknownError):
                await claimed(other)
        claim.answered(b"late")
    assert await process.store.answer(KEY, (await claimed(process)).owner) == b"late"


async def test_nothing_is_sent_after_the_end_of_a_call(process):
    with contextlib.suppress(ZeroDivisionError):
        async with await claimed(process) as claim:
            raise ZeroDivisionError
    with pytest.raises(ClaimLostError):
        await claim.dispatch()


async def test_a_call_that_ends_while_it_is_being_noted_as_sent_is_not_sent(process):
    """As when a caller leaves in that moment, and the making of a voice goes on without it."""
    with contextlib.suppress(ZeroDivisionError):
        async with await claimed(process) as claim:
            dispatching = asyncio.create_task(claim.dispatch())
            await asyncio.sleep(0)
            raise ZeroDivisionError
    with pytest.raises(ClaimLostError):
        await dispatching
    assert isinstance(await claimed(process), claims.Claim)


async def test_of_many_processes_that_ask_at_once_one_makes_the_call(database_url):
    opened = [await Database.open(database_url) for _ in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(process_on(one)) for one in opened]
        keys = [RequestKey("m", uuid.uuid4().hex) for _ in range(25)]
        firsts = [
            await asyncio.gather(*(one.store.claim(key, SAME, uuid.uuid4().hex) for one in processes)) for key in keys
        ]
        assert [len([one for one in first if one is None]) for first in firsts] == [1] * len(keys)
    for one in opened:
        await one.aclose()


async def test_a_claim_whose_caller_leaves_in_the_middle_keeps_nobody_waiting(process):
    # Loads what a first use loads, so that the claim is under way after one step.
    await process.store.look(KEY)
    claiming = asyncio.create_task(claimed(process))
    await asyncio.sleep(0)
    assert process.store._batches._waiting
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    async with asyncio.timeout(LEASE_SECONDS / 2):
        assert isinstance(await claimed(process), claims.Claim)


async def test_a_database_that_fails_keeps_the_call_from_being_sent(database, process):
    claim = await claimed(process)
    await renamed(database, "dispatched", "lost")
    with pytest.raises(DatabaseError):
        async with claim:
            await claim.dispatch()
    assert not claim.dispatched
    await renamed(database, "lost", "dispatched")


async def test_how_a_call_ended_is_noted_when_the_database_is_back(database, process):
    with capture_logs():
        async with await claimed(process) as claim:
            await claim.dispatch()
            await renamed(database, "answer", "lost")
            claim.answered(b"answer")
            asyncio.get_running_loop().call_later(0.3, lambda: back.append(asyncio.create_task(restored())))

            async def restored():
                await renamed(database, "lost", "answer")

            back = []
    assert (await claimed(process)).kept
    await asyncio.gather(*back)


async def renamed(database: Database, name: str, new: str) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE requests RENAME COLUMN {name} TO {new}")


async def test_what_was_kept_goes_when_its_time_is_up(database, monkeypatch):
    async with process_on(database, retention=0.2) as process:
        for number in range(50):
            async with await claimed(process, key=RequestKey("m", str(number))) as claim:
                claim.answered(b"answer")
        assert await count(database) == 50
        await asyncio.sleep(0.3)
        monkeypatch.setattr(process, "_purged_at", -1e9)
        kept = await claimed(process)
        async with asyncio.timeout(5):
            while await count(database) > 1:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.05)
        async with kept:
            kept.answered(b"")


async def test_what_is_being_made_is_never_purged(database):
    async with process_on(database, retention=0.0) as process, await claimed(process) as claim:
        await asyncio.sleep(3 * LEASE_SECONDS)
        assert await process.store.purge() == 0
        claim.answered(b"")


async def count(database: Database) -> int:
    async with database.transaction() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(REQUESTS))


async def test_a_process_that_was_silent_too_long_gives_the_answer_of_the_one_that_took_over(database):
    settings = IdempotencySettings(lease_seconds=LEASE_SECONDS)
    slow, quick = (Idempotency(database, settings, shares=lambda *_: False) for _ in range(2))
    go = asyncio.Event()
    sent = []

    def work(name: str, wait: asyncio.Event | None):
        async def make() -> GenerateImageResponse:
            if wait is not None:
                await wait.wait()
            await telemetry.current_call().before_dispatch()
            sent.append(name)
            return GenerateImageResponse()

        return make

    async def ask(who: Idempotency, name: str, wait: asyncio.Event | None = None) -> bytes:
        call = telemetry.Call(KEY.method, request_id=KEY.request_id)
        with telemetry.calling(call):
            return await who.once(call, GenerateImageRequest(prompt="x"), work(name, wait))

    first = asyncio.create_task(ask(slow, "slow", go))
    await until(lambda: slow._claims.leases._held)
    slow._claims.leases._held.clear()
    second = await ask(quick, "quick")
    go.set()
    assert await first == second
    assert sent == ["quick"]
    for one in (slow, quick):
        await one.aclose()
