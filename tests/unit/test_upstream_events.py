"""Server-sent events: the parser by itself, and streams of a vendor that behaves and of one that does not."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.errors import (
    OutcomeUnknownError,
    ProviderDisconnectedError,
    ProviderInternalError,
    ProviderUnavailableError,
)
from pixvox.upstream import RefusedError, replay
from pixvox.upstream.events import Event, EventParser, OversizeError
from raw_vendor import CREDENTIALS, KEY, opened, reply, then_close, then_reset, then_silence, vendor

BODY = b'{"model":"m"}'
FRAMES = (
    b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"a":1}\n\n'
    b'id:2\nevent:result\n:HTTP_STATUS/200\ndata:{"a":2}\n\n'
    b'id:3\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"x"}\n\n'
)
EVENTS = [
    Event("1", "result", b'{"a":1}', ("HTTP_STATUS/200",)),
    Event("2", "result", b'{"a":2}', ("HTTP_STATUS/200",)),
    Event("3", "error", b'{"code":"x"}', ("HTTP_STATUS/400",)),
]
# One of everything, in every kind of line end.
MIXED = (
    b"\xef\xbb\xbf: hello\r\ndata: first\r\ndata:second\r\n\r\n"
    b"event: other\rid: 7\rdata:  two spaces\r\r"
    b"retry: 10\nunknown: x\ndata\nid\n\n"
    b": only a comment\n\n\n\nevent: dropped\n\n"
    b"data: \xe2\x82\xac\nid: a\0b\n\ndata: never ended"
)
MIXED_EVENTS = [
    Event("", "message", b"first\nsecond", ("hello",)),
    Event("7", "other", b" two spaces"),
    Event("", "message", b""),
    Event("", "message", "€".encode()),
]


def parsed(*pieces, max_event_bytes=10_000):
    parser = EventParser(max_event_bytes)
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize(("stream", "events"), [(FRAMES, EVENTS), (MIXED, MIXED_EVENTS)])
def test_a_stream_gives_its_events(stream, events):
    assert parsed(stream) == events


@pytest.mark.parametrize(("stream", "events"), [(FRAMES, EVENTS), (MIXED, MIXED_EVENTS)])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_where_a_stream_is_cut_makes_no_difference(stream, events, line_end):
    if stream is FRAMES:
        stream = stream.replace(b"\n", line_end)
    for offset in range(len(stream) + 1):
        assert parsed(stream[:offset], stream[offset:]) == events
    assert parsed(*(bytes([byte]) for byte in stream)) == events


@given(
    st.lists(st.binary(max_size=6).map(lambda text: text.translate(bytes(b"\r\n:data id"[i % 10] for i in range(256)))))
)
def test_any_cut_of_any_stream_gives_the_same_events(pieces):
    assert parsed(*pieces) == parsed(b"".join(pieces))


def test_an_event_is_given_with_the_first_byte_of_its_empty_line():
    parser = EventParser(100)
    assert parser.feed(b"data: a\r\n") == []
    assert parser.feed(b"\r") == [Event("", "message", b"a")]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: b\n\n") == [Event("", "message", b"b")]


def test_an_event_may_be_as_large_as_agreed_and_no_larger():
    assert len(parsed(b"data: 1234\n\n", max_event_bytes=12)) == 1
    with pytest.raises(OversizeError):
        parsed(b"data: 12345\n\n", max_event_bytes=12)
    with pytest.raises(OversizeError):
        parsed(*[b"data: x\n"] * 3, max_event_bytes=20)


def test_the_limit_is_for_one_event_and_not_for_the_stream():
    assert len(parsed(*[b"data: 1234\n\n: heartbeat\n\n"] * 1000, max_event_bytes=20)) == 1000


def test_a_large_event_in_small_pieces_takes_time_in_proportion():
    started = time.process_time()
    (event,) = parsed(b"data: ", *[b"x" * 100] * 50_000, b"\n\n", max_event_bytes=10_000_000)
    assert len(event.data) == 5_000_000
    assert time.process_time() - started < 2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\nX-Request-Id: r-1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


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


def stream_of(origin, body=BODY):
    return origin.events("/speech", body=body, headers={"X-DashScope-SSE": "enable"}, operation="speech")


async def collect(origin, events):
    async with stream_of(origin) as stream:
        async for event in stream:
            events.append(event)


async def test_a_stream_that_ends_properly_gives_all_its_events(upstream):
    async with vendor(CHUNKED + chunk(FRAMES[:50]) + chunk(FRAMES[50:]) + chunk(b"")) as one:
        origin = upstream.origin(one.url, headers=CREDENTIALS)
        for _ in range(2):
            async with stream_of(origin) as stream:
                assert stream.headers["x-request-id"] == "r-1"
                assert [event async for event in stream] == EVENTS
    assert (len(one.requests), one.connections) == (2, 1)
    (request, _) = one.requests
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/speech", BODY)
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["x-dashscope-sse"] == "enable"
    assert request.headers["authorization"] == f"Bearer {KEY}"


async def test_each_event_is_there_before_the_next_is_sent(upstream):
    got = asyncio.Queue()

    async def one_by_one(_reader, writer):
        writer.write(CHUNKED)
        for frame in FRAMES.split(b"\n\n")[:-1]:
            writer.write(chunk(frame + b"\n\n"))
            await got.get()
        writer.write(chunk(b""))

    async with vendor(one_by_one) as one, stream_of(upstream.origin(one.url)) as stream:
        async with asyncio.timeout(5):
            async for event in stream:
                got.put_nowait(event)
    assert stream.received == 3


BROKEN = {
    "closed between events": then_close(CHUNKED + chunk(FRAMES)),
    "reset between events": then_reset(CHUNKED + chunk(FRAMES)),
    "closed within an event": then_close(CHUNKED + chunk(FRAMES) + b"20\r\ndata: half"),
    "silent": then_silence(CHUNKED + chunk(FRAMES)),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_stream_that_breaks_off_is_told_from_one_that_ended_and_is_not_asked_again(upstream, waits, what):
    events = []
    async with vendor(BROKEN[what]) as one:
        with pytest.raises(ProviderDisconnectedError) as caught:
            await collect(upstream.origin(one.url, read_seconds=0.2), events)
    assert events == EVENTS
    assert type(caught.value) is ProviderDisconnectedError
    assert caught.value.metadata == {"replay": "committed"}
    assert (len(one.requests), waits) == (1, [])


async def test_a_stream_lost_before_its_head_is_ambiguous(upstream):
    async with vendor(then_close()) as one:
        with pytest.raises(OutcomeUnknownError):
            async with stream_of(upstream.origin(one.url)):
                pass
    assert len(one.requests) == 1


async def test_an_error_before_the_stream_is_given_whole(upstream, waits):
    async with vendor(reply(b'{"code":"InvalidApiKey"}', 401)) as one:
        with pytest.raises(RefusedError, match="status 401") as caught:
            async with stream_of(upstream.origin(one.url)):
                pass
    assert (caught.value.reply.status, caught.value.reply.body) == (401, b'{"code":"InvalidApiKey"}')
    assert (len(one.requests), waits) == (1, [])


async def test_a_reply_that_is_no_stream_is_given_whole(upstream):
    async with vendor(reply(b"{}", 200)) as one:
        with pytest.raises(RefusedError) as caught:
            async with stream_of(upstream.origin(one.url)):
                pass
    assert caught.value.reply.status == 200


async def test_a_refusal_is_asked_again_before_the_stream(upstream, waits):
    events = []
    async with vendor(reply(status=429), CHUNKED + chunk(FRAMES) + chunk(b"")) as one:
        await collect(upstream.origin(one.url, refusal=lambda _: 1.0), events)
    assert events == EVENTS
    assert len(one.requests) == 2
    assert waits == [1.0]


@pytest.mark.usefixtures("waits")
async def test_a_vendor_that_cannot_be_reached_was_asked_nothing(upstream):
    with pytest.raises(ProviderUnavailableError) as caught:
        async with stream_of(upstream.origin("http://nobody.invalid")):
            pass
    assert caught.value.metadata == {"replay": "not_dispatched"}


async def test_an_event_without_an_end_is_not_collected_for_ever(upstream):
    async def endless(_reader, writer):
        writer.write(CHUNKED + chunk(b"data: "))
        while not writer.is_closing():
            writer.write(chunk(b"x" * 100_000))
            await writer.drain()

    async with vendor(endless) as one:
        with pytest.raises(ProviderInternalError, match="larger"):
            await collect(upstream.origin(one.url), [])
        await asyncio.wait_for(one.left.wait(), 1)


async def test_leaving_the_block_closes_the_connection_at_once(upstream):
    async with vendor(then_silence(CHUNKED + chunk(FRAMES))) as one:
        async with stream_of(upstream.origin(one.url)) as stream:
            assert await anext(stream) == EVENTS[0]
        await asyncio.wait_for(one.left.wait(), 1)


async def test_leaving_a_stream_that_sends_without_pause_closes_it_at_once(upstream):
    async def endless(_reader, writer):
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(FRAMES * 100))
            await writer.drain()

    async with vendor(endless) as one:
        async with stream_of(upstream.origin(one.url)) as stream:
            await anext(stream)
            # The reader is slow, the vendor is held up.
            await asyncio.sleep(0.2)
        await asyncio.wait_for(one.left.wait(), 1)


@pytest.mark.parametrize("answer", [then_silence(), then_silence(CHUNKED), then_silence(CHUNKED + chunk(FRAMES))])
async def test_a_reader_that_is_cancelled_while_it_waits_closes_the_connection_at_once(upstream, answer):
    async with vendor(answer) as one:
        reader = asyncio.create_task(collect(upstream.origin(one.url), []))
        await one.reached.wait()
        await asyncio.sleep(0.1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.wait_for(one.left.wait(), 1)
    assert len(one.requests) == 1
