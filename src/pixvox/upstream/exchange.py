"""HTTP requests and their replies over pooled connections: each is sent once, and is known to be sent or not."""

from __future__ import annotations

import contextlib
import io
import select
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from pixvox.errors import ProviderInternalError
from pixvox.upstream import sockets
from pixvox.upstream.replay import Replay, Reply

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from pixvox.upstream.attempts import Attempt, Outgoing
    from pixvox.upstream.replay import Ids
    from pixvox.upstream.sockets import Socket

# Below the five seconds after which uvicorn, the server of most containers, closes an idle connection: a request that meets
# that close is ambiguous, and a connection that is opened anew costs less.
KEEPALIVE_SECONDS = 4.0

# More than this is written piece by piece, so that the event loop neither copies nor waits for all of it at once.
_WHOLE_BYTES = 64 * 1024

_sending: ContextVar[Attempt] = ContextVar("pixvox_sending")


class Connections:
    """A pool of connections; has to be made while the event loop runs.

    It is aiohttp itself, not httpx over it: httpx would take the loss of a connection for a failure to connect, which is the
    difference between ambiguous and not dispatched, and costs two to four times the CPU of a call.

    Args:
        tls: Whom to trust.
        resolver: Finds IP addresses, anew for each connection; unset means the system's, with a cache.
    """

    def __init__(self, tls: ssl.SSLContext, resolver: AbstractResolver | None = None) -> None:
        self._tls = tls
        connector = _Connector(
            # Admission is the router's; a second queue here would only hide how long it is.
            limit=0,
            keepalive_timeout=KEEPALIVE_SECONDS,
            resolver=resolver,
            use_dns_cache=resolver is None,
            ssl=tls,
        )
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    async def send(self, outgoing: Outgoing, attempt: Attempt) -> Exchange:
        """Send a request once, and return its exchange when the head of the reply is there. It has to be closed.

        Raises:
            LostError: No reply came.
        """
        body = outgoing.body
        token = _sending.set(attempt)
        try:
            with _translated(outgoing, attempt):
                response = await self._session.request(
                    outgoing.method,
                    URL(outgoing.url, encoded=True),
                    headers=attempt.headers,
                    data=io.BytesIO(body) if body is not None and len(body) > _WHOLE_BYTES else body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(connect=outgoing.connect_seconds, sock_read=outgoing.read_seconds),
                )
        except BaseException:
            _abort(attempt)
            raise
        finally:
            _sending.reset(token)
        attempt.status = response.status
        return Exchange(response, outgoing, attempt)

    def socket(
        self, outgoing: Outgoing, attempt: Attempt, *, max_message_bytes: int
    ) -> AbstractAsyncContextManager[Socket | Reply]:
        """Open a WebSocket for a block; see `sockets.opened`. It has a connection of its own."""
        return sockets.opened(outgoing, attempt, tls=self._tls, max_message_bytes=max_message_bytes)

    async def aclose(self) -> None:
        """Close all pooled connections; sockets end with their blocks."""
        await self._session.close()


