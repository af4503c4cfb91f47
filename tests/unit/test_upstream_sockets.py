"""WebSockets: how they open, how they end, and that none stays open."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve
from websockets.frames import CloseCode

from pixvox import telemetry
from pixvox.errors import ProviderDisconnectedError, ShuttingDownError
from pixvox.upstream import ClosedError, replay
from raw_vendor import CREDENTIALS, KEY, Spans, opened, vendor


@pytest.fixture
async def upstream():
    async with opened() as upstream:
        yield upstream


@pytest.fixture
def waits(monkeypatch):
    """Time between attempts does not pass."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


@asynccontextmanager
async def talking(conversation, **arguments):
    """A WebSocket server; gives its address."""
    async with serve(conversation, "127.0.0.1", 0, **arguments) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api-ws/v1"


def realtime(origin, **arguments):
    return origin.socket("/realtime?model=m", operation="speech session", **arguments)


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def test_text_stays_text_and_bytes_stay_bytes(upstream):
    async with talking(echo) as url, realtime(upstream.origin(url)) as session:
        await session.send("Grüße")
        await session.send(b"\x00\xff")
        assert await session.receive() == "Grüße"
        assert await anext(session) == b"\x00\xff"
        assert (session.sent, session.received) == (2, 2)


async def test_messages_pass_in_both_directions_at_once(upstream):
    async def count(connection):
        for number in range(500):
            await connection.send(str(number))
        async for message in connection:
            if message == "499":
                return

    async with talking(count) as url, realtime(upstream.origin(url)) as session:

        async def speak():
            for number in range(500):
                await session.send(str(number))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak())
            assert [await session.receive() for _ in range(500)] == [str(number) for number in range(500)]


async def test_leaving_the_block_says_goodbye(upstream):
    ended = asyncio.get_running_loop().create_future()

    async def wait(connection):
        await connection.wait_closed()
        ended.set_result(connection.close_code)

    async with talking(wait) as url:
        async with realtime(upstream.origin(url)):
            pass
        assert await asyncio.wait_for(ended, 1) == CloseCode.NORMAL_CLOSURE


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1000, "done"), (1007, "bad voice"), (1011, "fault"), (4000, "x")]
)
async def test_a_close_by_the_vendor_comes_after_its_last_message(upstream, code, reason):
    async def leave(connection):
        await connection.send("last")
        await connection.close(code, reason)

    async with talking(leave) as url, realtime(upstream.origin(url)) as session:
        await asyncio.sleep(0.1)
        assert await session.receive() == "last"
        for _ in range(2):
            with pytest.raises(ClosedError) as caught:
                await session.receive()
            assert (caught.value.close_code, caught.value.close_reason) == (code, reason)
        with pytest.raises(ClosedError):
            await session.send("too late")
    assert reason not in caught.value.message or not reason
    assert caught.value.metadata == {"replay": "committed"}
    assert isinstance(caught.value, ProviderDisconnectedError)


async def test_a_connection_that_breaks_is_no_end_of_an_iteration(upstream):
    async def break_off(connection):
        await connection.send("first")
        connection.transport.abort()

    async def listen(session):
        async for message in session:
            messages.append(message)  # noqa: PERF401 - those before the error count too

    messages = []
    async with talking(break_off) as url, realtime(upstream.origin(url)) as session:
        with pytest.raises(ClosedError) as caught:
            await listen(session)
    assert messages == ["first"]
    assert caught.value.close_code == 1006


async def test_a_vendor_that_dies_while_the_reader_waits_is_noticed(upstream):
    async def die(connection):
        await connection.recv()
        connection.transport.abort()

    async with talking(die) as url, realtime(upstream.origin(url)) as session:
        reader = asyncio.create_task(session.receive())
        await asyncio.sleep(0.05)
        await session.send("go")
        with pytest.raises(ClosedError):
            await asyncio.wait_for(reader, 1)


async def test_a_message_that_is_too_large_closes_the_socket(upstream):
    async def shout(connection):
        await connection.send("x" * 1001)
        await connection.wait_closed()

    async with talking(shout) as url, realtime(upstream.origin(url), max_message_bytes=1000) as session:
        with pytest.raises(ClosedError) as caught:
            await session.receive()
    assert caught.value.close_code == 1009


async def test_text_that_is_no_utf8_closes_the_socket(upstream):
    async def mumble(connection):
        await connection.send(b"\xff\xfe", text=True)
        await connection.wait_closed()

    async with talking(mumble) as url, realtime(upstream.origin(url)) as session:
        with pytest.raises(ClosedError) as caught:
            await session.receive()
    assert caught.value.close_code == 1007


# The other side does not answer the close frame.


