"""WebSockets (RFC 6455) that are held open by nobody: leaving the block ends the connection within a second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import TYPE_CHECKING

from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry import trace
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from pixvox import telemetry
from pixvox.upstream.replay import ClosedError, Replay, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection
    from websockets.http11 import Response

    from pixvox.upstream.attempts import Attempt, Outgoing
    from pixvox.upstream.replay import Ids

# For the other side to answer that the socket is closing, and for all that remains to be done then.
CLOSE_SECONDS = 0.5
PING_SECONDS = 20.0

_NO_CLOSE_FRAME = 1006
# Normal, going away, without a code.
_ORDINARY = frozenset({1000, 1001, 1005})

# The library would log every header at the debug level.
_log = logging.getLogger("pixvox.upstream.websockets")
_log.setLevel(logging.WARNING)


class Socket:
    """An open WebSocket. One task may send while another receives.

    Iterating gives messages and never ends by itself: the end of a socket is a `ClosedError`, so that one that broke cannot
    be taken for one that is finished.

    Attributes:
        sent: Messages so far.
        received: Messages so far.
        sent_bytes: Of these messages.
        received_bytes: Of these messages.
    """

    def __init__(self, connection: ClientConnection, attempt: Attempt) -> None:
        self._connection = connection
        self._attempt = attempt
        self.sent = self.sent_bytes = 0
        self.received = self.received_bytes = 0

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message; waits while the other side is slow to read.

        Raises:
            ClosedError: The socket is closed.
        """
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise _closed(error) from error
        self.sent += 1
        self.sent_bytes += _size(message)

    async def receive(self) -> str | bytes:
        """Return the next message: text as `str`, binary as `bytes`.

        Raises:
            ClosedError: The socket is closed, and every message that came before was received.
        """
        try:
            message = await self._connection.recv()
        except ConnectionClosed as error:
            raise _closed(error) from error
        self.received += 1
        self.received_bytes += _size(message)
        return message

    def identified(self, ids: Ids) -> None:
        """Put on the span of the socket what the vendor calls it, as soon as a message tells."""
        self._attempt.identified(ids)

    def joined(self) -> None:
        """Have the current span link to that of the socket, which was opened before and in no call's name."""
        socket = self._attempt.span.get_span_context()
        if socket.is_valid:
            trace.get_current_span().add_link(socket, {telemetry.PIXVOX_LINK: telemetry.LINK_SESSION})

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        return await self.receive()


@contextlib.asynccontextmanager
async def opened(
    outgoing: Outgoing, attempt: Attempt, *, tls: ssl.SSLContext, max_message_bytes: int
) -> AsyncIterator[Socket | Reply]:
    """Open a socket for the block, or give the reply with which the other side refused it.

    Raises:
        LostError: There is no socket and no reply.
    """
    try:
        connection = await _Connect(
            outgoing.url,
            additional_headers=dict(attempt.headers),
            # Stands among the headers.
            user_agent_header=None,
            compression=None,
            proxy=None,
            open_timeout=outgoing.connect_seconds,
            close_timeout=CLOSE_SECONDS,
            ping_interval=PING_SECONDS,
            # A pong waits behind audio that a slow caller has not read yet; the deadline ends a socket that is dead.
            ping_timeout=None,
            max_size=max_message_bytes,
            logger=_log,
            ssl=tls if outgoing.url.startswith("wss:") else None,
        )
    except InvalidStatus as error:
        attempt.status = error.response.status_code
        attempt.replay = Replay.ACCEPTED
        yield _reply(error.response, attempt)
        return
    except (InvalidHandshake, OSError) as error:
        kind, what, attempt.replay = _failure(error, outgoing)
        raise attempt.lost(kind, what) from error
    attempt.status = 101
    attempt.replay = Replay.COMMITTED
    messages = Socket(connection, attempt)
    try:
        yield messages
    finally:
        _conclude(attempt, messages, connection.close_code)
        await _close(connection)


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: it would be sent the credentials."""
        return exc


def _size(message: str | bytes) -> int:
    # Almost every text is ASCII, which is known without looking at it.
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())


def _closed(error: ConnectionClosed) -> ClosedError:
    if error.rcvd is not None:
        return ClosedError(error.rcvd.code, error.rcvd.reason)
    return ClosedError(error.sent.code if error.sent is not None else _NO_CLOSE_FRAME, "")


def _reply(response: Response, attempt: Attempt) -> Reply:
    headers = CIMultiDictProxy(CIMultiDict(response.headers.raw_items()))
    body = bytes(response.body or b"")
    attempt.received = len(body)
    return Reply(response.status_code, headers, body, attempt.span.get_span_context())


def _failure(error: InvalidHandshake | OSError, outgoing: Outgoing) -> tuple[str, str, Replay]:
    match error:
        case TimeoutError():
            seconds = outgoing.connect_seconds
            what = f"could not be reached: there was no connection within {seconds:g} seconds"
            return "connect_timeout", what, Replay.AMBIGUOUS
        case socket.gaierror():
            return "dns", "could not be reached: its host was not found", Replay.NOT_DISPATCHED
        case ssl.SSLError():
            what = "could not be reached: there is no trustworthy TLS connection to it"
            return "tls", what, Replay.NOT_DISPATCHED
        case OSError():
            return "connect", "could not be reached: its host accepts no connection", Replay.NOT_DISPATCHED
        case _:
            return "protocol", "did not open a WebSocket", Replay.AMBIGUOUS


def _conclude(attempt: Attempt, messages: Socket, close_code: int | None) -> None:
    """Put on the span what a socket was used for, before this side closes it."""
    attempt.span.set_attribute(telemetry.PIXVOX_SOCKET_MESSAGES_SENT, messages.sent)
    attempt.span.set_attribute(telemetry.PIXVOX_SOCKET_MESSAGES_RECEIVED, messages.received)
    attempt.span.set_attribute(telemetry.PIXVOX_SOCKET_BYTES_SENT, messages.sent_bytes)
    attempt.span.set_attribute(telemetry.PIXVOX_SOCKET_BYTES_RECEIVED, messages.received_bytes)
    # Which side was the first to close a socket that is done with is a matter of chance.
    if close_code is not None and close_code not in _ORDINARY:
        attempt.span.set_attribute(telemetry.PIXVOX_SOCKET_CLOSE_CODE, close_code)
        attempt.failure = f"close_{close_code}"


async def _close(connection: ClientConnection) -> None:
    try:
        # Its own limit does not cover a close frame that cannot be written because the other side reads nothing.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.close()
    finally:
        connection.transport.abort()
