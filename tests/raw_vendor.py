"""A bare HTTP server for tests of the door to the network: it misbehaves byte by byte, and counts what it was asked."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pixvox.upstream import Upstream

KEY = "sk-4f1d4f1d4f1d"
CREDENTIALS = {"Authorization": f"Bearer {KEY}"}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Vendor:
    """What each request gets is the next of `answers`, the last one for ever: bytes, or `conversation(vendor, line)`."""

    answers: list
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    scheme: str = "http"
    left: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}/api/v1"

    def next_answer(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        try:
            while (request := await read_request(reader, number)) is not None:
                self.requests.append(request)
                self.reached.set()
                answer = self.next_answer()
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(reader, writer)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.close()


async def read_request(reader, number):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body, number)


def reply(body=b"{}", status=200, **headers):
    head = {"Content-Type": "application/json", "Content-Length": str(len(body))} | {
        name.replace("_", "-"): str(value) for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value != "None")
    return f"HTTP/1.1 {status} Any\r\n{lines}\r\n".encode() + body


def then_close(data=b""):
    """Say `data` and end the connection in good order."""

    async def conversation(_reader, writer):
        writer.write(data)
        await writer.drain()
        writer.close()

    return conversation


def then_reset(data=b""):
    """Say `data` and break the connection."""

    async def conversation(_reader, writer):
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.05)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    return conversation


def then_silence(data=b""):
    """Say `data` and wait for the client to leave."""

    async def conversation(reader, writer):
        writer.write(data)
        await writer.drain()
        await reader.read()
        writer.close()

    return conversation


def dripped(data, seconds):
    """Say `data` byte by byte."""

    async def conversation(_reader, writer):
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(seconds)

    return conversation


@asynccontextmanager
async def vendor(*answers, tls=None, port=0):
    """Serve, and see to it that no conversation is left at the end."""
    one = Vendor(list(answers))
    running = set()

    async def serve(reader, writer):
        task = asyncio.current_task()
        running.add(task)
        try:
            await one.serve(reader, writer)
        except asyncio.CancelledError:
            # By the end of the block; asyncio would report a connection whose task ends as cancelled.
            writer.transport.abort()
        finally:
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    one.scheme = "https" if tls else "http"
    try:
        yield one
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Spans:
    """A tracer and the spans that it finished."""

    def __init__(self):
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    @property
    def finished(self):
        return self._exporter.get_finished_spans()

    def values(self, attribute):
        return [span.attributes.get(attribute) for span in self.finished]


@asynccontextmanager
async def opened(**arguments):
    """An `Upstream`, closed without a trace afterwards."""
    upstream = Upstream(**arguments)
    try:
        yield upstream
    finally:
        await upstream.aclose()
        gc.collect()


def tls_of(ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


def trusting(ca):
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context
