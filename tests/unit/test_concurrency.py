"""What `alongside` promises, whoever fails, ends or is cancelled first."""

from __future__ import annotations

import asyncio
import gc
import traceback
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from pixvox.concurrency import alongside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


class TaskError(Exception):
    """Raised by the task."""


class BlockError(Exception):
    """Raised by the block."""


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task running, or an exception that nobody looked at."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()
    assert complaints == []


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(after: float = 0.0) -> None:
    await asyncio.sleep(after)
    raise TaskError


async def fail_in_cleanup() -> None:
    try:
        await forever()
    finally:
        raise TaskError


async def stubborn(seconds: float, log: list[str]) -> None:
    """Take its time over its end, and be hurried by a second cancellation."""
    try:
        await forever()
    finally:
        try:
            await asyncio.sleep(seconds)
            log.append("ended in its own time")
        except asyncio.CancelledError:
            log.append("hurried")


async def test_leaving_the_block_cancels_the_task_and_waits_for_its_end() -> None:
    log: list[str] = []
    async with alongside(stubborn(0.01, log)) as task:
        await asyncio.sleep(0)
        assert not task.done()
    assert task.cancelled() or task.done()
    assert log == ["ended in its own time"]


async def test_a_block_that_never_awaits_leaves_no_task() -> None:
    async with alongside(forever()) as task:
        pass
    assert task.cancelled()


async def test_the_task_runs_while_the_block_runs() -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def count() -> None:
        for number in range(3):
            await heard.put(number)

    async with alongside(count()):
        assert [await heard.get() for _ in range(3)] == [0, 1, 2]


async def test_a_task_that_returns_leaves_the_block_running() -> None:
    async with alongside(asyncio.sleep(0, "result")) as task:
        await asyncio.sleep(0.01)
        assert task.result() == "result"


async def test_a_task_that_is_cancelled_leaves_the_block_running() -> None:
    async with alongside(forever()) as task:
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        assert task.cancelled()


async def test_a_failing_task_cancels_the_block_and_its_error_comes_out_bare() -> None:
    with pytest.raises(TaskError) as caught:
        async with alongside(fail()):
            await forever()
    assert caught.value.__context__ is None
    assert "CancelledError" not in "".join(traceback.format_exception(caught.value))
    assert _cancellations() == 0


async def test_the_cause_of_the_tasks_error_is_kept() -> None:
    cause = ValueError("why")

    async def fail_for_a_reason() -> None:
        raise TaskError from cause

    with pytest.raises(TaskError) as caught:
        async with alongside(fail_for_a_reason()):
            await forever()
    assert caught.value.__cause__ is cause


async def test_the_block_can_clean_up_when_the_task_fails() -> None:
    log = []

    async def call() -> None:
        async with alongside(fail()):
            try:
                await forever()
            finally:
                await asyncio.sleep(0.01)
                log.append("cleaned up")

    with pytest.raises(TaskError):
        await call()
    assert log == ["cleaned up"]


async def test_a_task_that_failed_unnoticed_by_the_block_still_raises() -> None:
    async def call() -> None:
        async with alongside(fail()):
            with suppress(asyncio.CancelledError):
                await forever()

    with pytest.raises(TaskError):
        await call()
    assert _cancellations() == 0
    await asyncio.sleep(0)


async def test_a_block_that_swallows_the_cancellation_may_go_on_awaiting() -> None:
    log = []

    async def call() -> None:
        async with alongside(fail()):
            with suppress(asyncio.CancelledError):
                await forever()
            await asyncio.sleep(0.01)
            log.append("went on")

    with pytest.raises(TaskError):
        await call()
    assert log == ["went on"]


async def test_a_block_that_awaits_a_failing_task_lets_its_error_out() -> None:
    with pytest.raises(TaskError):
        async with alongside(fail()) as task:
            await task
    assert _cancellations() == 0


