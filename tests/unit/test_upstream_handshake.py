"""How WebSockets open, and what comes of it when they do not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import serve

from pixvox import __version__, telemetry
from pixvox.errors import ProviderUnavailableError
from pixvox.upstream import RefusedError, replay
from raw_vendor import CREDENTIALS, KEY, Spans, free_port, opened, reply, then_close, then_silence, vendor


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


async def test_the_handshake_has_credentials_and_offers_no_compression(upstream):
    seen = []

    async def look(connection):
        seen.append(connection.request)

    async with talking(look) as url:
        origin = upstream.origin(url.replace("http", "ws"), headers=CREDENTIALS | {"X-A": "origin"})
        async with realtime(origin, headers={"X-A": "call"}):
            pass
    (request,) = seen
    assert request.path == "/api-ws/v1/realtime?model=m"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers.get_all("User-Agent") == [f"pixvox/{__version__}"]
    assert request.headers["X-A"] == "call"
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert "traceparent" not in request.headers


# The handshake.


@pytest.mark.parametrize("status", [401, 403, 404, 200, 302])
async def test_a_refused_handshake_carries_status_headers_and_body(upstream, waits, status):
    answer = reply(b'{"code":"InvalidApiKey"}', status, X_Request_Id="r-1", Location="ws://127.0.0.1:9/")
    async with vendor(answer) as one:
        with pytest.raises(RefusedError) as caught:
            async with realtime(upstream.origin(one.url, headers=CREDENTIALS)):
                pass
    refused = caught.value.reply
    assert (refused.status, refused.body, refused.headers["X-REQUEST-ID"]) == (
        status,
        b'{"code":"InvalidApiKey"}',
        "r-1",
    )
    assert (len(one.requests), waits) == (1, [])


@pytest.mark.parametrize("status", [HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE])
async def test_a_handshake_that_may_pass_later_is_tried_again(upstream, waits, status):
    refusals = [1, 1]

    def refuse(connection, _request):
        return connection.respond(status, "later") if refusals and refusals.pop() else None

    async with talking(echo, process_request=refuse) as url, realtime(upstream.origin(url)) as session:
        await session.send("a")
        assert await session.receive() == "a"
    assert len(waits) == 2


async def test_a_handshake_is_tried_three_times(upstream, waits):
    async with vendor(reply(status=429, Retry_After=1)) as one:
        with pytest.raises(RefusedError) as caught:
            async with realtime(upstream.origin(one.url)):
                pass
    assert caught.value.reply.retry_after == 1
    assert (len(one.requests), waits) == (3, [1, 1])


@pytest.mark.parametrize(
    "answer", [then_close(), then_close(b"HTTP/1.1 101 Swi"), then_close(b"nonsense\r\n\r\n"), then_silence()]
)
async def test_a_handshake_without_an_answer_is_tried_three_times(upstream, waits, answer):
    async with vendor(answer) as one:
        with pytest.raises(ProviderUnavailableError):
            async with realtime(upstream.origin(one.url, connect_seconds=0.2)):
                pass
    assert (len(one.requests), len(waits)) == (3, 2)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("address", ["ws://nobody.invalid", "refused", "wss to a plain server"])
async def test_what_cannot_be_reached_is_unavailable(upstream, address):
    async with vendor(reply()) as one:
        address = {
            "refused": f"ws://127.0.0.1:{free_port()}",
            "wss to a plain server": f"wss://127.0.0.1:{one.port}",
        }.get(address, address)
        with pytest.raises(ProviderUnavailableError, match="could not be reached"):
            async with realtime(upstream.origin(address, connect_seconds=0.5)):
                pass


async def test_cancelling_a_handshake_closes_its_connection(upstream):
    async def read():
        async with realtime(upstream.origin(one.url)):
            pass

    async with vendor(then_silence()) as one:
        reader = asyncio.create_task(read())
        await one.reached.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.wait_for(one.left.wait(), 1)


@pytest.mark.usefixtures("waits")
async def test_each_handshake_is_a_span():
    spans = Spans()
    async with opened(tracer=spans.tracer) as upstream, vendor(reply(status=503)) as one:
        with pytest.raises(RefusedError):
            async with realtime(upstream.origin(one.url)):
                pass
    assert spans.values(telemetry.HTTP_RESPONSE_STATUS_CODE) == [503, 503, 503]
    assert spans.values(telemetry.HTTP_REQUEST_RESEND_COUNT) == [None, 1, 2]
    assert spans.values(telemetry.ERROR_TYPE) == ["503"] * 3
