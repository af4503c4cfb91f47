"""The only door to the network: what the service asks of other hosts, it asks here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.trace import NoOpTracer

from pixvox import telemetry
from pixvox.errors import ShuttingDownError
from pixvox.upstream.addresses import AddressRules
from pixvox.upstream.attempts import Watch, fetched
from pixvox.upstream.events import Event, EventStream
from pixvox.upstream.origin import Origin
from pixvox.upstream.pieces import ByteStream
from pixvox.upstream.polling import polled
from pixvox.upstream.replay import ClosedError, Ids, RefusedError, Reply, Safety
from pixvox.upstream.results import ExpiredError, Results

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Tracer

    from pixvox.upstream.clients import Clients
    from pixvox.upstream.downloads import Resolver
    from pixvox.upstream.exchange import Connections
    from pixvox.upstream.replay import Identify, Refusal

__all__ = [
    "ByteStream",
    "ClosedError",
    "Event",
    "EventStream",
    "ExpiredError",
    "Ids",
    "Origin",
    "RefusedError",
    "Reply",
    "Results",
    "Safety",
    "Upstream",
    "polled",
]


class Upstream:
    """The service's connections to other hosts, shared by all calls. Nothing is opened before it is needed.

    Args:
        allowed_hosts: Hosts that callers may name though they are not public: names or IP addresses, with or without
            ``:port``; for an operator's own stores.
        seconds: The time that one download may take, redirects included.
        resolver: Finds the IP addresses of the hosts that downloads and results are on; unset means the system's.
        tls: Whom to trust; unset means the system's authorities and the public ones.
        tracer: Makes the spans of what is asked of other hosts; unset means none.
        durations: Takes how long each request to a vendor lasted, in seconds; unset means nobody.

    Raises:
        ValueError: An entry of `allowed_hosts` is no host.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Iterable[str] = (),
        seconds: float = 15.0,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        tracer: Tracer | None = None,
        durations: Histogram | None = None,
    ) -> None:
        self._rules = AddressRules(allowed_hosts)
        self._seconds = seconds
        self._resolver = resolver
        self._tls = tls
        self._watch = Watch(tracer or NoOpTracer(), durations)
        self._opening = asyncio.Lock()
        self._clients: Clients | None = None
        self._closed = False

    async def download(self, uri: str, *, field: str, max_bytes: int) -> bytes:
        """Return the media file that a caller names by its address, 1..`max_bytes` bytes.

        The address has to be http or https and public, as has every address that it redirects to, at most three. What
        the server says of the file's type is not believed.

        Args:
            uri: As the caller sent it; anything at all.
            field: Where in the request it stands, for the error.
            max_bytes: The most bytes to take, counted after decompression.

        Raises:
            UriNotAllowedError: The address is not one to visit.
            MediaFetchError: It did not give a file in time.
            MediaTooLargeError: The file has more than `max_bytes`.
            ShuttingDownError: `aclose` was called.
        """
        downloads = (await self._opened()).downloads
        with fetched(self._watch, field) as span:
            data = await downloads.fetch(uri, field=field, max_bytes=max_bytes)
            span.set_attribute(telemetry.HTTP_RESPONSE_BODY_SIZE, len(data))
            return data

    def origin(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_seconds: float = 10.0,
        read_seconds: float | None = None,
        refusal: Refusal | None = None,
        identify: Identify | None = None,
        propagate: bool = False,
    ) -> Origin:
        """Return a vendor's base address with its credentials; see `Origin` for the arguments. Opens nothing yet.

        Raises:
            ValueError: `base_url` is no base address.
        """
        return Origin(
            base_url,
            headers=headers or {},
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
            refusal=refusal,
            identify=identify,
            propagate=propagate,
            opened=self._connections,
            watch=self._watch,
        )

    def results(self, hosts: Iterable[str], *, seconds: float = 60.0) -> Results:
        """Return what fetches results from a vendor's hosts; see `Results` for the arguments. Opens nothing yet.

        Raises:
            ValueError: An entry of `hosts` is no host.
        """
        return Results(hosts, seconds=seconds, opened=self._guarded, watch=self._watch)

    async def aclose(self) -> None:
        """Close all connections; what is still running fails, but for sockets, which end with their blocks."""
        self._closed = True
        if self._clients is not None:
            await self._clients.aclose()

    async def _connections(self) -> Connections:
        return (await self._opened()).connections

    async def _guarded(self, rules: AddressRules) -> Connections:
        return (await self._opened()).guarded(rules)

    async def _opened(self) -> Clients:
        clients = self._clients or await self._open()
        if clients is None or self._closed:
            message = "The service is shutting down and asks nothing more of other hosts."
            raise ShuttingDownError(message)
        return clients

    async def _open(self) -> Clients | None:
        async with self._opening:
            if self._clients is None and not self._closed:
                # Takes some 200 ms, in which other calls go on.
                clients, tls = await asyncio.to_thread(_prepared, self._tls)
                if not self._closed:
                    self._clients = clients(self._rules, seconds=self._seconds, resolver=self._resolver, tls=tls)
            return self._clients


def _prepared(tls: ssl.SSLContext | None) -> tuple[type[Clients], ssl.SSLContext]:
    # A service whose callers send bytes starts sooner and stays smaller without the HTTP client.
    from pixvox.upstream.clients import prepared  # noqa: PLC0415

    return prepared(tls)