@asynccontextmanager
async def handshaken(after):
    """A server that opens the socket and then does `after(reader, writer)`, which knows nothing of close frames."""
    from base64 import b64encode
    from hashlib import sha1

    async def conversation(reader, writer):
        key = one.requests[-1].headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = b64encode(sha1(key.encode()).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        await after(reader, writer)
        writer.close()

    async with vendor(conversation) as one:
        yield one


async def deaf(reader, _writer):
    await reader.read(-1)


async def stuck(_reader, _writer):
    await asyncio.sleep(60)


async def test_a_vendor_that_does_not_answer_the_goodbye_is_left_within_a_second(upstream):
    async with handshaken(deaf) as one:
        async with realtime(upstream.origin(one.url)):
            started = time.monotonic()
        assert time.monotonic() - started < 1
        await asyncio.wait_for(one.left.wait(), 1)


async def test_a_cancelled_reader_leaves_a_vendor_that_does_not_answer_within_a_second(upstream):
    async def read():
        async with realtime(upstream.origin(one.url)) as session:
            await session.receive()

    async with handshaken(deaf) as one:
        reader = asyncio.create_task(read())
        await one.reached.wait()
        await asyncio.sleep(0.1)
        started = time.monotonic()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.wait_for(one.left.wait(), 1)
    assert time.monotonic() - started < 1


async def test_a_reader_that_is_cancelled_again_while_it_leaves_leaves_at_once(upstream):
    async def read():
        async with realtime(upstream.origin(one.url)) as session:
            await session.receive()

    async with handshaken(deaf) as one:
        reader = asyncio.create_task(read())
        await one.reached.wait()
        await asyncio.sleep(0.1)
        reader.cancel()
        await asyncio.sleep(0.05)
        started = time.monotonic()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.wait_for(one.left.wait(), 1)
        assert time.monotonic() - started < 0.2


async def test_a_writer_that_is_cancelled_while_the_vendor_reads_nothing_leaves_within_a_second(upstream):
    async def write():
        async with realtime(upstream.origin(one.url)) as session:
            while True:
                await session.send("x" * 100_000)

    async with handshaken(stuck) as one:
        writer = asyncio.create_task(write())
        await one.reached.wait()
        await asyncio.sleep(0.3)
        started = time.monotonic()
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        assert time.monotonic() - started < 1


async def test_a_vendor_that_never_stops_talking_is_left_within_a_second(upstream):
    gone = asyncio.Event()

    async def chatter(connection):
        try:
            while True:
                await connection.send("x" * 10_000)
        finally:
            gone.set()

    async with talking(chatter) as url:
        started = time.monotonic()
        async with realtime(upstream.origin(url)) as session:
            await session.receive()
        await asyncio.wait_for(gone.wait(), 1)
        assert time.monotonic() - started < 1


async def test_credentials_are_not_logged_at_any_level(upstream, caplog):
    caplog.set_level(logging.DEBUG)
    async with talking(echo) as url, realtime(upstream.origin(url, headers=CREDENTIALS)) as session:
        await session.send("secret words")
        await session.receive()
    client_lines = [record for record in caplog.records if record.name != "websockets.server"]
    assert not any(KEY in record.getMessage() or "secret" in record.getMessage() for record in client_lines)


async def test_nothing_is_opened_after_closing(upstream):
    await upstream.aclose()
    with pytest.raises(ShuttingDownError):
        async with realtime(upstream.origin("ws://127.0.0.1:9")):
            pass


async def test_a_session_is_one_span_from_its_handshake_to_its_end():
    spans = Spans()
    async with opened(tracer=spans.tracer) as upstream, talking(echo) as url:
        origin = upstream.origin(url, headers=CREDENTIALS)
        async with realtime(origin) as session:
            await session.send("a")
            await session.receive()
            await asyncio.sleep(0.1)
            assert spans.finished == ()
    (span,) = spans.finished
    assert span.name == "GET speech session"
    assert span.end_time - span.start_time > 100_000_000
    assert span.attributes[telemetry.URL_FULL] == f"{url.replace('http', 'ws')}/realtime"
    assert span.attributes[telemetry.HTTP_RESPONSE_STATUS_CODE] == 101
    assert span.attributes[telemetry.PIXVOX_REPLAY_CLASS] == "committed"
    assert span.attributes[telemetry.PIXVOX_SOCKET_MESSAGES_SENT] == 1
    assert span.attributes[telemetry.PIXVOX_SOCKET_MESSAGES_RECEIVED] == 1
    assert telemetry.ERROR_TYPE not in span.attributes
    assert KEY not in span.to_json()


async def test_the_span_of_a_session_that_the_vendor_broke_says_so():
    async def fail(connection):
        await connection.close(1011, "fault")

    spans = Spans()
    async with opened(tracer=spans.tracer) as upstream, talking(fail) as url:
        with pytest.raises(ClosedError):
            async with realtime(upstream.origin(url)) as session:
                await session.receive()
    (span,) = spans.finished
    assert span.attributes[telemetry.PIXVOX_SOCKET_CLOSE_CODE] == 1011
    assert span.attributes[telemetry.ERROR_TYPE] == "close_1011"
    assert not span.status.is_ok


async def test_small_messages_are_not_held_back(upstream):
    async with talking(echo) as url, realtime(upstream.origin(url)) as session:
        assert session._connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
