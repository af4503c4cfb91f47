"""Work that the vendor does in its own time: begun, asked after, and called off when nobody waits for it any more.

Source: "Qwen - text-to-image API reference", asynchronous calls, of Alibaba Cloud Model Studio.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from pixvox.errors import PixvoxError, ProviderInternalError, ProviderRejectedError, TaskNotFoundError
from pixvox.providers.dashscope import wording
from pixvox.providers.dashscope.refusals import Complaint, Envelope, error_of, request_id_of, retry_seconds
from pixvox.upstream import Safety, polled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pixvox.providers.dashscope.account import Account
    from pixvox.upstream import Reply

T = TypeVar("T")

# How long a caller who leaves may be kept for the sake of the bill.
CANCEL_SECONDS = 1.5
# The vendor suggests ten seconds; the time to the picture grows by half an interval.
GROWTH = 5.0

_ASYNC = {"X-DashScope-Async": "enable"}
# The task goes on while nobody can be asked after it.
_PASSING = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Task:
    """Work that the vendor has accepted.

    Attributes:
        id: To ask after it.
        request_id: Of the call that began it.
        begun: The reply to that call.
    """

    id: str
    request_id: str
    begun: Reply


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done.

    Attributes:
        path: Where such tasks are begun.
        body: JSON.
        operation: In words that are the same for every call.
        private: Texts of the caller that no error repeats.
        pause: Seconds between two requests by the model's rate limit.
    """

    path: str
    body: bytes
    operation: str
    private: Sequence[str] = ()
    pause: float = 1.0


class Tasks:
    """Runs tasks of an account.

    Args:
        account: Whose tasks they are.
        poll_seconds: Before a task is asked after for the first time; later waits grow to five times as long.
    """

    def __init__(self, account: Account, poll_seconds: float) -> None:
        self._account = account
        self._poll_seconds = poll_seconds

    async def finished(self, work: Work, read: Callable[[Reply], T]) -> tuple[Task, T]:
        """Begin a task, and return it with what `read` makes of the reply that says it has succeeded.

        When this is cancelled the task is called off, as long as it has not begun; that takes `CANCEL_SECONDS` at most.

        Raises:
            ProviderError: The task was refused, failed, or is lost.
            RequestError: The vendor blames the request.
        """
        creation = asyncio.create_task(self._begun(work))
        try:
            # Cut off in the middle, the request for a task may have begun one whose id nobody knows.
            task = await asyncio.shield(creation)
            with _accepted(task):
                reply = await polled(
                    lambda: self._outcome(task, work),
                    first_seconds=self._poll_seconds,
                    longest_seconds=GROWTH * self._poll_seconds,
                )
                return task, read(reply)
        except asyncio.CancelledError:
            await _through(asyncio.create_task(self._call_off(creation)))
            raise

    async def _begun(self, work: Work) -> Task:
        reply = await self._account.http.call(
            "POST", work.path, body=work.body, headers=_ASYNC, safety=Safety.BILLABLE, operation=work.operation
        )
        answer = _decoded(reply)
        request_id = answer.request_id or request_id_of(reply)
        if reply.status != 200 or answer.code:
            raise self._account.refused(reply, private=work.private, pause=work.pause)
        if answer.output is None or not answer.output.task_id:
            message = "The provider accepted the work without saying how to ask after it; it may be billed."
            metadata = {"provider_request_id": wording.identifier(request_id), "replay": "accepted"}
            raise ProviderInternalError(message, metadata=metadata)
        return Task(answer.output.task_id, request_id, reply)

    async def _outcome(self, task: Task, work: Work) -> Reply | None:
        """Return the reply of a task that has succeeded, None while it has not ended."""
        reply = await self._account.http.call(
            "GET",
            f"/tasks/{quote(task.id, safe='')}",
            safety=Safety.FOLLOW_UP,
            operation="task poll",
            follows=task.begun,
        )
        if reply.status in _PASSING or retry_seconds(reply) is not None:
            return None
        if reply.status != 200 or (answer := _decoded(reply)).code or answer.output is None:
            raise self._account.refused(reply, private=work.private)
        match answer.output.task_status:
            case "SUCCEEDED":
                return reply
            case "FAILED":
                raise self._failure(answer.output, work)
            case "CANCELED":
                raise ProviderRejectedError("The task was cancelled at the provider.")
            case "UNKNOWN":
                message = "The provider no longer knows the task that it had accepted; its outcome is lost."
                raise TaskNotFoundError(message, resource=("task", task.id))
            case _:
                return None

    async def _call_off(self, creation: asyncio.Task[Task]) -> None:
        # Nobody is left to be told, and a task that has begun cannot be called off.
        with contextlib.suppress(TimeoutError, PixvoxError):
            async with asyncio.timeout(CANCEL_SECONDS):
                task = await creation
                await self._account.http.call(
                    "POST",
                    f"/tasks/{quote(task.id, safe='')}/cancel",
                    safety=Safety.FOLLOW_UP,
                    operation="task cancellation",
                    follows=task.begun,
                )

    def _failure(self, output: _Output, work: Work) -> PixvoxError:
        complaint = Complaint(code=str(output.code or ""), message=output.message or "")
        return error_of(complaint, region=self._account.region, private=work.private, pause=work.pause)


class _Output(msgspec.Struct):
    task_id: str | None = None
    task_status: str | None = None
    code: str | int | None = None
    message: str | None = None


class _Answer(Envelope):
    output: _Output | None = None


@contextlib.contextmanager
def _accepted(task: Task) -> Iterator[None]:
    """Have what fails in the block name the task, and that its work may be billed."""
    try:
        yield
    except PixvoxError as error:
        error.metadata = error.metadata | {
            "provider_request_id": wording.identifier(task.request_id),
            "provider_task_id": wording.identifier(task.id),
            "replay": "accepted",
        }
        raise


def _decoded(reply: Reply) -> _Answer:
    """Return what a reply says; nothing if it is not JSON as the vendor's."""
    try:
        return msgspec.json.decode(reply.body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Answer()


async def _through(task: asyncio.Task[None]) -> None:
    """Wait for a task that ends soon, however often the waiting is cancelled; the caller raises that it was."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((task,))
