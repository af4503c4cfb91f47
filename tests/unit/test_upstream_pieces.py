"""Replies of bare bytes that are read while they come: of a vendor that behaves and of one that does not."""

from __future__ import annotations

import asyncio

import pytest

from pixvox import telemetry
from pixvox.errors import OutcomeUnknownError, ProviderDisconnectedError, ProviderUnavailableError
from pixvox.upstream import ByteStream, EventStream, RefusedError, replay
from raw_vendor import CREDENTIALS, KEY, Spans, opened, reply, then_close, then_reset, then_silence, vendor

BODY = b'{"input":"a secret"}'
SOUND = bytes(range(200))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: Audio/PCM; rate=24000\r\nX-Request-Id: r-1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + b"Content-Length: 200\r\n\r\n"
UNTOLD = HEAD + b"Connection: close\r\n\r\n"


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
async def upstream(spans):
    async with opened(tracer=spans.tracer) as upstream:
        yield upstream


@pytest.fixture
def waits(monkeypatch):
    """Time between attempts does not pass."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


def stream_of(origin):
    return origin.stream("/speech", body=BODY, operation="speech", is_bare=lambda kind: kind.startswith("audio/"))


async def collect(origin, pieces):
    async with stream_of(origin) as stream:
        async for piece in stream:
            pieces.append(piece)


ENDED = {
    "chunks": CHUNKED + chunk(SOUND[:7]) + chunk(SOUND[7:]) + chunk(b""),
    "a length": LONG + SOUND,
    "the connection": then_close(UNTOLD + SOUND),
}


@pytest.mark.parametrize("what", ENDED)
async def test_a_body_is_given_whole_however_its_end_is_told(upstream, what):
    async with vendor(ENDED[what]) as one, stream_of(upstream.origin(one.url, headers=CREDENTIALS)) as stream:
        assert isinstance(stream, ByteStream)
        assert (stream.media_type, stream.headers["x-request-id"]) == ("audio/pcm", "r-1")
        assert stream.end_is_told is (what != "the connection")
        assert b"".join([piece async for piece in stream]) == SOUND
        assert stream.received == len(SOUND)
    assert one.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert one.requests[0].body == BODY


async def test_a_connection_whose_body_was_read_to_its_end_serves_again(upstream):
    async with vendor(ENDED["chunks"]) as one:
        origin = upstream.origin(one.url)
        for _ in range(2):
            await collect(origin, [])
        assert one.connections == 1


async def test_a_reply_of_events_is_given_as_events(upstream):
    head = CHUNKED.replace(b"Audio/PCM; rate=24000", b"text/event-stream")
    async with vendor(head + chunk(b"data: a\n\n") + chunk(b"")) as one, stream_of(upstream.origin(one.url)) as stream:
        assert isinstance(stream, EventStream)
        assert [event.data async for event in stream] == [b"a"]


async def test_each_piece_is_there_before_the_next_is_sent(upstream):
    got = asyncio.Queue()

    async def one_by_one(_reader, writer):
        writer.write(CHUNKED)
        for number in range(3):
            writer.write(chunk(bytes([number])))
            await got.get()
        writer.write(chunk(b""))

    async with vendor(one_by_one) as one, stream_of(upstream.origin(one.url)) as stream:
        async with asyncio.timeout(5):
            pieces = []
            async for piece in stream:
                pieces.append(piece)
                got.put_nowait(piece)
    assert pieces == [b"\0", b"\1", b"\2"]


BROKEN = {
    "closed between chunks": then_close(CHUNKED + chunk(SOUND)),
    "reset between chunks": then_reset(CHUNKED + chunk(SOUND)),
    "closed within a chunk": then_close(CHUNKED + chunk(SOUND) + b"20\r\n"),
    "shorter than its length": then_close(LONG.replace(b"200\r\n\r\n", b"201\r\n\r\n") + SOUND),
    "silent": then_silence(CHUNKED + chunk(SOUND)),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_body_that_breaks_off_is_told_from_one_that_ended_and_is_not_asked_again(upstream, waits, what):
    pieces = []
    async with vendor(BROKEN[what]) as one:
        with pytest.raises(ProviderDisconnectedError) as caught:
            await collect(upstream.origin(one.url, read_seconds=0.2), pieces)
    assert b"".join(pieces) == SOUND
    assert caught.value.metadata == {"replay": "committed"}
    assert (len(one.requests), waits) == (1, [])


async def test_a_body_that_breaks_off_before_its_first_byte_has_begun_all_the_same(upstream):
    async with vendor(then_close(CHUNKED)) as one:
        with pytest.raises(ProviderDisconnectedError) as caught:
            await collect(upstream.origin(one.url), [])
    assert caught.value.metadata == {"replay": "committed"}


async def test_a_reply_lost_before_its_head_is_ambiguous(upstream):
    async with vendor(then_close()) as one:
        with pytest.raises(OutcomeUnknownError):
            await collect(upstream.origin(one.url), [])
    assert len(one.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        reply(b'{"error":"Unauthorized"}', 401),
        reply(b"{}", 200),
        CHUNKED.replace(b"200 OK", b"500 No") + chunk(b"x") + chunk(b""),
    ],
)
async def test_a_reply_of_another_type_or_status_is_given_whole(upstream, waits, answer):
    async with vendor(answer) as one:
        with pytest.raises(RefusedError) as caught:
            await collect(upstream.origin(one.url), [])
    assert caught.value.reply.body in {b'{"error":"Unauthorized"}', b"{}", b"x"}
    assert (len(one.requests), waits) == (1, [])


async def test_a_refusal_is_asked_again_before_the_body(upstream, waits):
    pieces = []
    async with vendor(reply(status=429), ENDED["chunks"]) as one:
        await collect(upstream.origin(one.url, refusal=lambda _: 1.0), pieces)
    assert (b"".join(pieces), len(one.requests), waits) == (SOUND, 2, [1.0])


@pytest.mark.usefixtures("waits")
async def test_a_vendor_that_cannot_be_reached_was_asked_nothing(upstream):
    with pytest.raises(ProviderUnavailableError) as caught:
        await collect(upstream.origin("http://nobody.invalid"), [])
    assert caught.value.metadata == {"replay": "not_dispatched"}


async def test_a_slow_reader_holds_up_the_vendor_instead_of_filling_memory(upstream):
    sent = 0

    async def endless(_reader, writer):
        nonlocal sent
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b"x" * 65_536))
            sent += 65_536
            await writer.drain()

    async with vendor(endless) as one:
        async with stream_of(upstream.origin(one.url)) as stream:
            await anext(stream)
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.2)
            # What the sockets of both sides hold, and a few buffers.
            assert sent < 32_000_000
        await asyncio.wait_for(one.left.wait(), 5)


@pytest.mark.parametrize("answer", [then_silence(), then_silence(CHUNKED), then_silence(CHUNKED + chunk(SOUND))])
async def test_a_reader_that_is_cancelled_while_it_waits_closes_the_connection_at_once(upstream, spans, answer):
    async with vendor(answer) as one:
        reader = asyncio.create_task(collect(upstream.origin(one.url), []))
        await one.reached.wait()
        await asyncio.sleep(0.1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.wait_for(one.left.wait(), 5)
    assert len(one.requests) == 1
    assert spans.values(telemetry.ERROR_TYPE) == ["cancelled"]


async def test_leaving_the_block_closes_the_connection_at_once(upstream):
    async with vendor(then_silence(CHUNKED + chunk(SOUND))) as one:
        async with stream_of(upstream.origin(one.url)) as stream:
            assert await anext(stream) == SOUND
        await asyncio.wait_for(one.left.wait(), 5)


async def test_a_body_is_one_span_to_its_last_byte(upstream, spans):
    async with vendor(ENDED["chunks"]) as one, stream_of(upstream.origin(one.url)) as stream:
        await anext(stream)
        assert spans.finished == ()
        async for _ in stream:
            pass
    (span,) = spans.finished
    assert span.attributes[telemetry.HTTP_RESPONSE_BODY_SIZE] == len(SOUND)
    assert span.attributes[telemetry.PIXVOX_REPLAY_CLASS] == "committed"
    assert telemetry.PIXVOX_EVENTS_RECEIVED not in span.attributes
    assert telemetry.ERROR_TYPE not in span.attributes
    assert "a secret" not in span.to_json()


async def test_the_span_of_a_body_that_broke_off_tells_so_though_the_reader_coped(upstream, spans):
    async with vendor(BROKEN["closed between chunks"]) as one, stream_of(upstream.origin(one.url)) as stream:
        await anext(stream)
        with pytest.raises(ProviderDisconnectedError):
            async for _ in stream:
                pass
    assert spans.values(telemetry.ERROR_TYPE) == ["reset"]
