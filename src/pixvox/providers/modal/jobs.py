"""Runs jobs of the earlier speech app on Modal: submit, ask after, fetch, and cancel where the app can.

The reference audio and its transcript go out with every job, because the app keeps no voices.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from pixvox.errors import PixvoxError, ProviderInternalError
from pixvox.providers.modal import refusals
from pixvox.providers.modal.endpoints import Endpoint
from pixvox.upstream import Safety, polled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pixvox.providers.modal.config import Config
    from pixvox.upstream import Reply, Upstream

CANCEL_SECONDS = 2.0
MAX_NEW_TOKENS = 2048

_READ_SECONDS = 60.0
# A submission may have to wait for a container, and can be redirected after 150 seconds; cut off before, it is ambiguous.
_SUBMIT_READ_SECONDS = 160.0
_LONGEST_GROWTH = 2.0
_NOT_YET = 202
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Job(msgspec.Struct):
    """A job that the app has accepted.

    Attributes:
        job_id: To ask after it.
    """

    job_id: str


class Jobs:
    """The app's endpoints, each an address of its own.

    Args:
        config: Of the provider, with `job_submit`, `job_status` and `job_result`.
        upstream: The door to the network.
    """

    def __init__(self, config: Config, upstream: Upstream) -> None:
        def endpoint(url: str, read_seconds: float = _READ_SECONDS) -> Endpoint:
            return Endpoint(url, upstream, read_seconds=read_seconds, token=config.token)

        self._submit = endpoint(config.job_submit, _SUBMIT_READ_SECONDS)
        self._status = endpoint(config.job_status)
        self._result = endpoint(config.job_result)
        self._cancel = endpoint(config.job_cancel) if config.job_cancel else None
        self._poll_seconds = config.job_poll_seconds

    async def done(self, fields: Mapping[str, object]) -> tuple[str, bytes]:
        """Submit a job, and return its id and its WAV file.

        When this is cancelled the job is called off, where the app can; that takes `CANCEL_SECONDS` at most.

        Raises:
            ProviderError: The job was refused, failed, or is lost.
            RequestError: The app blames the request.
        """
        submission = asyncio.create_task(self._submitted(fields))
        try:
            # Cut off in the middle, the submission may have begun a job whose id nobody knows.
            job, begun = await asyncio.shield(submission)
            with _accepted(job):
                poll, longest = self._poll_seconds, _LONGEST_GROWTH * self._poll_seconds
                await polled(lambda: self._completed(job, begun), first_seconds=poll, longest_seconds=longest)
                file = await self._file(job, begun)
                if file is None:
                    file = await polled(lambda: self._file(job, begun), first_seconds=poll, longest_seconds=longest)
                return job.job_id, file
        except asyncio.CancelledError:
            await _through(asyncio.create_task(self._called_off(submission)))
            raise

    async def _submitted(self, fields: Mapping[str, object]) -> tuple[Job, Reply]:
        body = await asyncio.to_thread(msgspec.json.encode, fields)
        begun, reply, request_id = await self._submit.worked(body, "speech job")
        try:
            return msgspec.json.decode(reply.body, type=Job), begun
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            message = "The app accepted the job without saying how to ask after it; it may be billed."
            metadata = {"provider_code": "", "provider_request_id": request_id, "replay": "accepted"}
            raise ProviderInternalError(message, metadata=metadata) from error

    async def _completed(self, job: Job, begun: Reply) -> bool | None:
        """Return True if the job has its result, None while it has not ended."""
        reply = await self._status.call("GET", _query(job), None, Safety.FOLLOW_UP, "speech job poll", begun)
        if reply.status in _PASSING and not refusals.complaint_of(reply).spent:
            return None
        if reply.status != 200:
            raise refusals.error_of(refusals.complaint_of(reply), followed=True)
        match _state(reply):
            case "completed":
                return True
            case "failed" | "cancelled":
                raise ProviderInternalError("The speech job failed.")
            case _:
                return None

    async def _file(self, job: Job, begun: Reply) -> bytes | None:
        reply = await self._result.call("GET", _query(job), None, Safety.FOLLOW_UP, "speech job result", begun)
        if reply.status == _NOT_YET:
            return None
        if reply.status != 200:
            raise refusals.error_of(refusals.complaint_of(reply), followed=True)
        return reply.body

    async def _called_off(self, submission: asyncio.Task[tuple[Job, Reply]]) -> None:
        # Nobody is left to be told.
        with contextlib.suppress(TimeoutError, PixvoxError):
            async with asyncio.timeout(CANCEL_SECONDS):
                job, begun = await submission
                if self._cancel is not None:
                    body = msgspec.json.encode(job)
                    await self._cancel.call("POST", "", body, Safety.FOLLOW_UP, "speech job cancellation", begun)


class _State(msgspec.Struct):
    status: str = ""


def _query(job: Job) -> str:
    return f"?job_id={quote(job.job_id, safe='')}"


def _state(reply: Reply) -> str:
    try:
        return msgspec.json.decode(reply.body, type=_State).status
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


async def _through(task: asyncio.Task[None]) -> None:
    """Wait for a task that ends soon, whoever gives up waiting."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


@contextlib.contextmanager
def _accepted(job: Job) -> Iterator[None]:
    """Have what fails in the block name the job, and that its work may be billed."""
    try:
        yield
    except PixvoxError as error:
        named = {"provider_code": "", "provider_request_id": refusals.identifier(job.job_id)}
        error.metadata = named | {name: value for name, value in error.metadata.items() if value}
        error.metadata["replay"] = "accepted"
        raise
