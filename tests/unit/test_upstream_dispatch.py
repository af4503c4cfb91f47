"""What is sent again and what is not: each state of the replay machine, with a count of what the vendor saw."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import traceback

import pytest
import trustme

from pixvox.errors import OutcomeUnknownError, ProviderUnavailableError
from pixvox.upstream import Safety, replay
from raw_vendor import (
    CREDENTIALS,
    KEY,
    free_port,
    opened,
    read_request,
    reply,
    then_close,
    then_reset,
    then_silence,
    tls_of,
    trusting,
    vendor,
)

BODY = b'{"model":"m"}'


@pytest.fixture
def waits(monkeypatch):
    """Time between attempts does not pass; what was waited is in the list."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


@pytest.fixture
async def upstream():
    async with opened() as upstream:
        yield upstream


async def post(origin, body=BODY, path="/images?size=1", **arguments):
    return await origin.call(
        "POST", path, body=body, **({"safety": Safety.BILLABLE, "operation": "image generation"} | arguments)
    )


async def get(origin, path="/tasks/1", **arguments):
    return await origin.call("GET", path, **({"safety": Safety.FREE, "operation": "poll"} | arguments))


# Not dispatched.


async def test_a_refused_connection_is_tried_three_times_and_then_nothing_was_done(upstream, waits):
    origin = upstream.origin(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ProviderUnavailableError, match="accepts no connection") as caught:
        await post(origin)
    assert caught.value.metadata == {"replay": "not_dispatched"}
    assert len(waits) == 2


async def test_a_vendor_that_comes_back_between_attempts_is_asked_once(upstream, monkeypatch):
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        vendors = []

        async def sleep(_seconds):
            vendors.append(await stack.enter_async_context(vendor(reply(b"done"), port=port)))

        monkeypatch.setattr(replay, "sleep", sleep)
        answer = await post(upstream.origin(f"http://127.0.0.1:{port}"))
        assert answer.body == b"done"
        assert [len(one.requests) for one in vendors] == [1]


async def test_an_unknown_host_gets_nothing(upstream, waits):
    with pytest.raises(ProviderUnavailableError, match="its host was not found") as caught:
        await post(upstream.origin("http://nobody.invalid"))
    assert caught.value.metadata == {"replay": "not_dispatched"}
    assert len(waits) == 2


async def test_a_vendor_with_a_foreign_certificate_sees_no_request(upstream, waits):
    async with vendor(reply(), tls=tls_of(trustme.CA())) as one:
        with pytest.raises(ProviderUnavailableError, match="no trustworthy TLS") as caught:
            await post(upstream.origin(one.url, headers=CREDENTIALS))
    assert caught.value.metadata == {"replay": "not_dispatched"}
    assert (len(one.requests), len(waits)) == (0, 2)


@pytest.mark.usefixtures("waits")
async def test_a_connection_that_is_never_ready_is_given_up():
    silent = socket.create_server(("127.0.0.1", 0))
    try:
        async with opened() as upstream:
            origin = upstream.origin(f"https://127.0.0.1:{silent.getsockname()[1]}", connect_seconds=0.1)
            with pytest.raises(ProviderUnavailableError, match=r"no connection within 0\.1 seconds") as caught:
                await post(origin)
    finally:
        silent.close()
    assert caught.value.metadata == {"replay": "not_dispatched"}


async def test_a_trusted_certificate_is_enough():
    ca = trustme.CA()
    async with opened(tls=trusting(ca)) as upstream, vendor(reply(b"done"), tls=tls_of(ca)) as one:
        assert (await post(upstream.origin(one.url))).body == b"done"


# Ambiguous.

HEAD = reply(b"x" * 1000)

