"""Asks one deployment: waits while it starts, follows its redirects without asking for the work again, knows if it sleeps.

A web function answers ``303`` after 150 seconds; the work goes on, and a GET of the address in ``Location`` waits for it.
A Server answers ``503`` while no container is up: then the worker has seen nothing of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urljoin, urlsplit

from pixvox.errors import OutcomeUnknownError, PixvoxError, ProviderConfigError, ProviderNotConfiguredError
from pixvox.provider import Warmth
from pixvox.providers.modal import refusals
from pixvox.upstream import Reply, Safety

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from pixvox.providers.modal.config import Config
    from pixvox.upstream import Upstream

CALL_ID = "__modal_function_call_id"

_HEALTH = "/health"
_NO_URL = "The provider has no address; set url in its table of the settings."
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 5.0
_GROWTH = 1.5
_REDIRECTED, _NOT_YET = 303, 202


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
    """

    def __init__(self, config: Config, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(config.url or "http://modal.invalid")
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
        return "" if self._config.url else _NO_URL

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

    def _check_ready(self) -> None:
        if reason := self.unready():
            raise ProviderNotConfiguredError(reason)

    async def _asked(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], safety: Safety, operation: str
    ) -> Done:
        with self._flying(), _told():

            async def send() -> Reply:
                return await self._origin.call(
                    method, f"{self._prefix}{path}", body=body, headers=headers, safety=safety, operation=operation
                )

            first = await self._when_up(send)
            reply = await self._followed(first, path, operation) if 300 <= first.status < 400 else first
            request_id = _call_id(first) or refusals.request_id_of(reply)
            if reply.status == 200:
                self._seen = self._clock()
                return Done(reply.body, request_id)
            complaint = refusals.complaint_of(reply)
            if not complaint.edge:
                self._seen = self._clock()
            raise refusals.error_of(complaint, request_id=request_id, followed=reply is not first)

    async def _when_up(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        """Send until the deployment is up, for as long as a start may take; the caller's deadline may end it sooner."""
        began = self._clock()
        while True:
            reply = await send()
            if reply.status != 503 or not refusals.complaint_of(reply).cold:
                return reply
            # It sleeps, whatever was seen of it before.
            self._seen = None
            wait = max(self._config.poll_seconds, reply.retry_after or 0.0)
            if self._clock() + wait - began > self._config.cold_start_seconds:
                return reply
            await asyncio.sleep(wait)

    async def _followed(self, first: Reply, path: str, operation: str) -> Reply:
        """Ask for the result of work that is under way, until it is there. The work itself is never asked for again."""
        target = self._target(first, path)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            # The edge holds each question for long; this is for one that does not.
            await asyncio.sleep(pause)
            pause = min(pause * _GROWTH, _LAST_PAUSE_SECONDS)
            reply = await self._origin.call(
                "GET", target, safety=Safety.FOLLOW_UP, operation=f"{operation} result", follows=first
            )
            if reply.status == _REDIRECTED:
                target = self._target(reply, path, accepted=True)
            elif reply.status != _NOT_YET:
                return reply

    def _target(self, reply: Reply, path: str, *, accepted: bool = False) -> str:
        """Return the path with the query that a redirect names."""
        location = urlsplit(urljoin(f"{self._root}{self._prefix}{path}", reply.headers.get("Location", "")))
        if (
            reply.status == _REDIRECTED
            and location.netloc == urlsplit(self._root).netloc
            and CALL_ID in parse_qs(location.query)
        ):
            return f"{location.path}?{location.query}"
        if accepted:
            message = "Modal's redirects lead elsewhere; the work was accepted and may be billed."
            raise OutcomeUnknownError(message, metadata={"replay": "accepted"})
        # The keys are for this address alone.
        message = f"The configured address redirects elsewhere (status {reply.status})."
        raise ProviderConfigError(message)

    @contextlib.contextmanager
    def _flying(self) -> Iterator[None]:
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1


def _credentials(config: Config) -> dict[str, str]:
    headers = {"accept": "application/json"}
    if config.key:
        headers |= {"modal-key": config.key, "modal-secret": config.secret}
    if config.worker_key:
        headers["authorization"] = f"Bearer {config.worker_key}"
    return headers


def _call_id(reply: Reply) -> str:
    query = parse_qs(urlsplit(reply.headers.get("Location", "")).query)
    return refusals.identifier(query.get(CALL_ID, [""])[0])


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have what fails in the block name the provider's code and id even where there are none."""
    try:
        yield
    except PixvoxError as error:
        error.metadata = {"provider_code": "", "provider_request_id": ""} | error.metadata
        raise
