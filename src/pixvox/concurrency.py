"""Small pieces of structured concurrency: no task outlives the block that started it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

T = TypeVar("T")


def alongside(coroutine: Coroutine[Any, Any, T]) -> AbstractAsyncContextManager[asyncio.Task[T]]:
    """Run a coroutine in a task beside the block of an ``async with``, which is given the task.

    Leaving the block cancels the task and waits for its end. A task that returns, or is cancelled, while the block runs
    leaves it running. If the task fails, the block is cancelled where it awaits, and the task's own exception comes out
    of the ``async with``; a block that awaits the task sees that cancellation too. An exception of the block itself wins
    over one of the task. A cancellation from outside stays a `asyncio.CancelledError`, whatever else happens, and is
    handed on to a task that is slow to end.

    Raises:
        BaseException: What the block raised, else what the task raised, in either case not wrapped in a group.
    """
    return _Alongside(coroutine)


class _Alongside(Generic[T]):
    """The context manager of `alongside`."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._in_block = True
        self._interrupted = False

    async def __aenter__(self) -> asyncio.Task[T]:
        self._block = _current_task()
        # The block may run in clean-up code of a task that was cancelled long ago.
        self._earlier_cancellations = self._block.cancelling()
        self._task = asyncio.create_task(self._coroutine)
        self._task.add_done_callback(self._interrupt)
        return self._task

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_block = False
        # Whether nobody but this object asked the block to stop.
        own = self._interrupted and self._block.uncancel() <= self._earlier_cancellations
        await _ended(self._task)
        failure = None if self._task.cancelled() else self._task.exception()
        if failure is None:
            return
        cancelled = isinstance(raised, asyncio.CancelledError)
        if raised is None or (cancelled and own):
            _raise_bare(failure)
        if not cancelled and raised is not failure:
            raised.add_note(f"The task alongside failed as well: {type(failure).__name__}")

    def _interrupt(self, task: asyncio.Task[T]) -> None:
        # Asking for the exception also tells asyncio that somebody will look at it.
        if not task.cancelled() and task.exception() is not None and self._in_block:
            self._interrupted = True
            self._block.cancel()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        message = "alongside() needs a running task"
        raise RuntimeError(message)
    return task


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended, even while being cancelled; only then raise that cancellation."""
    task.cancel()
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancellation = error
            task.cancel()
    if cancellation is not None:
        raise cancellation


def _raise_bare(error: BaseException) -> NoReturn:
    """Raise an exception with the context that it has, not that of the cancellation being handled."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
