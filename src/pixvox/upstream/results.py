"""Downloads of what a vendor's answer names by its address, which is trusted no further than its host."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from pixvox import __version__
from pixvox.errors import OutcomeUnknownError, ProviderDisconnectedError, ProviderInternalError, UriNotAllowedError
from pixvox.upstream.addresses import (
    MAX_REDIRECTS,
    REDIRECTS,
    AddressRules,
    NotPublicError,
    host_and_port,
    parsed,
    redirected,
)
from pixvox.upstream.attempts import Outgoing, attempted
from pixvox.upstream.replay import PASSING, LostError, Replay, Reply, Safety, repeated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from pixvox.upstream.addresses import Address
    from pixvox.upstream.attempts import Watch
    from pixvox.upstream.exchange import Connections, Exchange

CONNECT_SECONDS = 10.0
READ_SECONDS = 15.0

_GONE = frozenset({403, 404, 410})
_HEADERS = {"accept-encoding": "identity", "user-agent": f"pixvox/{__version__}"}
_ACCEPTED = {"replay": Replay.ACCEPTED.value}


class ExpiredError(ProviderInternalError):
    """The result was there once, and is no longer."""


class Results:
    """Fetches results from the hosts on which a vendor keeps them; made by `Upstream.results`.

    No credentials are sent. An address is http or https; http becomes https. Each redirect, at most three, has to keep to the
    hosts as well, and every host has to be public. Network failures and passing statuses are tried again: the work was
    accepted, and asking for its result costs nothing. That is why no error here says that the provider was unavailable.

    Args:
        hosts: Names whose own and whose subdomains' ports 443 may be visited, such as ``aliyuncs.com``; and ``host:port``
            for exactly that, public or not, with http as well, as for an emulator.
        seconds: The time that one attempt to `fetch` may take.
        opened: Gives connections that lead to public hosts and those that the rules allow.
        watch: Is told of the requests.

    Raises:
        ValueError: An entry of `hosts` is no host, or is a whole top-level domain.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        seconds: float,
        opened: Callable[[AddressRules], Awaitable[Connections]],
        watch: Watch,
    ) -> None:
        entries = {entry: host_and_port(entry.removeprefix(".")) for entry in hosts}
        self._exact = {(host, port) for host, port in entries.values() if port is not None}
        self._suffixes = tuple(host for host, port in entries.values() if port is None)
        for suffix in self._suffixes:
            if "." not in suffix and ":" not in suffix:
                message = (
                    f"{suffix!r} in the result hosts is a whole top-level domain; a host of one label needs a port"
                )
                raise ValueError(message)
        self._rules = AddressRules(entry for entry, (_, port) in entries.items() if port is not None)
        self._seconds = seconds
        self._opened = opened
        self._watch = watch

    async def fetch(
        self, uri: str, *, max_bytes: int, operation: str = "result download", follows: Reply | None = None
    ) -> bytes:
        """Return the whole file at an address that the vendor named, at most `max_bytes`.

        Args:
            uri: The address.
            max_bytes: The most bytes to take.
            operation: What is being done, as of `Origin.call`.
            follows: The reply to what began the work; the spans of the download link to its span.

        Raises:
            ExpiredError: The host has it no longer.
            OutcomeUnknownError: It could not be had, though tried up to three times.
            ProviderInternalError: The address is not one to visit, the file has more than `max_bytes`, or the host answered
                with something that is no file.
        """
        address = self._checked(uri)

        async def send(number: int) -> bytes | Reply:
            async with self._found(address, number, operation, self._seconds, follows) as exchange:
                if exchange.status != 200:
                    return Reply(exchange.status, exchange.headers, b"")
                return await exchange.whole(max_bytes)

        outcome = await repeated(send, safety=Safety.FOLLOW_UP, operation=operation)
        if isinstance(outcome, Reply):
            raise _missing(outcome)
        return outcome

    @contextlib.asynccontextmanager
    async def pieces(
        self, uri: str, *, max_bytes: int, operation: str = "result download", follows: Reply | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the file as it comes, for the block, piece by piece; repeated only before its first byte.

        It takes as long as the reader does. Arguments and errors are those of `fetch`.

        Raises:
            ProviderDisconnectedError: While iterating: the file broke off.
        """
        address = self._checked(uri)

        async def send(number: int) -> tuple[contextlib.AsyncExitStack, Exchange] | Reply:
            async with contextlib.AsyncExitStack() as stack:
                exchange = await stack.enter_async_context(self._found(address, number, operation, None, follows))
                if exchange.status != 200:
                    return Reply(exchange.status, exchange.headers, b"")
                return stack.pop_all(), exchange

        outcome = await repeated(send, safety=Safety.FOLLOW_UP, operation=operation)
        if isinstance(outcome, Reply):
            raise _missing(outcome)
        stack, exchange = outcome
        async with stack:
            yield _Pieces(exchange, max_bytes)

    @contextlib.asynccontextmanager
    async def _found(
        self, address: Address, number: int, operation: str, seconds: float | None, follows: Reply | None
    ) -> AsyncIterator[Exchange]:
        """Give the first reply that is no redirect."""
        for _ in range(1 + MAX_REDIRECTS):
            async with self._exchange(_outgoing(address, operation, follows), number, seconds) as exchange:
                if exchange.status not in REDIRECTS:
                    yield exchange
                    return
                location = exchange.headers.get("Location", "")
            with _refused():
                address = self._allowed(redirected(address, location, field=""))
        raise _internal(f"redirects more than {MAX_REDIRECTS} times")

    @contextlib.asynccontextmanager
    async def _exchange(self, outgoing: Outgoing, number: int, seconds: float | None) -> AsyncIterator[Exchange]:
        connections = await self._opened(self._rules)
        with attempted(self._watch, outgoing, number) as attempt:
            try:
                async with asyncio.timeout(seconds):
                    exchange = await connections.send(outgoing, attempt)
                    if exchange.status != 200:
                        # The head says it all, and the rest is not read.
                        attempt.replay = Replay.ACCEPTED
                    try:
                        yield exchange
                    finally:
                        exchange.close()
            except TimeoutError as error:
                raise attempt.lost("timeout", f"did not give the result within {seconds:g} seconds") from error
            except NotPublicError as error:
                raise _internal("is kept at a host that is not public") from error

    def _checked(self, uri: str) -> Address:
        with _refused():
            return self._allowed(parsed(uri, field=""))

    def _allowed(self, address: Address) -> Address:
        """Return the address as it may be visited."""
        if (address.host, address.port) in self._exact:
            return address
        if (address.scheme, address.port) == ("http", 80):
            address = replace(address, scheme="https", port=443)
        known = any(address.host == suffix or address.host.endswith(f".{suffix}") for suffix in self._suffixes)
        if not known or (address.scheme, address.port) != ("https", 443):
            raise _internal(f"is kept at {address.host}:{address.port}, which is not among the hosts for results")
        self._rules.check(address, field="")
        return address


class _Pieces:
    """The pieces of a body, whose number of bytes is limited."""

    def __init__(self, exchange: Exchange, max_bytes: int) -> None:
        self._exchange = exchange
        self._left = max_bytes
        self._max_bytes = max_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._exchange.piece()
        except LostError as error:
            message = f"The provider {error.what} in the middle of its result."
            raise ProviderDisconnectedError(message, metadata=dict(_ACCEPTED)) from error
        if not piece:
            raise StopAsyncIteration
        self._left -= len(piece)
        if self._left < 0:
            raise _internal(f"has more than {self._max_bytes} bytes")
        return piece


def _outgoing(address: Address, operation: str, follows: Reply | None) -> Outgoing:
    return Outgoing(
        method="GET",
        url=address.uri,
        shown=address.uri.partition("?")[0],
        host=address.host,
        port=address.port,
        headers=_HEADERS,
        body=None,
        operation=operation,
        connect_seconds=CONNECT_SECONDS,
        read_seconds=READ_SECONDS,
        propagate=False,
        follows=follows.span if follows is not None else None,
    )


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Say of an address that is not one to visit that the vendor named it, not the caller."""
    try:
        yield
    except UriNotAllowedError as error:
        raise ProviderInternalError(
            f"The provider named an address for its result that is not visited. {error.message}",
            metadata=dict(_ACCEPTED),
        ) from error


def _internal(what: str) -> ProviderInternalError:
    return ProviderInternalError(f"The provider's result {what}.", metadata=dict(_ACCEPTED))


def _missing(reply: Reply) -> ProviderInternalError | OutcomeUnknownError:
    what = f"The provider's result could not be downloaded: its host answered with status {reply.status}."
    if reply.status in _GONE:
        return ExpiredError(what, metadata=dict(_ACCEPTED))
    kind = OutcomeUnknownError if reply.status in PASSING else ProviderInternalError
    return kind(what, metadata=dict(_ACCEPTED))