async def test_the_tasks_own_error_is_not_said_to_come_with_another() -> None:
    async def call() -> None:
        async with alongside(fail()) as task:
            with suppress(asyncio.CancelledError):
                await forever()
            await task

    with pytest.raises(TaskError) as caught:
        await call()
    assert not hasattr(caught.value, "__notes__")
    assert _cancellations() == 0


async def test_a_task_that_fails_in_its_cleanup_is_not_overlooked() -> None:
    with pytest.raises(TaskError):
        async with alongside(fail_in_cleanup()):
            await asyncio.sleep(0)


async def test_an_error_of_the_block_comes_out_and_the_task_is_cancelled() -> None:
    log: list[str] = []

    async def call() -> None:
        async with alongside(stubborn(0.01, log)):
            await asyncio.sleep(0)
            raise BlockError

    with pytest.raises(BlockError):
        await call()
    assert log == ["ended in its own time"]


async def test_an_error_of_the_block_wins_over_one_of_the_task_but_mentions_it() -> None:
    async def call() -> None:
        async with alongside(fail_in_cleanup()):
            await asyncio.sleep(0)
            raise BlockError

    with pytest.raises(BlockError) as caught:
        await call()
    assert caught.value.__notes__ == ["The task alongside failed as well: TaskError"]


async def test_an_error_of_the_blocks_cleanup_wins_over_that_of_the_task() -> None:
    async def call() -> None:
        async with alongside(fail()):
            try:
                await forever()
            finally:
                raise BlockError

    with pytest.raises(BlockError):
        await call()
    assert _cancellations() == 0


async def test_an_error_of_the_block_survives_when_the_task_failed_in_the_same_turn() -> None:
    go = asyncio.Event()

    async def fail_on_signal() -> None:
        await go.wait()
        raise TaskError

    async def call() -> None:
        async with alongside(fail_on_signal()) as task:
            await asyncio.sleep(0)
            go.set()
            await asyncio.sleep(0)
            # The task has failed, but its callback has not yet run.
            assert task.done()
            raise BlockError

    with pytest.raises(BlockError):
        await call()
    await asyncio.sleep(0)
    assert _cancellations() == 0


async def test_a_block_that_ends_in_the_turn_in_which_the_task_fails_raises_its_error() -> None:
    go = asyncio.Event()

    async def fail_on_signal() -> None:
        await go.wait()
        raise TaskError

    async def call() -> None:
        async with alongside(fail_on_signal()) as task:
            await asyncio.sleep(0)
            go.set()
            await asyncio.sleep(0)
            assert task.done()

    with pytest.raises(TaskError):
        await call()
    await asyncio.sleep(0)
    assert _cancellations() == 0


async def test_a_cancellation_from_outside_stays_one_and_ends_the_task() -> None:
    log: list[str] = []

    async def call() -> None:
        async with alongside(stubborn(0.01, log)):
            await forever()

    call_task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    call_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call_task
    assert call_task.cancelled()
    assert log == ["ended in its own time"]


async def test_a_cancellation_from_outside_wins_over_a_task_that_fails_on_its_way_out() -> None:
    async def call() -> None:
        async with alongside(fail_in_cleanup()):
            await forever()

    assert await _cancelled(call()) == "cancelled"


async def test_a_cancellation_from_outside_wins_over_a_task_that_fails_in_the_same_turn() -> None:
    go = asyncio.Event()

    async def fail_on_signal() -> None:
        await go.wait()
        raise TaskError

    async def call() -> None:
        async with alongside(fail_on_signal()):
            await forever()

    call_task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    go.set()
    await asyncio.sleep(0)
    call_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call_task


async def test_a_cancellation_while_waiting_for_the_task_is_handed_on_and_comes_out() -> None:
    log: list[str] = []

    async def call() -> None:
        async with alongside(stubborn(60, log)):
            await asyncio.sleep(0)

    assert await _cancelled(call()) == "cancelled"
    assert log == ["hurried"]


async def test_a_cancellation_while_waiting_is_not_lost_to_an_error_of_the_block() -> None:
    log: list[str] = []

    async def call() -> None:
        async with alongside(stubborn(60, log)):
            await asyncio.sleep(0)
            raise BlockError

    assert await _cancelled(call()) == "cancelled"


