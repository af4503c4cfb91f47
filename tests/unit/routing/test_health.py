"""What limits a target, and what it says of itself."""

from __future__ import annotations

import asyncio

import pytest

from admissions import Calls, Seen, call, now, open_circuit, refused, run, soon, target
from pixvox import errors
from pixvox.routing.health import TargetLimits, resolved
from pixvox.settings import TargetSettings
from pixvox.v1 import model_service_pb2
from pixvox.v1.model_service_pb2 import BREAKER_STATE_CLOSED


def test_an_idle_target_takes_a_call_without_giving_up_control():
    async def scenario():
        health = target(max_in_flight=1, requests_per_minute=60)
        assert health.begins_at_once()
        coroutine = health.admitted("a").__aenter__()
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert health.in_flight == 1

    run(scenario())


def test_no_more_calls_run_at_once_than_may():
    async def scenario():
        health = target(max_in_flight=2)
        calls = Calls(health)
        for name in "abcd":
            await calls.start(name)
        assert (calls.began, health.in_flight, health.queued) == (["a", "b"], 2, 2)
        await calls.end("b")
        assert (calls.began, health.in_flight, health.queued) == (["a", "b", "c"], 2, 1)
        for name in "acd":
            await calls.end(name)
        assert (health.in_flight, health.queued) == (0, 0)

    run(scenario())


def test_calls_over_the_rate_begin_when_their_tokens_come():
    async def scenario():
        seen = Seen()
        health = target(seen, requests_per_minute=2)
        begin = now()
        await asyncio.gather(*(call(health) for _ in range(4)))
        assert seen.waits == pytest.approx([0, 30, 60, 90])
        assert now() - begin == pytest.approx(90)

    run(scenario())


def test_a_newcomer_does_not_overtake_a_call_that_waits():
    async def scenario():
        health = target(max_in_flight=1)
        calls = Calls(health)
        await calls.start("first")
        await calls.start("waits")
        calls.ends["first"].set_result(None)
        await calls.start("newcomer")
        assert calls.began == ["first", "waits"]
        await calls.end("waits")
        await calls.end("newcomer")

    run(scenario())


def test_a_token_that_came_while_the_loop_was_busy_goes_to_the_one_who_waits():
    async def scenario():
        health = target(requests_per_minute=2)
        await call(health)
        calls = Calls(health)
        await calls.start("waits")
        asyncio.get_running_loop().selector.now += 31
        newcomer = asyncio.create_task(health.admitted("newcomer").__aenter__())
        await asyncio.sleep(0)
        assert not newcomer.done()
        await soon()
        assert calls.began == ["waits"]
        await calls.end("waits")
        await newcomer

    run(scenario())


def test_without_limits_nothing_waits():
    async def scenario():
        seen = Seen()
        health = target(seen)
        await asyncio.gather(*(call(health, seconds=5) for _ in range(500)))
        assert seen.waits == [0.0] * 500

    run(scenario())


def test_a_call_that_may_not_wait_is_refused_with_the_limit_and_the_wait():
    async def scenario():
        health = target(requests_per_minute=2)
        await call(health)
        error = await refused(errors.OverloadedError, health, wait=False)
        assert error.retry_after == pytest.approx(30)
        assert error.quota == ("targets/acme/paint", "2 requests per minute")
        assert health.queued == 0

    run(scenario())


def test_the_limit_of_calls_at_once_is_named_when_it_is_the_one():
    async def scenario():
        health = target(requests_per_minute=600, burst=10, max_in_flight=1)
        calls = Calls(health)
        await calls.start("a")
        error = await refused(errors.OverloadedError, health, wait=False)
        assert error.quota == ("targets/acme/paint", "1 calls at once")
        await calls.end("a")

    run(scenario())


def test_a_call_that_could_not_begin_before_its_deadline_is_refused_at_once():
    async def scenario():
        health = target(requests_per_minute=2)
        await call(health)
        begin = now()
        error = await refused(errors.OverloadedError, health, deadline=begin + 29)
        assert now() == begin
        assert error.retry_after == pytest.approx(30)
        await call(health, deadline=begin + 31)
        assert now() == pytest.approx(begin + 30)

    run(scenario())


def test_the_wait_for_a_place_is_estimated_from_the_calls_before():
    async def scenario():
        health = target(max_in_flight=2)
        await call(health, seconds=10)
        calls = Calls(health)
        for name in "abcd":
            await calls.start(name)
        # Two run and two wait: the third in the queue begins after three have ended, at two places.
        assert health.expected_wait() == pytest.approx(15)
        error = await refused(errors.OverloadedError, health, deadline=now() + 14)
        assert error.retry_after == pytest.approx(15)
        assert health.refusal(deadline=now() + 16) is None
        for name in "abcd":
            await calls.end(name)

    run(scenario())


