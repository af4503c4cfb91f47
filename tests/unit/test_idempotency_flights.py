"""Work that several callers wait for is done once, and ends when the last of them leaves."""

from __future__ import annotations

import asyncio
import math
import traceback

import pytest

from pixvox import telemetry
from pixvox.errors import PixvoxError, RateLimitedError, ShuttingDownError
from pixvox.idempotency.flights import Flights
from pixvox.telemetry import Call


class Work:
    """Begins when it is asked, ends when it is told to, and counts."""

    def __init__(self, answer: bytes | Exception = b"answer") -> None:
        self.begun = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.answer = answer

    async def __call__(self, flight: object) -> bytes:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def callers(flights: Flights, work: Work, count: int, key: str = "key") -> list[asyncio.Task[bytes]]:
    """So many callers, who wait."""
    tasks = [asyncio.create_task(flights.answer(key, "same", Call("m"), work)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_all_get_the_answer_of_one():
    flights, work = Flights(0.0), Work()
    tasks = await callers(flights, work, 50)
    work.go.set()
    assert set(await asyncio.gather(*tasks)) == {b"answer"}
    assert work.begun == 1
    assert flights.find("key") is None
    assert flights.running() == set()


async def test_every_key_is_work_of_its_own():
    flights, work = Flights(0.0), Work()
    tasks = await callers(flights, work, 1) + await callers(flights, work, 1, "other")
    work.go.set()
    await asyncio.gather(*tasks)
    assert work.begun == 2


async def test_the_last_who_leaves_ends_the_work_and_waits_for_nothing():
    flights, work = Flights(0.0), Work()
    first, *others = await callers(flights, work, 3)
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    assert work.cancelled == 0
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert flights.find("key") is None
    await asyncio.sleep(0)
    assert work.cancelled == 1


async def test_the_work_goes_on_when_the_caller_who_began_it_leaves():
    flights, work = Flights(0.0), Work()
    first, second = await callers(flights, work, 2)
    first.cancel()
    await asyncio.sleep(0)
    work.go.set()
    assert await second == b"answer"


async def test_each_caller_has_an_exception_of_its_own():
    error = RateLimitedError("later", metadata={"provider": "x"}, retry_after=2.0)
    flights, work = Flights(0.0), Work(error)
    tasks = await callers(flights, work, 20)
    work.go.set()
    raised = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(one) for one in raised}) == 20
    assert error not in raised
    for one in raised:
        assert type(one) is RateLimitedError
        assert one.__dict__ == error.__dict__
        assert str(one) == "later"
    assert len(traceback.extract_tb(error.__traceback__)) == 1
    assert len({len(traceback.extract_tb(one.__traceback__)) for one in raised}) == 1


async def test_an_error_whose_class_has_arguments_of_its_own_is_told_to_all():
    class OddError(PixvoxError):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")
            self.one = one

    flights, work = Flights(0.0), Work(OddError(1, 2))
    tasks = await callers(flights, work, 2)
    work.go.set()
    for one in await asyncio.gather(*tasks, return_exceptions=True):
        assert (str(one), one.one) == ("1 and 2", 1)


async def test_the_deadline_is_that_of_the_caller_who_waits_longest():
    flights, work = Flights(0.0), Work()
    first, later, sooner = (Call("m", deadline=deadline) for deadline in (10.0, 20.0, 5.0))
    tasks = [asyncio.create_task(flights.answer("key", "same", call, work)) for call in (first, later, sooner)]
    await asyncio.sleep(0)
    assert (first.deadline, later.deadline, sooner.deadline) == (20.0, 20.0, 5.0)
    work.go.set()
    await asyncio.gather(*tasks)


async def test_all_log_lines_name_who_served_the_call():
    async def work(_: object) -> bytes:
        await asyncio.sleep(0)
        telemetry.current_call().provider, telemetry.current_call().model = "p", "m"
        return b""

    async def one() -> Call:
        with telemetry.calling(Call("m")) as call:
            await flights.answer("key", "same", call, work)
        return call

    flights = Flights(0.0)
    calls = await asyncio.gather(one(), one(), one())
    assert {(call.provider, call.model) for call in calls} == {("p", "m")}
    assert len({call.request_id for call in calls}) == 1


async def test_work_lingers_and_whoever_comes_in_time_joins_it():
    flights, work = Flights(0.3), Work()
    first = (await callers(flights, work, 1))[0]
    flight = flights.find("key")
    flight.call.deadline = -math.inf
    first.cancel()
    await asyncio.sleep(0.1)
    assert flight.call.deadline > 0
    (second,) = await callers(flights, work, 1)
    await asyncio.sleep(0.4)
    work.go.set()
    assert await second == b"answer"
    assert (work.begun, work.cancelled) == (1, 0)


async def test_work_does_not_linger_for_ever():
    flights, work = Flights(0.1), Work()
    (first,) = await callers(flights, work, 1)
    first.cancel()
    await asyncio.sleep(0.2)
    assert work.cancelled == 1
    assert flights.running() == set()


async def test_work_that_lasts_goes_on_without_callers():
    flights, work = Flights(0.0), Work()
    (first,) = await callers(flights, work, 1)
    flights.find("key").lasts = lambda: True
    first.cancel()
    await asyncio.sleep(0.05)
    assert len(flights.running()) == 1
    (second,) = await callers(flights, work, 1)
    work.go.set()
    assert await second == b"answer"
    assert work.begun == 1


async def test_the_end_of_the_service_ends_all_work_and_what_lasts_a_little_later():
    flights, work, lasting = Flights(60.0), Work(), Work()
    gone = await callers(flights, work, 1) + await callers(flights, lasting, 1, "lasting")
    flights.find("lasting").lasts = lambda: True
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    closing = asyncio.create_task(flights.aclose(0.2))
    await asyncio.sleep(0.1)
    assert (work.cancelled, lasting.cancelled) == (1, 0)
    await closing
    assert lasting.cancelled == 1
    assert flights.running() == set()


async def test_a_caller_of_work_that_is_broken_off_is_told_why():
    flights, work = Flights(0.0), Work()
    (first,) = await callers(flights, work, 1)
    await flights.aclose(0.0)
    with pytest.raises(ShuttingDownError):
        await first