async def test_a_block_that_swallows_a_cancellation_from_outside_ends_normally() -> None:
    async def call() -> str:
        async with alongside(forever()):
            with suppress(asyncio.CancelledError):
                await forever()
        return "went on"

    assert await _cancelled(call()) == "went on"


async def test_a_cancelled_future_in_the_block_is_the_blocks_own_affair() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with alongside(forever()):
            await future
    assert _cancellations() == 0


async def test_a_timeout_outside_becomes_a_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), alongside(forever()):
            await forever()
    assert _cancellations() == 0


async def test_a_timeout_outside_reaches_a_task_that_is_slow_to_end() -> None:
    log: list[str] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), alongside(stubborn(60, log)):
            await asyncio.sleep(0)
    assert log == ["hurried"]


async def test_a_timeout_outside_does_not_hide_the_tasks_error() -> None:
    with pytest.raises(TaskError):
        async with asyncio.timeout(10), alongside(fail()):
            await forever()
    assert _cancellations() == 0


async def test_a_timeout_inside_is_the_blocks_own_affair() -> None:
    async with alongside(forever()) as task:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await forever()
        assert not task.done()


async def test_a_failing_task_is_not_taken_for_a_timeout_inside() -> None:
    with pytest.raises(TaskError):
        async with alongside(fail()), asyncio.timeout(10):
            await forever()
    assert _cancellations() == 0


async def test_a_timeout_in_the_task_cancels_the_block() -> None:
    async def late() -> None:
        async with asyncio.timeout(0.01):
            await forever()

    with pytest.raises(TimeoutError):
        async with alongside(late()):
            await forever()


async def test_the_inner_of_two_tasks_may_fail() -> None:
    with pytest.raises(TaskError):
        async with alongside(forever()) as outer, alongside(fail()):
            await forever()
    assert outer.cancelled()
    assert _cancellations() == 0


async def test_the_outer_of_two_tasks_may_fail() -> None:
    with pytest.raises(TaskError):
        async with alongside(fail()), alongside(forever()) as inner:
            await forever()
    assert inner.cancelled()
    assert _cancellations() == 0


async def test_the_outer_task_may_fail_while_the_inner_is_slow_to_end() -> None:
    log: list[str] = []
    with pytest.raises(TaskError):
        async with alongside(fail(after=0.02)), alongside(stubborn(60, log)):
            await asyncio.sleep(0)
    assert log == ["hurried"]
    assert _cancellations() == 0


async def test_two_tasks_may_fail_at_once() -> None:
    with pytest.raises(TaskError):
        async with alongside(fail()), alongside(fail()):
            await forever()
    assert _cancellations() == 0


async def test_it_works_in_the_cleanup_of_a_cancelled_task() -> None:
    log = []

    async def call() -> None:
        try:
            await forever()
        finally:
            try:
                async with alongside(fail()):
                    await forever()
            except TaskError:
                log.append("task failed")

    assert await _cancelled(call()) == "cancelled"
    assert log == ["task failed"]


async def test_it_can_be_entered_on_an_exit_stack_inside_a_context_manager() -> None:
    @asynccontextmanager
    async def connection() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(alongside(fail()))
            yield

    with pytest.raises(TaskError):
        async with connection():
            await forever()
    assert _cancellations() == 0


async def test_many_at_once_leave_nothing_behind() -> None:
    async def call(number: int) -> None:
        beside = fail(after=number % 7 / 100) if number % 2 else forever()
        async with asyncio.timeout(number % 11 / 100), alongside(beside), alongside(asyncio.sleep(0.03)):
            await asyncio.sleep(number % 5 / 100)

    outcomes = await asyncio.gather(*(call(number) for number in range(500)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {type(None), TaskError, TimeoutError}


def _cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def _cancelled(call: Coroutine[Any, Any, str | None]) -> str | None:
    """Cancel a call that has had time to start, and tell how it ended."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0.01)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return "cancelled"
