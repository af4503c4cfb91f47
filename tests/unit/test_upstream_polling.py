"""Polling, with a clock of its own."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from pixvox.upstream import polling
from pixvox.upstream.polling import polled


class Clock:
    def __init__(self):
        self.now = 0.0
        self.waits = []

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(polling, "sleep", clock.sleep)
    return clock


async def test_it_returns_the_first_answer_that_is_not_none(clock):
    answers = [None, None, 0, 1]

    async def check():
        return answers.pop(0)

    assert await polled(check, first_seconds=1, longest_seconds=5) == 0
    assert len(clock.waits) == 3


async def test_intervals_grow_by_half_up_to_the_longest(clock):
    asked = iter(range(8))

    async def check():
        return "done" if next(asked) == 7 else None

    await polled(check, first_seconds=2, longest_seconds=10)
    expected = [2, 3, 4.5, 6.75, 10, 10, 10, 10]
    assert clock.waits == [pytest.approx(seconds, rel=0.1) for seconds in expected]


async def test_calls_that_began_together_drift_apart(clock):
    async def check():
        return True

    for _ in range(100):
        await polled(check, first_seconds=10, longest_seconds=20)
    assert 9 <= min(clock.waits) < 9.3
    assert 10.7 < max(clock.waits) <= 11


async def test_the_first_interval_is_not_longer_than_the_longest(clock):
    async def check():
        return True

    await polled(check, first_seconds=10, longest_seconds=2)
    assert clock.waits == [pytest.approx(2, rel=0.1)]


async def test_an_interval_begins_when_the_slow_answer_is_there(clock):
    begun = []

    async def check():
        begun.append(clock.now)
        clock.now += 60
        return True if len(begun) == 3 else None

    await polled(check, first_seconds=1, longest_seconds=1)
    assert [later - earlier for earlier, later in itertools.pairwise(begun)] == [pytest.approx(61, abs=0.1)] * 2


@pytest.mark.usefixtures("clock")
async def test_what_the_question_raises_ends_the_polling():
    async def check():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await polled(check, first_seconds=1, longest_seconds=1)


async def test_it_can_be_cancelled_while_it_waits():
    async def check():
        raise AssertionError

    task = asyncio.create_task(polled(check, first_seconds=60, longest_seconds=60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
