"""Calls to a vendor: what is sent, what comes back, and how they end."""

from __future__ import annotations

import asyncio
import gzip
import logging
import subprocess
import sys
import time

import pytest

from pixvox import __version__
from pixvox.errors import OutcomeUnknownError, ProviderInternalError, ShuttingDownError
from pixvox.upstream import Safety, Upstream, replay
from raw_vendor import (
    CREDENTIALS,
    KEY,
    dripped,
    opened,
    reply,
    then_close,
    then_silence,
    vendor,
)

BODY = b'{"model":"m"}'
HEAD = reply(b"x" * 1000)


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


async def test_a_call_sends_what_it_was_given_and_returns_the_whole_reply(upstream):
    async with vendor(reply(b'{"a":1}', 201, X_Request_Id="r-1")) as one:
        origin = upstream.origin(one.url, headers=CREDENTIALS | {"X-Kind": "origin"})
        answer = await post(origin, headers={"x-kind": "call"})
    assert (answer.status, answer.body, answer.headers["x-request-ID"]) == (201, b'{"a":1}', "r-1")
    (request,) = one.requests
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/images?size=1", BODY)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"pixvox/{__version__}"
    assert request.headers["x-kind"] == "call"
    assert "traceparent" not in request.headers
    assert "gzip" in request.headers["accept-encoding"]


