"""Downloads of media that callers name by address, guarded against addresses and servers that mean harm."""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pixvox import __version__
from pixvox.errors import MediaFetchError, MediaTooLargeError, Violation
from pixvox.upstream.addresses import (
    MAX_REDIRECTS,
    REDIRECTS,
    Address,
    AddressRules,
    NotPublicError,
    is_public,
    not_public,
    parsed,
    redirected,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHUNK_BYTES = 16 * 1024
# zlib's sign for "gzip or zlib, see for yourself".
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"pixvox/{__version__}"}


class Resolver(Protocol):
    """Finds the IP addresses of a host."""

    async def resolve(self, host: str) -> Sequence[str]:
        """Return at least one IP address of a host's name.

        Raises:
            OSError: The name is not known, or nobody could be asked.
        """
        ...


class Downloads:
    """The client for downloads; has to be made while the event loop runs.

    It is aiohttp itself and not httpx over it: that would have its address parsed a second time, which respells the
    query and so breaks signatures (``%2F`` becomes ``/``), and what was checked would not be what is sent.

    Args:
        rules: Which addresses may be visited.
        seconds: The time that one download may take.
        resolver: Finds IP addresses; unset means the system's.
        tls: Whom to trust.
    """

    def __init__(self, rules: AddressRules, *, seconds: float, resolver: Resolver | None, tls: ssl.SSLContext) -> None:
        self._rules = rules
        self._seconds = seconds
        connector = aiohttp.TCPConnector(
            resolver=PublicAddresses(rules, resolver),
            # A name is resolved, and what it resolves to is checked, for each connection; a connection serves once.
            use_dns_cache=False,
            force_close=True,
            ssl=tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            # `fetch` has the one time limit, `_Body` the decompression.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,
        )

    async def fetch(self, uri: str, *, field: str, max_bytes: int) -> bytes:
        """Do what `Upstream.download` promises."""
        address = parsed(uri, field=field)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._followed(address, field, max_bytes)
        except TimeoutError as error:
            raise _failed(address, f"was not downloaded within {self._seconds:g} seconds", field) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _followed(self, address: Address, field: str, max_bytes: int) -> bytes:
        start = address
        for _ in range(1 + MAX_REDIRECTS):
            self._rules.check(address, field=field)
            with _translated(address, field):
                async with self._session.get(URL(address.uri, encoded=True), allow_redirects=False) as response:
                    if response.status not in REDIRECTS:
                        return await _media(response, address, field, max_bytes)
                    location = response.headers.get("Location")
            if location is None:
                raise _failed(address, "redirects to nowhere", field)
            address = redirected(address, location, field=field)
        raise _failed(start, f"redirects more than {MAX_REDIRECTS} times", field)


def public_tls() -> ssl.SSLContext:
    """Return settings that trust the system's authorities and those of the `certifi` package."""
    tls = ssl.create_default_context()
    # Small container images have no authorities of their own.
    tls.load_verify_locations(certifi.where())
    return tls


class PublicAddresses(AbstractResolver):
    """Resolves names for aiohttp, which connects to nothing but what this returns.

    Addresses of hosts that are IP addresses themselves do not come by here.
    """

    def __init__(self, rules: AddressRules, resolver: Resolver | None) -> None:
        self._rules = rules
        self._resolver = resolver or _SystemResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the IP addresses of a host; one that is not public spoils all."""
        ips = [ip_address(text) for text in await self._resolver.resolve(host)]
        if not self._rules.is_allowed(host, port) and not all(is_public(ip) for ip in ips):
            raise NotPublicError
        if not ips:
            raise OSError(None, "the host has no address")
        return [
            ResolveResult(
                hostname=host,
                host=str(ip),
                port=port,
                family=socket.AF_INET if ip.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for ip in ips
        ]

    async def close(self) -> None:
        """Do nothing; the resolver belongs to whoever made it."""


class _SystemResolver:
    async def resolve(self, host: str) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [str(address[0]) for _, _, _, _, address in found]


class _Body:
    """A file that comes in pieces, perhaps compressed, and may not grow beyond a limit."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._data = bytearray()
        self._received = 0
        self._max_bytes = max_bytes
        self._decompressor = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding else None

    def add(self, piece: bytes) -> bool:
        """Take the next piece, and tell whether the file is still within the limit.

        Raises:
            zlib.error: The compression is damaged, or something follows its end.
        """
        self._received += len(piece)
        if self._decompressor is not None:
            if self._decompressor.eof:
                raise zlib.error
            # One byte beyond the limit shows that it is exceeded; a bomb is not unpacked any further.
            piece = self._decompressor.decompress(piece, self._max_bytes + 1 - len(self._data))
            if self._decompressor.unused_data:
                raise zlib.error
        self._data += piece
        return max(self._received, len(self._data)) <= self._max_bytes

    @property
    def is_whole(self) -> bool:
        """Whether the compression has come to its end."""
        return self._decompressor is None or self._decompressor.eof

    @property
    def data(self) -> bytes:
        """What has come so far."""
        return bytes(self._data)


async def _media(response: aiohttp.ClientResponse, address: Address, field: str, max_bytes: int) -> bytes:
    if response.status != 200:
        raise _failed(address, f"answered with status {response.status} instead of 200", field)
    encoding = response.headers.get("Content-Encoding", "").strip().lower().replace("identity", "")
    if encoding not in {"", "gzip", "x-gzip", "deflate"}:
        raise _failed(address, "came compressed in a way that the service did not ask for", field)
    if (response.content_length or 0) > max_bytes:
        raise _too_large(address, field, max_bytes)
    body = _Body(encoding, max_bytes)
    async for piece in response.content.iter_chunked(_CHUNK_BYTES):
        if not body.add(piece):
            raise _too_large(address, field, max_bytes)
    data = body.data
    if not data or not body.is_whole:
        raise _failed(address, "gave only a part of the file" if data else "gave an empty file", field)
    # A picture under a wrong label is a picture all the same.
    if response.content_type == "text/html" and data.lstrip().startswith(b"<"):
        raise _failed(address, "gave a web page instead of a media file", field)
    return data


@contextmanager
def _translated(address: Address, field: str) -> Iterator[None]:
    """Turn what aiohttp, the resolver and the decompression raise into our own errors."""
    try:
        yield
    except NotPublicError as error:
        raise not_public(address, field=field) from error
    except zlib.error as error:
        raise _failed(address, "gave a file whose compression is damaged", field) from error
    except aiohttp.ClientConnectorDNSError as error:
        raise _failed(address, "could not be reached: its host was not found", field) from error
    except aiohttp.ClientSSLError as error:
        raise _failed(address, "could not be reached: there is no trustworthy TLS connection to it", field) from error
    except aiohttp.ClientConnectorError as error:
        raise _failed(address, "could not be reached: its host accepts no connection", field) from error
    except aiohttp.ClientResponseError as error:
        # Its text has the whole address with the query, which must not get into a log by way of the chain.
        raise _failed(address, "answered with something that is not HTTP", field) from error.__cause__
    except (aiohttp.ClientError, OSError) as error:
        raise _failed(address, "broke off before the file was complete", field) from error


def _failed(address: Address, what: str, field: str) -> MediaFetchError:
    return MediaFetchError(f"{address.shown} {what}.", Violation(field, f"could not be downloaded: the address {what}"))


def _too_large(address: Address, field: str, max_bytes: int) -> MediaTooLargeError:
    return MediaTooLargeError(
        f"The file at {address.shown} has more than {max_bytes} bytes.",
        Violation(field, f"may have at most {max_bytes} bytes"),
    )