class Exchange:
    """A reply whose body is still to be read.

    Attributes:
        status: Of the reply.
        headers: Of the reply, by their names in any case.
        media_type: Of its body in lower case, without its parameters; maybe empty.
    """

    def __init__(self, response: aiohttp.ClientResponse, outgoing: Outgoing, attempt: Attempt) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._response = response
        self._outgoing = outgoing
        self._attempt = attempt

    async def piece(self) -> bytes:
        """Return what has come of the body since the last call, at least one byte, or nothing at its end.

        Raises:
            LostError: The body broke off.
        """
        with _translated(self._outgoing, self._attempt):
            piece = await self._response.content.readany()
        self._attempt.received += len(piece)
        return piece

    async def whole(self, max_bytes: int) -> bytes:
        """Return the body.

        Raises:
            LostError: It broke off.
            ProviderInternalError: It has more than `max_bytes`, decompressed.
        """
        pieces: list[bytes] = []
        while piece := await self.piece():
            pieces.append(piece)
            if self._attempt.received > max_bytes:
                self._attempt.failure = "too_large"
                raise ProviderInternalError(
                    f"The provider's answer has more than {max_bytes} bytes.",
                    metadata={"replay": Replay.ACCEPTED.value},
                )
        self._attempt.replay = Replay.ACCEPTED
        return b"".join(pieces) if len(pieces) != 1 else pieces[0]

    async def reply(self, max_bytes: int) -> Reply:
        """Return the whole reply; see `whole`."""
        return Reply(self.status, self.headers, await self.whole(max_bytes), self._attempt.span.get_span_context())

    def identified(self, ids: Ids) -> None:
        """Put on the span of the attempt what the vendor calls it."""
        self._attempt.identified(ids)

    def noted(self, name: str, attributes: Mapping[str, str | int | float]) -> None:
        """Put on the span of the attempt something that happened just now."""
        self._attempt.span.add_event(name, dict(attributes))

    def close(self) -> None:
        """End the exchange: a connection whose body was read to its end can serve again, any other is cut at once."""
        unread = self._response.connection is not None
        self._response.close()
        if unread:
            _abort(self._attempt)


class _SentAlreadyError(aiohttp.ClientError):
    """aiohttp would send a request a second time."""


class _Connector(aiohttp.TCPConnector):
    """Tells the attempt for which it finds a connection, and finds none that the other side has closed."""

    def __init__(
        self,
        *,
        limit: int,
        keepalive_timeout: float,
        resolver: AbstractResolver | None,
        use_dns_cache: bool,
        ssl: ssl.SSLContext,
    ) -> None:
        super().__init__(
            limit=limit, keepalive_timeout=keepalive_timeout, resolver=resolver, use_dns_cache=use_dns_cache, ssl=ssl
        )
        self._known: weakref.WeakSet[ResponseHandler] = weakref.WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Connection:
        attempt = _sending.get()
        # It does so for methods that HTTP calls idempotent. Here the caller decides that, and counts.
        if attempt.replay is not Replay.NOT_DISPATCHED:
            raise _SentAlreadyError
        connection = await super().connect(req, traces, timeout)
        while self._was_closed(connection):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        if connection.protocol is not None:
            self._known.add(connection.protocol)
        attempt.replay = Replay.AMBIGUOUS
        attempt.transport = connection.transport
        return connection

    def _was_closed(self, connection: Connection) -> bool:
        """Tell whether a connection has been closed, though the event loop has not come round to notice."""
        if connection.protocol not in self._known or connection.transport is None:
            return False
        poll = select.poll()
        poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
        # On a connection that is idle there is nothing to read but its end.
        return bool(poll.poll(0))


def _abort(attempt: Attempt) -> None:
    """Cut an attempt's connection without sending what still waits to be sent."""
    if attempt.transport is not None:
        attempt.transport.abort()


@contextlib.contextmanager
def _translated(outgoing: Outgoing, attempt: Attempt) -> Iterator[None]:
    """Turn what aiohttp raises into `LostError`, whose cause is the system's error: aiohttp's names the whole address."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        kind, what = _failure(error, outgoing)
        raise attempt.lost(kind, what) from error.__cause__


def _failure(error: aiohttp.ClientError | OSError, outgoing: Outgoing) -> tuple[str, str]:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns", "could not be reached: its host was not found"
        case aiohttp.ClientSSLError():
            return "tls", "could not be reached: there is no trustworthy TLS connection to it"
        case aiohttp.ConnectionTimeoutError():
            seconds = outgoing.connect_seconds
            return "connect_timeout", f"could not be reached: there was no connection within {seconds:g} seconds"
        case aiohttp.ClientConnectorError():
            return "connect", "could not be reached: its host accepts no connection"
        case aiohttp.SocketTimeoutError():
            return "read_timeout", f"sent nothing for {outgoing.read_seconds or 0:g} seconds"
        case aiohttp.ClientResponseError():
            return "protocol", "answered with something that is not HTTP"
        case _:
            return "reset", "broke the connection"
