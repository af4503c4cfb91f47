"""Several hosts that do the same work: which of them a call goes to, and when it goes on to another one."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from structlog.testing import capture_logs

from pixvox import telemetry
from pixvox.errors import OutcomeUnknownError, ProviderUnavailableError
from pixvox.providers.worker.refusals import declined, load_of
from pixvox.testing.worker import LOADING, Cut, Refused, Slow, WorkerEmulator
from pixvox.upstream import RefusedError, Safety, Upstream
from pixvox.upstream.pool import Pool, Probe
from raw_vendor import Spans

BODY = b'{"prompt": "a cat", "size": "64x64", "num_inference_steps": 1}'
STREAM = b'{"prompt": "a cat", "size": "64x64", "num_inference_steps": 1, "stream": true}'
PATH = "/v1/images/generations"
MODELS = {"painter": "text-to-image"}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def a_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pool_of(upstream, *urls, clock=None, seconds=None):
    probe = None if seconds is None else Probe("/health", load_of, seconds)
    origins = [(url, upstream.origin(url)) for url in urls]
    return Pool(origins, eject_seconds=15, probe=probe, declined=declined, clock=clock or Clock())


@contextlib.asynccontextmanager
async def hosts(count, **fields):
    """Running workers, and a door to the network."""
    async with contextlib.AsyncExitStack() as stack:
        upstream = Upstream()
        stack.push_async_callback(upstream.aclose)
        workers = [await stack.enter_async_context(WorkerEmulator(models=MODELS, **fields)) for _ in range(count)]
        yield upstream, workers


async def call(pool):
    reply, url = await pool.call("POST", PATH, body=BODY, safety=Safety.BILLABLE, operation="image generation")
    return reply.status, url


def asked(workers):
    return [worker.count("generate") for worker in workers]


async def test_calls_at_once_are_shared_out_evenly():
    async with hosts(3, step_seconds=0.2) as (upstream, workers):
        pool = pool_of(upstream, *(worker.url for worker in workers))
        answers = await asyncio.gather(*(call(pool) for _ in range(9)))
    assert [status for status, _ in answers] == [200] * 9
    assert asked(workers) == [3, 3, 3]


async def test_calls_one_after_another_take_turns():
    async with hosts(2) as (upstream, workers):
        pool = pool_of(upstream, *(worker.url for worker in workers))
        for _ in range(4):
            await call(pool)
    assert asked(workers) == [2, 2]


async def test_a_host_that_others_keep_busy_is_spared_as_soon_as_it_has_said_so():
    clock = Clock()
    async with hosts(2, step_seconds=0.05) as (upstream, workers):
        workers[0].others = 7
        pool = pool_of(upstream, *(worker.url for worker in workers), clock=clock, seconds=2.0)
        # Beside the first call both are asked how they are.
        await call(pool)
        before = asked(workers)
        for _ in range(6):
            await call(pool)
        assert asked(workers)[0] == before[0]
        assert [standing.load for standing in pool.standings] == [7, 0]
        assert (workers[0].count("health"), workers[1].count("health")) == (1, 1)
        # What it said long ago counts no more.
        clock.now += 60.0
        workers[0].others = 0
        assert [standing.load for standing in pool.standings] == [0, 0]


async def test_hosts_are_asked_how_they_are_at_most_so_often():
    clock = Clock()
    async with hosts(2, step_seconds=0.05) as (upstream, workers):
        pool = pool_of(upstream, *(worker.url for worker in workers), clock=clock, seconds=2.0)
        for _ in range(4):
            await call(pool)
        assert [worker.count("health") for worker in workers] == [1, 1]
        clock.now += 2.0
        await call(pool)
        assert [worker.count("health") for worker in workers] == [2, 2]


async def test_asking_how_hosts_are_does_not_outlive_the_call():
    async with hosts(2) as (upstream, workers):
        for worker in workers:
            worker.faults.add("health", Slow(30))
        pool = pool_of(upstream, *(worker.url for worker in workers), seconds=2.0)
        before = asyncio.all_tasks()
        await call(pool)
        left = [task for task in asyncio.all_tasks() - before if "_ask" in repr(task.get_coro())]
        assert not left
        # Nobody has answered, so that nobody is left out, and they are asked again.
        assert not any(standing.left_out for standing in pool.standings)
        await call(pool)
        async with asyncio.timeout(5):
            await workers[0].until(lambda: workers[0].count("health") >= 1)


async def test_a_host_that_accepts_no_connection_is_left_out_for_a_while():
    clock, gone = Clock(), f"http://127.0.0.1:{a_free_port()}"
    async with hosts(1) as (upstream, [worker]):
        pool = pool_of(upstream, gone, worker.url, clock=clock)
        answers = [await call(pool) for _ in range(3)]
        assert answers == [(200, worker.url)] * 3
        assert [standing.left_out for standing in pool.standings] == [True, False]
        clock.now += 15.0
        assert [standing.left_out for standing in pool.standings] == [False, False]


async def test_no_call_dwells_on_a_host_that_is_gone_while_there_is_another_one():
    gone = [f"http://127.0.0.1:{a_free_port()}" for _ in range(2)]
    spans = Spans()
    upstream = Upstream(tracer=spans.tracer)
    async with WorkerEmulator(models=MODELS) as worker, contextlib.aclosing(upstream):
        pool = pool_of(upstream, *gone, worker.url)
        with telemetry.calling(telemetry.Call("a")):
            assert await call(pool) == (200, worker.url)
            assert telemetry.may_repeat()
        tried = len(spans.finished)
        assert tried <= 3
        # The last one that there is gets its second try.
        lonely = pool_of(upstream, *gone)
        with telemetry.calling(telemetry.Call("a")), pytest.raises(ProviderUnavailableError):
            await call(lonely)
        assert len(spans.finished) - tried == 1 + 3


async def test_a_host_that_was_left_out_is_back_when_it_says_that_it_is_well_and_not_before():
    clock = Clock()
    async with hosts(2, step_seconds=0.05) as (upstream, [ill, well]):
        ill.faults.add("generate", LOADING)
        ill.status = "loading"
        pool = pool_of(upstream, ill.url, well.url, clock=clock, seconds=2.0)
        for _ in range(3):
            assert await call(pool) == (200, well.url)
        assert ill.count("generate") <= 1
        clock.now += 60.0
        assert await call(pool) == (200, well.url)
        assert pool.standings[0].left_out
        ill.status = "ready"
        ill.faults.clear()
        clock.now += 2.0
        await call(pool)
        assert not pool.standings[0].left_out
        urls = {(await call(pool))[1] for _ in range(2)}
        assert urls == {ill.url, well.url}


async def test_where_all_are_left_out_a_call_asks_them_first_and_fails_at_once_if_none_is_well():
    clock = Clock()
    async with hosts(2) as (upstream, workers):
        for worker in workers:
            worker.status = "loading"
        pool = pool_of(upstream, *(worker.url for worker in workers), clock=clock, seconds=2.0)
        assert (await call(pool))[0] == 503
        assert all(standing.left_out for standing in pool.standings)
        clock.now += 2.0
        with pytest.raises(ProviderUnavailableError) as caught:
            await call(pool)
        assert caught.value.metadata["replay"] == "not_dispatched"
        before = asked(workers)
        workers[1].status = "ready"
        clock.now += 2.0
        assert await call(pool) == (200, workers[1].url)
        assert asked(workers) == [before[0], before[1] + 1]


async def test_a_host_that_is_full_has_the_call_go_to_one_other_and_no_further():
    async with hosts(3) as (upstream, workers):
        for worker in workers:
            worker.faults.add("generate", Refused(429, "overloaded_error", retry_after=1), times=None)
        pool = pool_of(upstream, *(worker.url for worker in workers))
        assert (await call(pool))[0] == 429
        assert sum(asked(workers)) == 2
        assert not any(standing.left_out for standing in pool.standings)
        [spared] = [worker for worker in workers if not worker.count("generate")]
        for worker in workers:
            worker.faults.clear()
        full = next(worker for worker in workers if worker is not spared)
        full.faults.add("generate", Refused(429), times=None)
        assert [status for status, _ in [await call(pool) for _ in range(4)]] == [200] * 4


async def test_a_stream_goes_on_to_another_host_like_a_call():
    async with hosts(2) as (upstream, [full, free]):
        full.faults.add("generate", Refused(429), times=None)
        pool = pool_of(upstream, full.url, free.url)
        for _ in range(2):
            async with pool.events(PATH, body=STREAM, operation="image generation") as events:
                assert [event.event async for event in events] == ["x.progress", "image_generation.completed"]
        free.faults.add("generate", Refused(429), times=None)
        with pytest.raises(RefusedError) as caught:
            async with pool.events(PATH, body=STREAM, operation="image generation"):
                pass
        assert caught.value.reply.status == 429


@pytest.mark.parametrize("effect", [Refused(503, "out_of_memory"), Refused(500), Refused(400)])
async def test_what_was_begun_or_is_wrong_in_itself_goes_to_no_other_host(effect):
    async with hosts(2) as (upstream, workers):
        for worker in workers:
            worker.faults.add("generate", effect, times=None)
        pool = pool_of(upstream, *(worker.url for worker in workers))
        assert (await call(pool))[0] == effect.status
        assert sum(asked(workers)) == 1
        assert not any(standing.left_out for standing in pool.standings)


async def test_what_was_sent_and_not_answered_goes_to_no_other_host():
    async with hosts(2) as (upstream, workers):
        for worker in workers:
            worker.faults.add("generate", Cut())
        pool = pool_of(upstream, *(worker.url for worker in workers))
        with pytest.raises(OutcomeUnknownError):
            await call(pool)
        assert sum(asked(workers)) == 1


async def test_a_long_call_keeps_no_host_from_being_asked_by_others():
    clock = Clock()
    async with hosts(2, step_seconds=0.05) as (upstream, workers):
        for worker in workers:
            worker.others = 3
        pool = pool_of(upstream, *(worker.url for worker in workers), clock=clock, seconds=2.0)
        async with pool.opened(lambda origin: origin.events(PATH, body=STREAM, operation="image generation")):
            async with asyncio.timeout(5):
                while any(standing.load < 3 for standing in pool.standings):  # noqa: ASYNC110 - they tell nobody
                    await asyncio.sleep(0.01)
            clock.now += 2.0
            await call(pool)
            assert [worker.count("health") for worker in workers] == [2, 2]


async def test_a_call_that_finds_no_host_asks_those_that_another_call_asks_as_well():
    clock, gone = Clock(), f"http://127.0.0.1:{a_free_port()}"
    async with hosts(1, step_seconds=0.05) as (upstream, [worker]):
        worker.faults.add("health", Slow(30))
        pool = pool_of(upstream, gone, worker.url, clock=clock, seconds=2.0)
        async with pool.opened(lambda origin: origin.events(PATH, body=STREAM, operation="image generation")):
            worker.faults.add("generate", LOADING)
            async with asyncio.timeout(5):
                await worker.until(lambda: worker.count("health") == 1)
            # The first call has not heard yet how the host is when a second one has it left out.
            assert (await call(pool))[0] == 503
            assert all(standing.left_out for standing in pool.standings)
            clock.now += 2.0
            assert await call(pool) == (200, worker.url)


async def test_where_none_is_left_the_error_says_why_but_not_where():
    clock, gone = Clock(), f"http://127.0.0.1:{a_free_port()}"
    async with hosts(1) as (upstream, [worker]):
        worker.status = "loading"
        worker.faults.add("generate", LOADING, times=None)
        pool = pool_of(upstream, gone, worker.url, clock=clock, seconds=2.0)
        assert (await call(pool))[0] == 503
        clock.now += 2.0
        with pytest.raises(ProviderUnavailableError) as caught:
            await call(pool)
        assert "not ready (status 503)" in caught.value.message
        assert "connect" in caught.value.message
        assert "127.0.0.1" not in caught.value.message


async def test_that_a_host_is_left_out_and_that_it_is_back_is_logged_once_each():
    clock = Clock()
    async with hosts(2, step_seconds=0.05) as (upstream, [ill, well]):
        ill.faults.add("generate", LOADING, times=None)
        ill.status = "loading"
        pool = pool_of(upstream, ill.url, well.url, clock=clock, seconds=2.0)
        with capture_logs() as logs:
            for _ in range(4):
                await call(pool)
                clock.now += 2.0
            ill.status = "ready"
            ill.faults.clear()
            await call(pool)
    assert [(line["event"], line["url"]) for line in logs] == [
        ("a host is left out", ill.url),
        ("a host is back", ill.url),
    ]


async def test_a_call_that_is_cancelled_anywhere_leaves_no_host_busy_or_being_asked():
    async with hosts(2, step_seconds=0.02) as (upstream, workers):
        workers[0].faults.add("generate", Refused(429), times=None)
        workers[1].faults.add("health", Slow(30), times=None)
        pool = pool_of(upstream, *(worker.url for worker in workers), seconds=0.001)
        before = asyncio.all_tasks()
        for ticks in range(1, 60, 4):
            task = asyncio.create_task(call(pool))
            for _ in range(ticks):
                await asyncio.sleep(0)
            await asyncio.sleep(ticks / 4000)
            task.cancel()
            await asyncio.wait({task})
            assert [standing.calls for standing in pool.standings] == [0, 0]
        left = [task for task in asyncio.all_tasks() - before if "_ask" in repr(task.get_coro())]
        assert not left
        assert (await call(pool))[0] == 200


async def test_a_single_host_is_never_left_out_and_never_asked_how_it_is():
    async with hosts(1) as (upstream, [worker]):
        worker.faults.add("generate", LOADING)
        pool = pool_of(upstream, worker.url, seconds=2.0)
        assert (await call(pool))[0] == 503
        assert await call(pool) == (200, worker.url)
        assert not worker.count("health")
        assert pool.origin(worker.url) is not None
