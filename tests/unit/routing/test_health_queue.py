"""What becomes of calls that wait for a target."""

from __future__ import annotations

import asyncio

import pytest

from admissions import Calls, Seen, call, now, refused, run, soon, target
from pixvox import errors
from pixvox.routing.health import TargetLimits


def test_a_full_queue_refuses():
    async def scenario():
        health = target(max_in_flight=1, max_queued=2)
        calls = Calls(health)
        for name in "abc":
            await calls.start(name)
        error = await refused(errors.OverloadedError, health)
        assert error.quota == ("targets/acme/paint", "2 calls that wait")
        assert health.queued == 2
        for name in "abc":
            await calls.end(name)

    run(scenario())


def test_a_queue_of_length_zero_lets_nothing_wait():
    async def scenario():
        health = target(max_in_flight=1, max_queued=0)
        calls = Calls(health)
        await calls.start("a")
        await refused(errors.OverloadedError, health)
        await calls.end("a")
        await call(health)

    run(scenario())


def test_in_a_full_queue_the_newest_of_the_caller_with_most_makes_room():
    async def scenario():
        health = target(max_in_flight=1, max_queued=3)
        calls = Calls(health)
        for name in ("runs", "old", "middle", "newest"):
            await calls.start(name, "flood")
        await calls.start("quiet")
        with pytest.raises(errors.OverloadedError):
            await calls.tasks["newest"]
        assert health.queued == 3
        await calls.end("runs")
        await calls.end("old")
        await calls.end("quiet")
        await calls.end("middle")
        assert calls.began == ["runs", "old", "quiet", "middle"]

    run(scenario())


def test_a_flood_delays_a_quiet_caller_until_the_next_place_comes_free():
    async def scenario():
        seen = Seen()
        health = target(seen, max_in_flight=1, max_queued=100)
        flooding = [asyncio.create_task(call(health, seconds=1)) for _ in range(101)]
        await soon()
        waits = []
        for _ in range(20):
            begin = now()
            async with health.admitted("quiet"):
                waits.append(now() - begin)
        # Before its first call, one of those that came before goes first.
        assert waits == pytest.approx([2] + [1] * 19)
        ends = await asyncio.gather(*flooding, return_exceptions=True)
        # The quiet caller's first call had to have one of them make room.
        assert [type(end) for end in ends].count(errors.OverloadedError) == 1

    run(scenario())


def test_leaving_the_queue_frees_the_place_at_once():
    async def scenario():
        health = target(max_in_flight=1, max_queued=1)
        calls = Calls(health)
        await calls.start("runs")
        await calls.start("leaves")
        await calls.cancel("leaves")
        assert health.queued == 0
        await calls.start("comes")
        await calls.end("runs")
        await calls.end("comes")
        assert calls.began == ["runs", "comes"]

    run(scenario())


def test_a_call_that_is_cancelled_in_the_moment_of_its_turn_passes_the_turn_on():
    async def scenario():
        health = target(max_in_flight=1, requests_per_minute=2, burst=2)
        calls = Calls(health)
        await calls.start("runs")
        await calls.start("leaves")
        await calls.start("next")
        # Both in one turn of the loop: the place is granted, and the task is cancelled before it learns of it.
        calls.ends["runs"].set_result(None)
        await asyncio.sleep(0)
        assert health.in_flight == 1
        assert health.queued == 1
        calls.tasks["leaves"].cancel()
        await soon()
        assert calls.began == ["runs", "next"]
        assert calls.tasks["leaves"].cancelled()
        await calls.end("next")
        assert (health.in_flight, health.queued) == (0, 0)

    run(scenario())


def test_a_place_that_comes_free_just_after_a_call_was_cancelled_goes_to_the_next():
    async def scenario():
        health = target(max_in_flight=1)
        calls = Calls(health)
        async with health.admitted("runs"):
            await calls.start("leaves")
            await calls.start("next")
            calls.tasks["leaves"].cancel()
            # The block ends before the cancelled task runs again.
        assert health.in_flight == 1
        await soon()
        assert calls.began == ["next"]
        await calls.end("next")
        assert (health.in_flight, health.queued) == (0, 0)

    run(scenario())


def test_the_first_who_leaves_hands_the_wait_for_the_token_on():
    async def scenario():
        seen = Seen()
        health = target(seen, requests_per_minute=2)
        calls = Calls(health)
        await call(health)
        await calls.start("leaves")
        await calls.start("stays")
        await calls.cancel("leaves")
        begin = now()
        await asyncio.sleep(31)
        assert calls.began == ["stays"]
        assert seen.waits[-1] == pytest.approx(30)
        assert now() - begin == 31
        await calls.end("stays")

    run(scenario())


def test_closing_refuses_those_who_wait_and_not_those_who_run():
    async def scenario():
        health = target(max_in_flight=1)
        calls = Calls(health)
        for name in "abc":
            await calls.start(name)
        error = errors.SwitchedOffError("It was switched off.", metadata={"provider": "acme"})
        health.close(error)
        raised = []
        for name in "bc":
            with pytest.raises(errors.SwitchedOffError) as caught:
                await calls.tasks[name]
            raised.append(caught.value)
        assert raised[0] is not raised[1]
        assert raised[0].message == "It was switched off."
        assert raised[0].metadata == {"provider": "acme"}
        assert (health.in_flight, health.queued) == (1, 0)
        await calls.end("a")

    run(scenario())


def test_other_limits_wake_those_who_may_begin_and_refuse_nobody():
    async def scenario():
        health = target(max_in_flight=1, max_queued=5)
        calls = Calls(health)
        for name in "abcde":
            await calls.start(name)
        health.reconfigure(TargetLimits(max_in_flight=3, max_queued=1))
        await soon()
        assert (calls.began, health.queued) == (["a", "b", "c"], 2)
        await refused(errors.OverloadedError, health)
        for name in "abcde":
            await calls.end(name)

    run(scenario())


def test_a_limit_below_what_runs_lets_it_run_and_nothing_else_begin():
    async def scenario():
        health = target(max_in_flight=3)
        calls = Calls(health)
        for name in "abcd":
            await calls.start(name)
        health.reconfigure(TargetLimits(max_in_flight=1))
        await calls.end("a")
        await calls.end("b")
        assert calls.began == ["a", "b", "c"]
        await calls.end("c")
        assert calls.began == ["a", "b", "c", "d"]
        await calls.end("d")

    run(scenario())


def test_a_faster_rate_wakes_those_who_wait_for_tokens():
    async def scenario():
        health = target(requests_per_minute=1)
        await call(health)
        waiting = asyncio.create_task(call(health))
        await soon()
        begin = now()
        health.reconfigure(TargetLimits(requests_per_minute=60))
        await waiting
        assert now() - begin == pytest.approx(1)

    run(scenario())
