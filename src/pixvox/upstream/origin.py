"""One vendor's base address: calls, event streams and sockets, with its credentials and by its rules."""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from pixvox import __version__, telemetry
from pixvox.upstream.attempts import Outgoing, attempted
from pixvox.upstream.events import EventStream
from pixvox.upstream.pieces import ByteStream
from pixvox.upstream.replay import RefusedError, Replay, Reply, Safety, nameless, never, repeated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from pixvox.upstream.attempts import Attempt, Watch
    from pixvox.upstream.exchange import Connections, Exchange
    from pixvox.upstream.replay import Identify, Refusal
    from pixvox.upstream.sockets import Socket

T = TypeVar("T")

MAX_BYTES = 64 * 1024 * 1024
# The largest picture of our own worker, 4 megapixels of noise, is 17 million characters of Base64.
MAX_EVENT_BYTES = 32 * 1024 * 1024
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_EVENTS = "text/event-stream"

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Origin:
    """A vendor's address with what belongs to every request to it; made by `Upstream.origin`.

    Every attempt is one client span, to the last byte of its reply or the end of its socket, as a child of the span that is
    current. Redirects are not followed. No header is ever shown, logged or put on a span.

    Args:
        base_url: ``http``, ``https``, ``ws`` or ``wss``, a host, perhaps a port and a path. Either kind serves calls and
            sockets alike.
        headers: Sent with every request; the credentials.
        connect_seconds: For name, connection and TLS together.
        read_seconds: For each wait for the next bytes of a reply or stream; None leaves it to the caller's deadline.
        refusal: Says of a reply that the vendor did no work for it, and how many seconds to wait before asking again;
            None for any other reply.
        identify: Says what a reply calls itself, for its span; unset means nothing.
        propagate: Whether the other side is told the trace; for our own containers.
        opened: Gives the connections to use.
        watch: Is told of the requests.

    Raises:
        ValueError: `base_url` is not such an address.
    """

    def __init__(  # noqa: PLR0913 - what there is to say of a vendor; `Upstream.origin` is the only caller
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        read_seconds: float | None,
        refusal: Refusal | None,
        identify: Identify | None,
        propagate: bool,
        opened: Callable[[], Awaitable[Connections]],
        watch: Watch,
    ) -> None:
        parts = urlsplit(base_url)
        if (
            parts.scheme not in _DEFAULT_PORTS
            or not parts.hostname
            or "@" in parts.netloc
            or parts.query
            or parts.fragment
        ):
            message = "a base address is http(s) or ws(s), a host, and perhaps a port and a path; without credentials"
            raise ValueError(message)
        self._scheme = parts.scheme
        self._place = f"{parts.netloc}{parts.path.rstrip('/')}"
        self._host = parts.hostname
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._headers = {"user-agent": f"pixvox/{__version__}"} | _lowered(headers)
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._refusal = refusal or never
        self._identify = identify or nameless
        self._propagate = propagate
        self._opened = opened
        self._watch = watch

    def __repr__(self) -> str:
        return f"Origin({self._scheme}://{self._place})"

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        safety: Safety,
        operation: str,
        follows: Reply | None = None,
    ) -> Reply:
        """Send a request and return the whole reply, whatever its status; repeat it as far as `safety` allows.

        Args:
            method: Such as ``POST``.
            path: Below the base address, with a slash in front, escaped; with the query, which no span shows.
            body: Taken for JSON unless the headers say otherwise.
            headers: Beside those of the origin; they win over them.
            safety: What the call asks for.
            operation: What is being done, in a few words that are the same for every call, such as "image generation".
            follows: The reply to what began the work that is asked after; the spans of this call link to its span.

        Raises:
            ProviderUnavailableError: Nothing was dispatched; or the call is `Safety.FREE`.
            OutcomeUnknownError: The request was dispatched, and there is no whole reply.
            ProviderInternalError: The reply has more than 64 MiB.
            ShuttingDownError: The `Upstream` is closed.
        """
        outgoing = self._outgoing(_HTTP_SCHEMES, method, path, body, headers, operation, follows)

        async def send(number: int) -> Reply:
            connections = await self._opened()
            with attempted(self._watch, outgoing, number) as attempt:
                exchange = await connections.send(outgoing, attempt)
                try:
                    reply = await exchange.reply(MAX_BYTES)
                finally:
                    exchange.close()
                self._name(attempt, reply)
                return reply

        return await repeated(send, safety=safety, operation=operation, refusal=self._refusal)

    @contextlib.asynccontextmanager
    async def events(
        self,
        path: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        operation: str,
        follows: Reply | None = None,
    ) -> AsyncIterator[EventStream]:
        """Post a request and give the server-sent events of its reply for the block, each when its last byte is there.

        It is billable, and repeated only before the reply begins; with `follows` it is a GET for what was begun earlier, which
        may be repeated. Leaving the block cuts the connection at once, whatever is still to come. Arguments and further errors
        are those of `call`.

        Raises:
            RefusedError: The reply is no event stream; it holds the reply.
            ProviderDisconnectedError: While iterating: the stream broke off.
            ProviderInternalError: While iterating: an event has more than 32 MiB.
        """
        method, safety = ("POST", Safety.BILLABLE) if follows is None else ("GET", Safety.FOLLOW_UP)
        accepting = {"accept": _EVENTS} | _lowered(headers)
        outgoing = self._outgoing(_HTTP_SCHEMES, method, path, body, accepting, operation, follows)
        async with self._held(outgoing, safety, self._event_stream) as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        operation: str,
        is_bare: Callable[[str], bool],
    ) -> AsyncIterator[EventStream | ByteStream]:
        """Post a request and give its reply for the block while it comes in: as events if it is such, else as bare bytes.

        What it is, its content type decides and not what was asked for. Everything else is as of `events`.

        Args:
            path: As of `call`, like those that are not here.
            body: See there.
            headers: See there.
            operation: See there.
            is_bare: Says of the media type of a reply with status 200, in lower case and without parameters, maybe empty,
                whether its bytes are to be given as they come.

        Raises:
            RefusedError: The reply is neither; it holds the reply.
            ProviderDisconnectedError: While iterating: the stream broke off.
            ProviderInternalError: While iterating: an event has more than 32 MiB.
        """
        outgoing = self._outgoing(_HTTP_SCHEMES, "POST", path, body, headers, operation)

        @contextlib.asynccontextmanager
        async def opened(outgoing: Outgoing, attempt: Attempt) -> AsyncIterator[EventStream | ByteStream | Reply]:
            async with self._exchange(outgoing, attempt) as exchange:
                if exchange.status != 200 or not is_bare(exchange.media_type):
                    async with self._events_of(exchange, attempt) as stream:
                        yield stream
                    return
                attempt.replay = Replay.COMMITTED
                yield ByteStream(exchange)

        held: AbstractAsyncContextManager[EventStream | ByteStream] = self._held(outgoing, Safety.BILLABLE, opened)
        async with held as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def socket(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        operation: str,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> AsyncIterator[Socket]:
        """Open a WebSocket for the block. Leaving it says goodbye, and cuts the connection half a second later.

        The handshake is free and repeated like a call of `Safety.FREE`. Arguments are those of `call`.

        Raises:
            RefusedError: The other side answered the handshake with something else; it holds the reply.
            ProviderUnavailableError: There was no answer.
        """
        outgoing = self._outgoing(_SOCKET_SCHEMES, "GET", path, None, headers, operation)

        @contextlib.asynccontextmanager
        async def opened(outgoing: Outgoing, attempt: Attempt) -> AsyncIterator[Socket | Reply]:
            connections = await self._opened()
            async with connections.socket(outgoing, attempt, max_message_bytes=max_message_bytes) as outcome:
                yield outcome

        async with self._held(outgoing, Safety.FREE, opened) as socket:
            yield socket

    @contextlib.asynccontextmanager
    async def _event_stream(self, outgoing: Outgoing, attempt: Attempt) -> AsyncIterator[EventStream | Reply]:
        async with self._exchange(outgoing, attempt) as exchange, self._events_of(exchange, attempt) as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def _exchange(self, outgoing: Outgoing, attempt: Attempt) -> AsyncIterator[Exchange]:
        connections = await self._opened()
        exchange = await connections.send(outgoing, attempt)
        try:
            yield exchange
        finally:
            exchange.close()

    @contextlib.asynccontextmanager
    async def _events_of(self, exchange: Exchange, attempt: Attempt) -> AsyncIterator[EventStream | Reply]:
        """Give the events of a reply, or the whole reply if it has none."""
        if exchange.status != 200 or exchange.media_type != _EVENTS:
            yield await exchange.reply(MAX_BYTES)
            return
        attempt.replay = Replay.COMMITTED
        stream = EventStream(exchange, MAX_EVENT_BYTES)
        try:
            yield stream
        finally:
            attempt.span.set_attribute(telemetry.PIXVOX_EVENTS_RECEIVED, stream.received)

    @contextlib.asynccontextmanager
    async def _held(
        self,
        outgoing: Outgoing,
        safety: Safety,
        opened: Callable[[Outgoing, Attempt], AbstractAsyncContextManager[T | Reply]],
    ) -> AsyncIterator[T]:
        """Give what `opened` gives, repeating it until that is not a refusal."""

        async def send(number: int) -> Reply | tuple[AsyncExitStack, T]:
            async with AsyncExitStack() as stack:
                attempt = stack.enter_context(attempted(self._watch, outgoing, number))
                outcome = await stack.enter_async_context(opened(outgoing, attempt))
                if not isinstance(outcome, Reply):
                    return stack.pop_all(), outcome
                self._name(attempt, outcome)
                return outcome

        outcome = await repeated(send, safety=safety, operation=outgoing.operation, refusal=self._refusal)
        if isinstance(outcome, Reply):
            raise RefusedError(outcome)
        stack, held = outcome
        async with stack:
            yield held

    def _name(self, attempt: Attempt, reply: Reply) -> None:
        """Put on the span of an attempt what its reply calls itself."""
        if attempt.span.is_recording():
            attempt.identified(self._identify(reply))

    def _outgoing(
        self,
        schemes: Mapping[str, str],
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        operation: str,
        follows: Reply | None = None,
    ) -> Outgoing:
        url = f"{schemes[self._scheme]}://{self._place}{path}"
        content_type = {} if body is None else {"content-type": "application/json"}
        return Outgoing(
            method=method,
            url=url,
            shown=url.partition("?")[0],
            host=self._host,
            port=self._port,
            headers=content_type | self._headers | _lowered(headers),
            body=body,
            operation=operation,
            connect_seconds=self._connect_seconds,
            read_seconds=self._read_seconds,
            propagate=self._propagate,
            follows=follows.span if follows is not None else None,
        )


def _lowered(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers by their names in lower case, so that one replaces another."""
    return {name.lower(): value for name, value in (headers or {}).items()}