async def test_the_type_of_a_body_that_is_no_json_is_the_callers(upstream):
    async with vendor(reply()) as one:
        await post(upstream.origin(one.url), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert one.requests[0].headers["content-type"] == "multipart/form-data; boundary=b"


async def test_a_path_reaches_the_vendor_as_it_is_written(upstream):
    async with vendor(reply()) as one:
        await get(upstream.origin(f"{one.url}/"), "/voices/a%2Fb%20c?x=%2B&y=a+b")
    assert one.requests[0].path == "/api/v1/voices/a%2Fb%20c?x=%2B&y=a+b"


async def test_a_socket_address_serves_calls_as_well(upstream):
    async with vendor(reply()) as one:
        await get(upstream.origin(one.url.replace("http", "ws")))
    assert len(one.requests) == 1


async def test_calls_one_after_the_other_share_a_connection(upstream):
    async with vendor(reply()) as one:
        origin = upstream.origin(one.url)
        for _ in range(5):
            await post(origin)
    assert (len(one.requests), one.connections) == (5, 1)


async def test_an_error_status_is_a_reply_like_any_other(upstream):
    async with vendor(reply(b'{"code":"InvalidParameter"}', 400)) as one:
        answer = await post(upstream.origin(one.url))
    assert (answer.status, answer.body) == (400, b'{"code":"InvalidParameter"}')


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_reply_and_is_not_followed(upstream, status):
    async with vendor(reply()) as elsewhere, vendor(reply(b"", status, Location=elsewhere.url)) as one:
        answer = await post(upstream.origin(one.url, headers=CREDENTIALS))
    assert answer.status == status
    assert (len(one.requests), len(elsewhere.requests)) == (1, 0)


async def test_a_cookie_is_not_sent_back(upstream):
    async with vendor(reply(Set_Cookie="session=1")) as one:
        origin = upstream.origin(one.url.replace("127.0.0.1", "localhost"))
        await post(origin)
        await post(origin)
    assert "cookie" not in one.requests[1].headers


async def test_a_compressed_reply_is_unpacked(upstream):
    async with vendor(reply(gzip.compress(b"a" * 100_000), Content_Encoding="gzip")) as one:
        assert (await post(upstream.origin(one.url))).body == b"a" * 100_000


async def test_a_reply_without_a_length_ends_with_the_connection(upstream):
    async with vendor(then_close(reply(b"all of it", Content_Length=None))) as one:
        assert (await post(upstream.origin(one.url))).body == b"all of it"


async def test_a_large_body_arrives_whole(upstream):
    body = bytes(range(256)) * 40_000
    async with vendor(reply()) as one:
        await post(upstream.origin(one.url), body)
    assert one.requests[0].body == body


async def test_many_calls_at_once_get_each_its_own_reply(upstream):
    async def echo(_reader, writer):
        writer.write(reply(one.requests[-1].body))

    async with vendor(echo) as one:
        origin = upstream.origin(one.url)
        bodies = [str(number).encode() for number in range(200)]
        answers = await asyncio.gather(*(post(origin, body) for body in bodies))
    assert [answer.body for answer in answers] == bodies


# Time, size, cancellation.


async def test_a_reply_that_drips_is_read_to_its_end(upstream):
    async with vendor(dripped(reply(b"0123456789", X_Long=None), 0.01)) as one:
        assert (await post(upstream.origin(one.url, read_seconds=0.5))).body == b"0123456789"


@pytest.mark.parametrize(
    "answer", [then_silence(), then_silence(HEAD[:20]), then_silence(HEAD[:-500]), dripped(HEAD, 0.05)]
)
async def test_who_leaves_is_seen_to_leave(upstream, answer):
    async with vendor(answer) as one:
        call = asyncio.create_task(post(upstream.origin(one.url)))
        await one.reached.wait()
        await asyncio.sleep(0.1)
        started = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(one.left.wait(), 1)
    assert time.monotonic() - started < 1
    assert len(one.requests) == 1


@pytest.mark.parametrize("early", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"])
async def test_who_leaves_while_a_large_body_is_stuck_is_seen_to_leave(upstream, early):
    """The other side reads nothing, so that it only notices when it writes."""
    reached, resume, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(early)
        reached.set()
        await resume.wait()
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)
        left.set()

    async def leave(origin):
        if early:
            async with origin.events("/speech", body=bytes(32 << 20), operation="speech") as stream:
                await anext(stream)
        else:
            await post(origin, bytes(32 << 20))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        origin = upstream.origin(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        call = asyncio.create_task(leave(origin))
        await reached.wait()
        await asyncio.sleep(0.2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        resume.set()
        await asyncio.wait_for(left.wait(), 1)


async def test_a_deadline_around_a_call_ends_it(upstream):
    async with vendor(then_silence()) as one:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post(upstream.origin(one.url))
        await asyncio.wait_for(one.left.wait(), 1)


async def test_a_compression_bomb_is_not_unpacked_to_its_end(upstream):
    bomb = gzip.compress(bytes(80 << 20), compresslevel=1)
    async with vendor(reply(bomb, Content_Encoding="gzip")) as one:
        with pytest.raises(ProviderInternalError, match="has more than 67108864 bytes") as caught:
            await post(upstream.origin(one.url))
    assert caught.value.metadata == {"replay": "accepted"}
    assert len(one.requests) == 1


# Closing, secrets, addresses.


async def test_closing_ends_what_runs_and_refuses_what_comes(upstream):
    async with vendor(then_silence()) as one:
        origin = upstream.origin(one.url)
        call = asyncio.create_task(post(origin))
        await one.reached.wait()
        await upstream.aclose()
        with pytest.raises(OutcomeUnknownError):
            await call
        with pytest.raises(ShuttingDownError):
            await post(origin)
    assert len(one.requests) == 1


async def test_credentials_are_in_no_log_and_no_repr(upstream, caplog):
    caplog.set_level(logging.DEBUG)
    async with vendor(then_close()) as one:
        origin = upstream.origin(f"{one.url}/", headers=CREDENTIALS)
        with pytest.raises(OutcomeUnknownError):
            await post(origin)
    assert repr(origin) == f"Origin({one.url})"
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        "",
        "vendor.example",
        "ftp://vendor.example",
        "https://",
        "https://user:key@vendor.example",
        "https://a.example?b=c",
        "https://a.example#b",
        "https://a.example:99999",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_base_address_is_refused_at_once(address):
    with pytest.raises(ValueError, match=r"base address|[Pp]ort"):
        Upstream().origin(address)


def test_an_origin_alone_loads_no_client():
    program = (
        "import sys, pixvox.upstream as u; u.Upstream().origin('https://a.example'); u.Upstream().results(['a.example']);"
        "print({'aiohttp', 'httpx', 'websockets', 'idna'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
