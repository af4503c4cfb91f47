"""What a bucket of tokens gives, and when it says that it will."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.routing.rates import TokenBucket


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_full_bucket_gives_its_burst_at_once_and_then_one_at_a_time(clock):
    bucket = TokenBucket(60, 3, clock=clock)
    for _ in range(3):
        assert bucket.wait() == 0
        bucket.take()
    assert bucket.wait() == pytest.approx(1)
    clock.now += 1
    assert bucket.wait() == 0
    bucket.take()
    assert bucket.wait() == pytest.approx(1)


def test_two_a_minute_come_thirty_seconds_apart(clock):
    bucket = TokenBucket(2, 1, clock=clock)
    bucket.take()
    assert bucket.wait() == pytest.approx(30)
    clock.now += 29
    assert bucket.wait() == pytest.approx(1)


def test_it_says_when_several_will_be_there(clock):
    bucket = TokenBucket(60, 2, clock=clock)
    assert bucket.wait(2) == 0
    assert bucket.wait(5) == pytest.approx(3)


def test_an_idle_bucket_holds_no_more_than_its_burst(clock):
    bucket = TokenBucket(600, 4, clock=clock)
    bucket.take()
    clock.now += 3600
    assert bucket.tokens == 4


def test_a_refund_brings_the_token_back_and_never_more_than_the_burst(clock):
    bucket = TokenBucket(2, 1, clock=clock)
    bucket.take()
    bucket.refund()
    assert bucket.wait() == 0
    bucket.refund()
    assert bucket.tokens == 1


def test_without_a_limit_it_always_gives(clock):
    bucket = TokenBucket(0, 1, clock=clock)
    for _ in range(1000):
        assert bucket.wait() == 0
        bucket.take()
    assert bucket.tokens == math.inf


def test_a_pause_gives_nothing_until_it_is_over_even_without_a_limit(clock):
    bucket = TokenBucket(0, 1, clock=clock)
    bucket.pause(5)
    assert bucket.tokens == 0
    assert bucket.wait() == pytest.approx(5)
    clock.now += 5
    assert bucket.wait() == 0
    assert bucket.tokens == math.inf


def test_after_a_pause_there_is_one_token_and_no_burst(clock):
    bucket = TokenBucket(60, 10, clock=clock)
    bucket.pause(20)
    assert bucket.wait() == pytest.approx(20)
    clock.now += 20
    assert bucket.tokens == pytest.approx(1)


def test_a_short_pause_does_not_bring_a_token_sooner_than_the_rate(clock):
    bucket = TokenBucket(2, 1, clock=clock)
    bucket.take()
    bucket.pause(1)
    assert bucket.wait() == pytest.approx(30)


def test_a_shorter_pause_does_not_end_a_longer_one(clock):
    bucket = TokenBucket(60, 1, clock=clock)
    bucket.pause(10)
    bucket.pause(2)
    assert bucket.paused() == pytest.approx(10)


def test_a_changed_rate_holds_from_now_on_and_keeps_what_was_there(clock):
    bucket = TokenBucket(60, 10, clock=clock)
    for _ in range(10):
        bucket.take()
    clock.now += 2
    bucket.reconfigure(6, 10)
    assert bucket.tokens == pytest.approx(2)
    assert bucket.wait(3) == pytest.approx(10)


def test_a_smaller_burst_takes_away_what_is_over_it(clock):
    bucket = TokenBucket(60, 10, clock=clock)
    bucket.reconfigure(60, 3)
    assert bucket.tokens == 3


def test_a_limit_that_is_new_begins_with_a_full_bucket(clock):
    bucket = TokenBucket(0, 1, clock=clock)
    bucket.reconfigure(60, 5)
    assert bucket.tokens == 5
    for _ in range(5):
        bucket.take()
    assert bucket.wait() == pytest.approx(1)


def test_a_change_does_not_end_a_pause(clock):
    bucket = TokenBucket(0, 1, clock=clock)
    bucket.pause(8)
    bucket.reconfigure(60, 5)
    assert bucket.wait() == pytest.approx(8)
    bucket.reconfigure(0, 1)
    assert bucket.wait() == pytest.approx(8)


@given(
    per_minute=st.floats(0.5, 6000),
    burst=st.integers(1, 20),
    steps=st.lists(st.tuples(st.sampled_from(["take", "refund", "pause"]), st.floats(0, 30)), max_size=60),
)
def test_no_time_brings_more_than_the_burst_and_the_rate(per_minute, burst, steps):
    clock = Clock()
    bucket = TokenBucket(per_minute, burst, clock=clock)
    begin, taken = clock.now, 0
    for step, seconds in steps:
        clock.now += seconds
        if step == "pause":
            bucket.pause(seconds)
        elif step == "refund" and taken:
            bucket.refund()
            taken -= 1
        elif bucket.wait() == 0:
            bucket.take()
            taken += 1
        assert 0 <= bucket.tokens <= burst
        assert taken <= burst + (clock.now - begin) * per_minute / 60 + 1e-6


@given(per_minute=st.floats(0.5, 6000), burst=st.integers(1, 20), takes=st.integers(0, 20), pause=st.floats(0, 100))
def test_a_token_is_there_after_the_wait_and_not_before(per_minute, burst, takes, pause):
    clock = Clock()
    bucket = TokenBucket(per_minute, burst, clock=clock)
    for _ in range(min(takes, burst)):
        bucket.take()
    if pause > 50:
        bucket.pause(pause)
    wait = bucket.wait()
    if wait > 1e-3:
        clock.now += wait - 1e-3
        assert bucket.wait() > 0
    # Exactly, or a timer would come back without end while the clock stands.
    for _ in range(3):
        clock.now += bucket.wait()
    assert bucket.wait() == 0
