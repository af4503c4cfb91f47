"""The only door to the network: what the service asks of other hosts, it asks here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pixvox.errors import ShuttingDownError
from pixvox.upstream.addresses import AddressRules

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from pixvox.upstream.downloads import Downloads, Resolver

__all__ = ["Upstream"]


class Upstream:
    """The service's connections to other hosts, shared by all calls. Nothing is opened before it is needed.

    Args:
        allowed_hosts: Hosts that callers may name though they are not public: names or IP addresses, with or without
            ``:port``; for an operator's own stores.
        seconds: The time that one download may take, redirects included.
        resolver: Finds the IP addresses of a host; unset means the system's.
        tls: Whom to trust; unset means the system's authorities and the public ones.

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
    ) -> None:
        self._rules = AddressRules(allowed_hosts)
        self._seconds = seconds
        self._resolver = resolver
        self._tls = tls
        self._opening = asyncio.Lock()
        self._downloads: Downloads | None = None
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
        downloads = await self._opened_downloads()
        return await downloads.fetch(uri, field=field, max_bytes=max_bytes)

    async def aclose(self) -> None:
        """Close all connections; downloads that are still running fail."""
        self._closed = True
        if self._downloads is not None:
            await self._downloads.aclose()

    async def _opened_downloads(self) -> Downloads:
        async with self._opening:
            if self._downloads is None and not self._closed:
                # Takes some 200 ms, in which other calls go on.
                client, tls = await asyncio.to_thread(_prepared, self._tls)
                if not self._closed:
                    self._downloads = client(self._rules, seconds=self._seconds, resolver=self._resolver, tls=tls)
        if self._downloads is None or self._closed:
            message = "The service is shutting down and downloads nothing more."
            raise ShuttingDownError(message)
        return self._downloads


def _prepared(tls: ssl.SSLContext | None) -> tuple[type[Downloads], ssl.SSLContext]:
    # A service whose callers send bytes starts sooner and stays smaller without the HTTP client.
    from pixvox.upstream.downloads import Downloads, public_tls  # noqa: PLC0415

    return Downloads, tls or public_tls()
