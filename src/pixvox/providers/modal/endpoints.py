"""One address of the earlier speech app on Modal, each of whose functions has one of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pixvox.errors import PixvoxError
from pixvox.providers.modal import refusals
from pixvox.providers.modal.redirects import followed, redirected
from pixvox.upstream import Reply, Safety

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pixvox.upstream import Origin, Upstream


class Endpoint:
    """An address. Opens nothing by itself.

    Args:
        url: All of it but the query.
        upstream: The door to the network.
        read_seconds: How long it may send nothing.
        token: The headers of a proxy token, or none.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        url: str,
        upstream: Upstream,
        *,
        read_seconds: float,
        token: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._path = parts.path or "/"
        self._clock = clock
        self._origin: Origin = upstream.origin(
            f"{parts.scheme}://{parts.netloc}",
            headers=token,
            read_seconds=read_seconds,
            refusal=refusals.retry_seconds,
            identify=refusals.ids_of,
            propagate=True,
        )

    async def call(
        self,
        method: str,
        query: str,
        body: bytes | None,
        safety: Safety,
        operation: str,
        follows: Reply | None = None,
    ) -> Reply:
        """Return the reply, whatever its status; arguments and errors as of `pixvox.upstream.Origin.call`."""
        path = f"{self._path}{query}"
        return await self._origin.call(method, path, body=body, safety=safety, operation=operation, follows=follows)

    async def work(self, body: bytes, operation: str) -> tuple[bytes, str]:
        """Post a request for work, and return the answer and what Modal calls the work; errors are those of `worked`."""
        _, reply, request_id = await self.worked(body, operation)
        return reply.body, request_id

    async def worked(self, body: bytes, operation: str) -> tuple[Reply, Reply, str]:
        """Post a request for work and wait for it through redirects.

        Returns:
            The first reply, the one with the answer, which may be the same, and what Modal calls the work.

        Raises:
            ProviderError: There is no answer. With `OutcomeUnknownError` the work may have been done.
            RequestError: The app blames the request.
        """

        async def ask(target: str) -> Reply:
            return await self._origin.call(
                "GET", target, safety=Safety.FOLLOW_UP, operation=f"{operation} result", follows=first
            )

        work = ""
        try:
            first = reply = await self.call("POST", "", body, Safety.BILLABLE, operation)
            if redirected(first):
                work = refusals.call_id(first)
                reply = await followed(first, self._url, ask, self._clock)
        except PixvoxError as error:
            error.metadata = {"provider_code": "", "provider_request_id": work} | error.metadata
            raise
        request_id = work or refusals.request_id_of(reply)
        if reply.status != 200:
            complaint = refusals.complaint_of(reply)
            raise refusals.error_of(complaint, request_id=request_id, followed=reply is not first)
        return first, reply, request_id