AMBIGUOUS = {
    "closed before any answer": then_close(),
    "reset before any answer": then_reset(),
    "closed within the head": then_close(HEAD[:20]),
    "reset within the head": then_reset(HEAD[:20]),
    "closed before the body": then_close(HEAD[:-1000]),
    "closed within the body": then_close(HEAD[:-500]),
    "reset within the body": then_reset(HEAD[:-500]),
    "closed within a chunk": then_close(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwor",
    ),
    "closed before the last chunk": then_close(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ),
    "not HTTP": then_close(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a damaged compression": then_close(reply(b"not gzip", Content_Encoding="gzip")),
    "silent": then_silence(),
    "silent within the body": then_silence(HEAD[:-500]),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
async def test_a_billable_call_that_the_vendor_has_seen_is_not_sent_again(upstream, waits, what):
    async with vendor(AMBIGUOUS[what]) as one:
        origin = upstream.origin(one.url, headers=CREDENTIALS, read_seconds=0.2)
        with pytest.raises(OutcomeUnknownError) as caught:
            await post(origin)
    assert caught.value.metadata == {"replay": "ambiguous"}
    assert len(one.requests) == 1
    assert waits == []
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "size=1" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("what", AMBIGUOUS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.usefixtures("waits")
async def test_a_free_call_is_sent_three_times_and_no_more(upstream, what, method):
    async with vendor(reply(), AMBIGUOUS[what]) as one:
        origin = upstream.origin(one.url, read_seconds=0.1)
        await get(origin)
        with pytest.raises(ProviderUnavailableError):
            await origin.call(method, "/x", safety=Safety.FREE, operation="test")
    # The first is the one that leaves a connection behind, over which aiohttp would send again on its own.
    assert len(one.requests) == 1 + 3


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_billable_call_over_a_used_connection_is_sent_once_whatever_its_method(upstream, method):
    async with vendor(reply(), then_close()) as one:
        origin = upstream.origin(one.url)
        await get(origin)
        with pytest.raises(OutcomeUnknownError):
            await origin.call(method, "/x", safety=Safety.BILLABLE, operation="test")
    assert [request.connection for request in one.requests] == [1, 1]


async def test_a_free_call_survives_two_losses(upstream, waits):
    async with vendor(then_reset(), then_close(HEAD[:-500]), reply(b"done")) as one:
        assert (await get(upstream.origin(one.url))).body == b"done"
    assert len(one.requests) == 3
    assert len(waits) == 2


async def test_a_lost_poll_says_that_the_work_may_be_billed(upstream, waits):
    async with vendor(then_close()) as one:
        with pytest.raises(OutcomeUnknownError, match="accepted") as caught:
            await get(upstream.origin(one.url), safety=Safety.FOLLOW_UP)
    assert caught.value.metadata == {"replay": "accepted"}
    assert (len(one.requests), len(waits)) == (3, 2)


# Connections that went stale.


async def test_a_connection_that_was_closed_while_idle_is_not_used(upstream):
    async with vendor(then_close(reply())) as one:
        origin = upstream.origin(one.url)
        for _ in range(3):
            await post(origin)
            await asyncio.sleep(0.05)
    assert [request.connection for request in one.requests] == [1, 2, 3]


async def test_a_connection_that_was_closed_while_the_event_loop_was_busy_is_not_used(upstream):
    closed = threading.Event()
    seen = []

    async def conversation():
        async def serve(reader, writer):
            seen.append(await read_request(reader, 0))
            writer.write(reply())
            await writer.drain()
            # Once the client has the reply, and its event loop stands still.
            await asyncio.sleep(0.1)
            writer.close()
            await writer.wait_closed()
            closed.set()
            ended.release()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            listening.set()
            await asyncio.to_thread(done.wait)
            for _ in seen:
                await asyncio.to_thread(ended.acquire)

    ports, listening, done, ended = [], threading.Event(), threading.Event(), threading.Semaphore(0)
    thread = threading.Thread(target=asyncio.run, args=(conversation(),))
    thread.start()
    try:
        await asyncio.to_thread(listening.wait)
        origin = upstream.origin(f"http://127.0.0.1:{ports[0]}")
        await post(origin)
        # The event loop stands still while the other side closes.
        closed.wait()
        time.sleep(0.05)  # noqa: ASYNC251
        assert (await post(origin)).status == 200
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
    assert len(seen) == 2


async def test_an_idle_tls_connection_serves_again():
    ca = trustme.CA()
    async with opened(tls=trusting(ca)) as upstream, vendor(reply(), tls=tls_of(ca)) as one:
        origin = upstream.origin(one.url)
        for _ in range(3):
            await post(origin)
            await asyncio.sleep(0.05)
    assert (len(one.requests), one.connections) == (3, 1)


# Refused before any work.


def rate_limit(answer):
    return 0.0 if answer.status == 429 else None


@pytest.mark.usefixtures("waits")
async def test_a_refusal_is_sent_again_with_the_whole_body(upstream):
    body = b"b" * 300_000
    async with vendor(reply(status=429), reply(status=429), reply(b"done")) as one:
        origin = upstream.origin(one.url, refusal=rate_limit)
        assert (await post(origin, body)).body == b"done"
    assert [request.body for request in one.requests] == [body] * 3


async def test_a_refusal_that_lasts_is_returned(upstream, waits):
    async with vendor(reply(status=429, Retry_After=2)) as one:
        answer = await post(upstream.origin(one.url, refusal=rate_limit))
    assert (answer.status, answer.retry_after) == (429, 2)
    assert (len(one.requests), waits) == (3, [2, 2])


async def test_a_server_error_is_no_refusal(upstream, waits):
    async with vendor(reply(status=503)) as one:
        assert (await post(upstream.origin(one.url, refusal=rate_limit))).status == 503
    assert (len(one.requests), waits) == (1, [])


async def test_a_call_can_be_cancelled_while_it_waits_for_its_next_attempt(upstream):
    async with vendor(reply(status=429, Retry_After=9)) as one:
        call = asyncio.create_task(post(upstream.origin(one.url, refusal=rate_limit)))
        await one.reached.wait()
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(one.requests) == 1