def test_a_refusal_by_the_provider_says_nothing_about_how_long_calls_take():
    async def scenario():
        health = target(max_in_flight=1)
        await call(health, seconds=10)
        await call(health, errors.ContentBlockedError("x"), seconds=1)
        calls = Calls(health)
        await calls.start("a")
        assert health.expected_wait() == pytest.approx(10)
        await calls.end("a")

    run(scenario())


def test_a_quiet_caller_is_not_made_to_expect_the_queue_of_another():
    async def scenario():
        health = target(max_in_flight=1)
        await call(health, seconds=10)
        calls = Calls(health)
        for number in range(51):
            await calls.start(str(number), "flood")
        await asyncio.sleep(10)
        await calls.end("0")
        assert health.expected_wait("flood") == pytest.approx(500)
        assert health.expected_wait("quiet") == pytest.approx(10)
        assert isinstance(health.refusal("flood", deadline=now() + 100), errors.OverloadedError)
        assert health.refusal("quiet", deadline=now() + 100) is None
        for number in range(1, 51):
            await calls.end(str(number))

    run(scenario())


def test_a_call_whose_deadline_passed_in_the_queue_is_not_sent():
    async def scenario():
        health = target(max_in_flight=1)
        calls = Calls(health)
        await calls.start("long")
        late = await calls.start("late", deadline=now() + 5)
        await asyncio.sleep(6)
        await calls.end("long")
        with pytest.raises(errors.OverloadedError):
            await late
        assert calls.began == ["long"]
        assert health.begins_at_once()

    run(scenario())


def test_a_refusal_foretells_what_a_call_would_get_and_changes_nothing():
    async def scenario():
        health = target(requests_per_minute=2, open_seconds=10)
        assert health.refusal(deadline=now()) is None
        await call(health)
        for _ in range(3):
            assert isinstance(health.refusal(deadline=now() + 29), errors.OverloadedError)
            assert isinstance(health.refusal(wait=False), errors.OverloadedError)
            assert health.refusal() is None
        assert (health.in_flight, health.queued, health.tokens) == (0, 0, 0)
        health.reconfigure(TargetLimits())
        await open_circuit(health)
        assert isinstance(health.refusal(), errors.CircuitOpenError)
        await asyncio.sleep(10)
        for _ in range(3):
            assert health.refusal() is None

    run(scenario())


def test_the_status_tells_everything_but_warmth():
    async def scenario():
        health = target(requests_per_minute=30, burst=2, max_in_flight=1, max_queued=7)
        calls = Calls(health)
        await calls.start("a")
        await calls.start("b")
        status = health.status()
        assert status == model_service_pb2.TargetHealth(
            breaker=BREAKER_STATE_CLOSED,
            in_flight=1,
            max_in_flight=1,
            queued=1,
            max_queued=7,
            requests_per_minute=30,
            expected_wait=status.expected_wait,
        )
        assert status.expected_wait.ToTimedelta().total_seconds() == pytest.approx(2)
        assert not status.HasField("retry_delay")
        await calls.end("a")
        await calls.end("b")

    run(scenario())


@pytest.mark.parametrize(
    ("given", "model", "processes", "expected"),
    [
        ({}, {}, 1, (0, 1, 0)),
        ({}, {"requests_per_minute": 2, "max_in_flight": 4}, 1, (2, 1, 4)),
        ({}, {"requests_per_minute": 600, "max_in_flight": 4}, 4, (150, 2, 1)),
        ({}, {"max_in_flight": 3}, 8, (0, 1, 1)),
        (
            {"requests_per_minute": 0.0, "max_in_flight": 0},
            {"requests_per_minute": 2, "max_in_flight": 4},
            1,
            (0, 1, 0),
        ),
        ({"requests_per_minute": 90.0, "burst": 8}, {"requests_per_minute": 2}, 2, (45, 4, 0)),
        ({"requests_per_minute": 600.0, "burst": 1}, {}, 2, (300, 1, 0)),
    ],
)
def test_limits_come_from_the_settings_else_from_the_model_and_are_shared_by_the_processes(
    given, model, processes, expected
):
    limits = resolved(TargetSettings(**given), model_service_pb2.Model(**model), processes)
    assert (limits.requests_per_minute, limits.burst, limits.max_in_flight) == expected


def test_the_rest_of_the_limits_is_as_set():
    settings_ = TargetSettings(
        max_queued=1, failures=2, error_rate=0.3, min_calls=4, window_seconds=5, open_seconds=6, probes=7
    )
    assert resolved(settings_, model_service_pb2.Model()) == TargetLimits(
        max_queued=1, failures=2, error_rate=0.3, min_calls=4, window_seconds=5, open_seconds=6, probes=7
    )
