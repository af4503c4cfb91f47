"""What the end of a call does to those that come after it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
import structlog

from admissions import DOWN, Calls, Seen, call, now, open_circuit, refused, run, soon, target
from pixvox import errors
from pixvox.routing.health import TargetLimits
from pixvox.v1.model_service_pb2 import BREAKER_STATE_CLOSED, BREAKER_STATE_HALF_OPEN, BREAKER_STATE_OPEN


def test_an_open_circuit_refuses_with_the_rest_of_its_time():
    async def scenario():
        health = target(open_seconds=10)
        await open_circuit(health)
        await asyncio.sleep(4)
        error = await refused(errors.CircuitOpenError, health)
        assert error.retry_after == pytest.approx(6)
        assert "5 calls in a row failed, the last with PROVIDER_UNAVAILABLE" in error.message
        assert not health.begins_at_once()
        assert health.expected_wait() == pytest.approx(6)

    run(scenario())


def test_a_circuit_that_opens_refuses_those_who_wait():
    async def scenario():
        health = target(max_in_flight=1, failures=1)
        calls = Calls(health)
        for name in "abc":
            await calls.start(name)
        await calls.end("a", DOWN("down"))
        for name in "bc":
            with pytest.raises(errors.CircuitOpenError):
                await calls.tasks[name]
        assert (health.in_flight, health.queued, calls.began) == (0, 0, ["a"])

    run(scenario())


def test_one_probe_goes_through_and_others_are_refused_until_it_succeeds():
    async def scenario():
        health = target(open_seconds=10)
        await call(health, seconds=3)
        await open_circuit(health)
        await asyncio.sleep(10)
        assert health.status().breaker == BREAKER_STATE_HALF_OPEN
        calls = Calls(health)
        await calls.start("probe")
        error = await refused(errors.CircuitOpenError, health)
        # Nobody knows when the probe ends; if it is like the calls before, in about the time that those took.
        assert error.retry_after == pytest.approx(3)
        await calls.end("probe")
        assert health.status().breaker == BREAKER_STATE_CLOSED
        assert health.begins_at_once()

    run(scenario())


def test_a_probe_that_is_cancelled_gives_its_place_back():
    async def scenario():
        health = target(open_seconds=10)
        await open_circuit(health)
        await asyncio.sleep(10)
        calls = Calls(health)
        await calls.start("probe")
        await calls.cancel("probe")
        await call(health)
        assert health.status().breaker == BREAKER_STATE_CLOSED

    run(scenario())


def test_a_probe_that_is_cancelled_in_the_moment_of_its_turn_gives_its_place_back():
    async def scenario():
        health = target(open_seconds=10, max_in_flight=1, failures=2)
        calls = Calls(health)
        await calls.start("slow")
        health.reconfigure(TargetLimits(open_seconds=10, max_in_flight=2, failures=2))
        await open_circuit(health, 2)
        await asyncio.sleep(10)
        health.reconfigure(TargetLimits(open_seconds=10, max_in_flight=1, failures=2))
        await calls.start("probe")
        assert health.queued == 1
        calls.ends["slow"].set_result(None)
        await asyncio.sleep(0)
        assert health.queued == 0
        calls.tasks["probe"].cancel()
        await soon()
        assert calls.began == ["slow"]
        await call(health)
        assert health.status().breaker == BREAKER_STATE_CLOSED

    run(scenario())


def test_those_who_wait_while_a_probe_is_sent_are_refused():
    async def scenario():
        health = target(open_seconds=10, requests_per_minute=1, burst=5)
        await open_circuit(health)
        await asyncio.sleep(10)
        calls = Calls(health)
        await calls.start("probe")
        await calls.start("other")
        assert health.queued == 2
        await asyncio.sleep(50)
        assert calls.began == ["probe"]
        with pytest.raises(errors.CircuitOpenError):
            await calls.tasks["other"]
        await calls.end("probe")

    run(scenario())


def test_a_long_stream_counts_as_a_success_when_it_has_answered():
    async def scenario():
        health = target(open_seconds=10, failures=2)
        await open_circuit(health, 2)
        await asyncio.sleep(10)
        async with health.admitted("a") as admission:
            assert not health.begins_at_once()
            admission.answered()
            assert health.begins_at_once()
        assert health.status().breaker == BREAKER_STATE_CLOSED

    run(scenario())


def test_a_stream_counts_once_however_often_it_answers():
    async def scenario():
        health = target(open_seconds=10, failures=2, probes=2)
        await open_circuit(health, 2)
        await asyncio.sleep(10)
        async with health.admitted("a") as admission:
            admission.answered()
            admission.answered()
            assert health.status().breaker == BREAKER_STATE_HALF_OPEN
        assert health.status().breaker == BREAKER_STATE_HALF_OPEN
        await call(health)
        assert health.status().breaker == BREAKER_STATE_CLOSED

    run(scenario())


def test_a_stream_that_breaks_after_it_has_answered_is_a_failure():
    async def scenario():
        health = target(failures=2)
        for _ in range(2):
            with suppress(errors.ProviderDisconnectedError):
                async with health.admitted("a") as admission:
                    admission.answered()
                    message = "broken off"
                    raise errors.ProviderDisconnectedError(message)
        # The first answer of the second stream broke the row.
        assert health.status().breaker == BREAKER_STATE_CLOSED
        await call(health, DOWN("down"))
        assert health.status().breaker == BREAKER_STATE_OPEN

    run(scenario())


def test_a_caller_who_leaves_says_nothing_about_the_target():
    async def scenario():
        health = target(failures=1)
        calls = Calls(health)
        await calls.start("a", deadline=now() + 100)
        await asyncio.sleep(90)
        await calls.cancel("a")
        assert health.begins_at_once()

    run(scenario())


@pytest.mark.parametrize(("seconds", "state"), [(19, BREAKER_STATE_CLOSED), (21, BREAKER_STATE_OPEN)])
def test_a_call_cut_off_at_its_deadline_is_a_failure_if_it_took_much_longer_than_others(seconds, state):
    async def scenario():
        health = target(failures=1)
        await call(health, seconds=10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await call(health, seconds=1000, deadline=now() + seconds)
        assert health.status().breaker == state

    run(scenario())


def test_short_deadlines_do_not_open_the_circuit_of_a_target_that_nobody_knows_yet():
    async def scenario():
        health = target(open_seconds=10)
        for _ in range(100):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await call(health, seconds=1000, deadline=now() + 0.01)
        assert health.begins_at_once()

    run(scenario())


def test_transitions_are_logged_and_observed():
    async def scenario():
        seen = Seen()
        health = target(seen, open_seconds=10)
        with structlog.testing.capture_logs() as lines:
            await open_circuit(health)
            await asyncio.sleep(10)
            await call(health)
        assert [(line["event"], line["target"]) for line in lines] == [
            ("circuit opened", "acme/paint"),
            ("circuit half-open", "acme/paint"),
            ("circuit closed", "acme/paint"),
        ]
        assert lines[0]["reason"] == "5 calls in a row failed, the last with PROVIDER_UNAVAILABLE"
        assert seen.states == [BREAKER_STATE_OPEN, BREAKER_STATE_HALF_OPEN, BREAKER_STATE_CLOSED]

    run(scenario())


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.RateLimitedError("x", retry_after=7), 7),
        (errors.RateLimitedError("x"), 1),
        (errors.QuotaExceededError("x", retry_after=86_400), 60),
    ],
    ids=["as told", "not told", "too long"],
)
def test_a_rate_limit_of_the_provider_pauses_the_target_and_leaves_the_breaker(error, seconds):
    async def scenario():
        health = target(failures=1)
        await call(health, error)
        refusal = await refused(errors.OverloadedError, health, wait=False)
        assert refusal.retry_after == pytest.approx(seconds)
        assert "as the provider asked" in refusal.quota[1]
        assert health.status().retry_delay.ToSeconds() == seconds
        begin = now()
        await call(health)
        assert now() - begin == pytest.approx(seconds)

    run(scenario())


def test_a_pause_refuses_those_who_cannot_begin_in_time_any_more():
    async def scenario():
        health = target(max_in_flight=1)
        calls = Calls(health)
        await calls.start("a")
        await calls.start("hurried", deadline=now() + 5)
        await calls.start("patient", deadline=now() + 50)
        begin = now()
        await calls.end("a", errors.RateLimitedError("x", retry_after=20))
        with pytest.raises(errors.OverloadedError) as caught:
            await calls.tasks["hurried"]
        assert now() == begin
        assert caught.value.retry_after == pytest.approx(20)
        await asyncio.sleep(20)
        assert calls.began == ["a", "patient"]
        await calls.end("patient")

    run(scenario())


@pytest.mark.parametrize(
    ("error", "tokens"),
    [
        (DOWN("x", metadata={"replay": "not_dispatched"}), 1),
        (DOWN("x"), 0),
        (errors.RateLimitedError("x", metadata={"replay": "not_dispatched"}), 0),
        (errors.OverloadedError("x"), 1),
        (errors.ContentBlockedError("x"), 0),
    ],
    ids=["not sent", "sent", "rate limited", "passed over", "answered"],
)
def test_a_request_that_was_not_sent_used_nothing_of_the_rate(error, tokens):
    async def scenario():
        health = target(requests_per_minute=2)
        await call(health, error)
        assert health.tokens == pytest.approx(tokens)

    run(scenario())


def test_a_probe_that_meets_a_rate_limit_gives_its_place_back():
    async def scenario():
        health = target(open_seconds=10)
        await open_circuit(health)
        await asyncio.sleep(10)
        await call(health, errors.RateLimitedError("x", retry_after=3))
        assert health.status().breaker == BREAKER_STATE_HALF_OPEN
        await call(health)
        assert health.status().breaker == BREAKER_STATE_CLOSED

    run(scenario())
