"""Asks one deployment: waits while it starts, follows its redirects without asking for the work again, knows if it sleeps.

A Server answers ``503`` while no container is up: then the worker has seen nothing of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from pixvox.errors import PixvoxError, ProviderNotConfiguredError
from pixvox.provider import Warmth
from pixvox.providers.modal import refusals
from pixvox.providers.modal.redirects import followed, redirected
from pixvox.providers.worker.fleet import deadline_headers
from pixvox.upstream import RefusedError, Reply, Safety

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from pixvox.providers.modal.config import Config
    from pixvox.upstream import EventStream, Upstream

T = TypeVar("T")

_HEALTH = "/health"
_NO_URL = "The provider has no address; set url in its table of the settings."


@dataclass(frozen=True, slots=True)
class Done:
    """Work that is done.

    Attributes:
        body: Of the worker's answer.
        request_id: What Modal or the worker calls the request, or empty.
    """

    body: bytes = field(repr=False)
    request_id: str


class Deployment:
    """One address with its credentials. Opens nothing by itself.

    Args:
        config: Of the provider.
        upstream: The door to the network.
        clock: Tells the time in seconds.
        url: Of the deployment, None for that of the config.
    """

    def __init__(
        self,
        config: Config,
        upstream: Upstream,
        clock: Callable[[], float] = time.monotonic,
        url: str | None = None,
    ) -> None:
        self._url = config.url if url is None else url
        parts = urlsplit(self._url or "http://modal.invalid")
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/")
        self._origin = upstream.origin(
            self._root,
            headers=_credentials(config),
            read_seconds=config.waits,
            refusal=refusals.retry_seconds,
            identify=refusals.ids_of,
            propagate=True,
        )
        self._config = config
        self._clock = clock
        self._seen: float | None = None
        self._in_flight = 0
        self._waking = asyncio.Lock()

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return "" if self._url else _NO_URL

    def warmth(self) -> Warmth:
        """Return how it is, by when it answered last; one that is being asked and did not answer yet is starting."""
        if self._seen is not None and self._clock() - self._seen < self._config.idle_seconds:
            return Warmth.WARM
        return Warmth.STARTING if self._in_flight else Warmth.COLD

    async def warm_up(self) -> None:
        """Start it, and return when it answers; does nothing if it is warm.

        Raises:
            ProviderError: It could not be started.
        """
        self._check_ready()
        async with self._waking:
            if self.warmth() is not Warmth.WARM:
                await self._asked("GET", _HEALTH, None, {}, Safety.FREE, "wake-up")

    async def call(self, path: str, body: bytes, headers: Mapping[str, str], operation: str) -> Done:
        """Post a request for work, and return what comes of it.

        Raises:
            ProviderError: There is none. With `OutcomeUnknownError` the work may have been done.
            RequestError: The worker refused the request.
        """
        self._check_ready()
        return await self._asked("POST", path, body, headers, Safety.BILLABLE, operation)

    @contextlib.asynccontextmanager
    async def events(self, path: str, body: bytes, operation: str) -> AsyncIterator[tuple[EventStream | Reply, str]]:
        """Post a request for work that streams, and give what comes of it for the block.

        Before the stream begins a web function may redirect, too; what its result is then fetched from may stream.

        Yields:
            The events, or the whole reply with status 200 where no events came, and what Modal or the worker calls the
            request.

        Raises:
            ProviderError: There is none. With `OutcomeUnknownError` the work may have been done.
            RequestError: The worker refused the request.
        """
        self._check_ready()
        async with AsyncExitStack() as stack:
            with self._flying(), _told():
                opened = await self._opened(stack, path, body, operation)
            yield opened

    async def _opened(
        self, stack: AsyncExitStack, path: str, body: bytes, operation: str
    ) -> tuple[EventStream | Reply, str]:
        async def send() -> EventStream | Reply:
            return await self._stream(stack, f"{self._prefix}{path}", body, operation)

        first = outcome = await self._when_up(send)
        work = ""
        if isinstance(first, Reply) and redirected(first):
            begun, work = first, refusals.call_id(first)

            async def ask(target: str) -> EventStream | Reply:
                return await self._stream(stack, target, None, f"{operation} result", begun)

            with _named(work):
                outcome = await followed(begun, f"{self._root}{self._prefix}{path}", ask, self._clock)
        if isinstance(outcome, Reply):
            return outcome, self._accepted(outcome, work, followed=outcome is not first)
        self._seen = self._clock()
        return outcome, work or refusals.request_id_of(Reply(200, outcome.headers, b""))

    async def _stream(
        self, stack: AsyncExitStack, path: str, body: bytes | None, operation: str, follows: Reply | None = None
    ) -> EventStream | Reply:
        """Return the events of a reply, which last as long as the stack, or a reply that has none."""
        events = self._origin.events(path, body=body, headers=deadline_headers(), operation=operation, follows=follows)
        try:
            return await stack.enter_async_context(events)
        except RefusedError as error:
            return error.reply

    def _check_ready(self) -> None:
        if reason := self.unready():
            raise ProviderNotConfiguredError(reason)

    async def _asked(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], safety: Safety, operation: str
    ) -> Done:
        async def send() -> Reply:
            return await self._origin.call(
                method,
                f"{self._prefix}{path}",
                body=body,
                headers={**headers, **deadline_headers()},
                safety=safety,
                operation=operation,
            )

        async def ask(target: str) -> Reply:
            return await self._origin.call(
                "GET", target, safety=Safety.FOLLOW_UP, operation=f"{operation} result", follows=first
            )

        with self._flying(), _told():
            first = reply = await self._when_up(send)
            work = refusals.call_id(first) if redirected(first) else ""
            if redirected(first):
                with _named(work):
                    reply = await followed(first, f"{self._root}{self._prefix}{path}", ask, self._clock)
            return Done(reply.body, self._accepted(reply, work, followed=reply is not first))

    def _accepted(self, reply: Reply, work: str, *, followed: bool) -> str:
        """Return what a reply with a result calls itself.

        Args:
            reply: Of the edge or of the worker.
            work: What Modal calls the work, or empty.
            followed: Whether the work had been accepted before.

        Raises:
            PixvoxError: It is none.
        """
        request_id = work or refusals.request_id_of(reply)
        if reply.status == 200:
            self._seen = self._clock()
            return request_id
        complaint = refusals.complaint_of(reply)
        if not complaint.edge:
            self._seen = self._clock()
        raise refusals.error_of(complaint, request_id=request_id, followed=followed)

    async def _when_up(self, send: Callable[[], Awaitable[Reply | T]]) -> Reply | T:
        """Send until the deployment is up, for as long as a start may take; the caller's deadline may end it sooner."""
        began = self._clock()
        while True:
            reply = await send()
            if not isinstance(reply, Reply) or reply.status != 503 or not refusals.complaint_of(reply).cold:
                return reply
            # It sleeps, whatever was seen of it before.
            self._seen = None
            wait = max(self._config.poll_seconds, reply.retry_after or 0.0)
            if self._clock() + wait - began > self._config.cold_start_seconds:
                return reply
            await asyncio.sleep(wait)

    @contextlib.contextmanager
    def _flying(self) -> Iterator[None]:
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1


def _credentials(config: Config) -> dict[str, str]:
    headers = {"accept": "application/json", **config.token}
    if config.worker_key:
        headers["authorization"] = f"Bearer {config.worker_key}"
    return headers


@contextlib.contextmanager
def _named(work: str) -> Iterator[None]:
    """Have what fails in the block name the work."""
    try:
        yield
    except PixvoxError as error:
        error.metadata = {"provider_request_id": work} | error.metadata
        raise


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have what fails in the block name the provider's code and id even where there are none."""
    try:
        yield
    except PixvoxError as error:
        error.metadata = {"provider_code": "", "provider_request_id": ""} | error.metadata
        raise
