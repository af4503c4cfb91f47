"""An upstream that is out of order: a server of HTTP that breaks off, answers nonsense, or says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HEAD_BYTES = 64 * 1024
_BODY_BYTES = 64 * 1024 * 1024


class Fault(enum.Enum):
    """What is wrong with it; the values are for a person."""

    REFUSES = "refuses connections"
    BREAKS_OFF = "breaks off instead of answering"
    FAILS = "answers 500"
    NONSENSE = "answers 200 with a page of HTML"
    UNAUTHORIZED = "answers 401"
    SILENT = "never answers"


_ANSWERS = {
    Fault.FAILS: (b"500 Internal Server Error", b"text/plain", b"out of order"),
    Fault.NONSENSE: (b"200 OK", b"text/html", b"<html><body><h1>Welcome</h1></body></html>"),
    Fault.UNAUTHORIZED: (b"401 Unauthorized", b"application/json", b'{"message": "who are you?"}'),
}


@dataclass(slots=True)
class BrokenUpstream:
    """The server while it runs.

    Attributes:
        authority: HOST:PORT.
        bodies: Of the requests that had one, in order.
        requests: How many came.
    """

    authority: str
    bodies: list[bytes] = field(default_factory=list)
    requests: int = 0


@contextlib.asynccontextmanager
async def broken_upstream(fault: Fault) -> AsyncIterator[BrokenUpstream]:
    """Run the server for the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    upstream = BrokenUpstream(f"127.0.0.1:{listener.getsockname()[1]}")
    if fault is Fault.REFUSES:
        # The port stays free for as long as nobody else is given it, which the system puts off.
        listener.close()
        yield upstream
        return
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
            task.add_done_callback(connections.discard)
        try:
            await _serve(fault, upstream, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The provider has left.
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, sock=listener, limit=_HEAD_BYTES)
    try:
        yield upstream
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


async def _serve(
    fault: Fault, upstream: BrokenUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request; the connection ends with it."""
    head = await reader.readuntil(b"\r\n\r\n")
    upstream.requests += 1
    if body := await _body(head, reader):
        upstream.bodies.append(body)
    if fault is Fault.SILENT:
        # Until the provider leaves.
        await reader.read()
    elif fault in _ANSWERS:
        status, kind, text = _ANSWERS[fault]
        length = str(len(text)).encode()
        writer.write(
            b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %b\r\nconnection: close\r\n\r\n"
            % (status, kind, length)
        )
        writer.write(text)
        await writer.drain()
        writer.write_eof()
        await reader.read()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        body = b""
        while (size := int((await reader.readline()).split(b";")[0], 16)) and len(body) < _BODY_BYTES:
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    length = headers.get(b"content-length", b"0").strip()
    return await reader.readexactly(min(int(length), _BODY_BYTES)) if length.isdigit() else b""
