"""Downloads of results from hosts that a vendor names and an operator has to have allowed."""

from __future__ import annotations

import asyncio
import socket
import traceback

import pytest

from pixvox import telemetry
from pixvox.errors import OutcomeUnknownError, ProviderDisconnectedError, ProviderInternalError, ShuttingDownError
from pixvox.upstream import ExpiredError, Upstream, replay
from raw_vendor import CREDENTIALS, Spans, dripped, opened, reply, then_close, then_reset, then_silence, vendor

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
MAX_BYTES = len(PICTURE)
SIGNATURE = "4f1d" * 8


class Names:
    """A resolver for which every name has the same address, or none."""

    def __init__(self, ip=None):
        self.ip = ip
        self.asked = []

    async def resolve(self, host):
        self.asked.append(host)
        if self.ip is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [self.ip]


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Time between attempts does not pass."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


@pytest.fixture
async def upstream():
    async with opened() as upstream:
        yield upstream


def at(one):
    return f"127.0.0.1:{one.port}"


def uri(one, path="/a.png"):
    return f"http://{at(one)}{path}?Signature={SIGNATURE}%2F"


async def fetched(upstream, one, **arguments):
    return await upstream.results([at(one)]).fetch(uri(one), max_bytes=MAX_BYTES, **arguments)


async def test_a_result_is_fetched_whole_without_credentials(upstream):
    async with vendor(reply(PICTURE)) as one:
        upstream.origin(one.url, headers=CREDENTIALS)
        assert await fetched(upstream, one) == PICTURE
    (request,) = one.requests
    assert (request.method, request.path) == ("GET", f"/a.png?Signature={SIGNATURE}%2F")
    assert set(request.headers) <= {"host", "accept", "accept-encoding", "user-agent"}


async def test_results_from_one_host_share_a_connection(upstream):
    async with vendor(reply(PICTURE)) as one:
        results = upstream.results([at(one)])
        for _ in range(3):
            await results.fetch(uri(one), max_bytes=MAX_BYTES)
    assert one.connections == 1


@pytest.mark.parametrize(
    "answer",
    [reply(b"", 503), reply(b"", 500), then_close(), then_reset(), then_close(reply(PICTURE)[:-1]), then_silence()],
)
async def test_a_passing_failure_is_tried_again(upstream, answer):
    async with vendor(answer, answer, reply(PICTURE)) as one:
        assert await upstream.results([at(one)], seconds=0.3).fetch(uri(one), max_bytes=MAX_BYTES) == PICTURE
    assert len(one.requests) == 3


@pytest.mark.parametrize("answer", [reply(b"", 503), then_close(), then_silence(reply(PICTURE)[:-1])])
async def test_what_stays_away_was_made_and_may_be_billed(upstream, answer):
    async with vendor(answer) as one:
        with pytest.raises(OutcomeUnknownError) as caught:
            await upstream.results([at(one)], seconds=0.2).fetch(uri(one), max_bytes=MAX_BYTES)
    assert caught.value.metadata == {"replay": "accepted"}
    assert SIGNATURE not in "".join(traceback.format_exception(caught.value))
    assert len(one.requests) == 3


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_result_that_is_gone_has_expired_and_is_not_asked_for_again(upstream, status):
    async with vendor(reply(b"<Error/>", status)) as one:
        with pytest.raises(ExpiredError, match=str(status)):
            await fetched(upstream, one)
    assert len(one.requests) == 1


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401])
async def test_another_status_is_no_result(upstream, status):
    async with vendor(reply(b"", status)) as one:
        with pytest.raises(ProviderInternalError) as caught:
            await fetched(upstream, one)
    assert not isinstance(caught.value, ExpiredError)
    assert len(one.requests) == 1


async def test_a_result_that_is_too_large_is_left(upstream):
    async with vendor(then_silence(reply(PICTURE * 2)[:-1])) as one:
        with pytest.raises(ProviderInternalError, match=f"more than {MAX_BYTES} bytes"):
            await fetched(upstream, one)
        await asyncio.wait_for(one.left.wait(), 1)
    assert len(one.requests) == 1


async def test_a_result_that_drips_has_a_limit_of_time(upstream):
    async with vendor(dripped(reply(PICTURE), 0.02)) as one:
        results = upstream.results([at(one)], seconds=0.2)
        with pytest.raises(OutcomeUnknownError, match=r"within 0\.2 seconds"):
            await results.fetch(uri(one), max_bytes=MAX_BYTES)
        await asyncio.wait_for(one.left.wait(), 1)


async def test_a_cancelled_download_is_seen_to_end(upstream):
    async with vendor(then_silence(reply(PICTURE)[:-1])) as one:
        download = asyncio.create_task(fetched(upstream, one))
        await one.reached.wait()
        await asyncio.sleep(0.05)
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
        await asyncio.wait_for(one.left.wait(), 1)
    assert len(one.requests) == 1


# Where results may come from.


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/a.png",
        "https://vendor.example.evil.example/a.png",
        "https://evilvendor.example/a.png",
        "https://vendor.example:8443/a.png",
        "http://vendor.example:8080/a.png",
        "https://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "https://[::1]/a.png",
        "http://127.0.0.1:1/a.png",
        "https://user:key@vendor.example/a.png",
        "ftp://vendor.example/a.png",
        "file:///etc/passwd",
        "oss://bucket/a.png",
        "//vendor.example/a.png",
        "https://vendor.example\\@evil.example/",
        "",
    ],
)
async def test_an_address_elsewhere_is_not_visited(address):
    names = Names()
    async with opened(resolver=names) as upstream:
        with pytest.raises(ProviderInternalError) as caught:
            await upstream.results(["vendor.example", "127.0.0.1:2"]).fetch(address, max_bytes=MAX_BYTES)
    assert caught.value.metadata == {"replay": "accepted"}
    assert names.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["vendor.example", "Results-SGP.OSS.Vendor.Example"])
@pytest.mark.parametrize("entry", ["vendor.example", ".vendor.example", "VENDOR.example"])
async def test_a_host_below_an_allowed_one_is_asked_over_tls(scheme, host, entry):
    spans, names = Spans(), Names()
    async with opened(resolver=names, tracer=spans.tracer) as upstream:
        with pytest.raises(OutcomeUnknownError):
            await upstream.results([entry]).fetch(f"{scheme}://{host}/a.wav?Signature=s", max_bytes=MAX_BYTES)
    assert names.asked == [host.lower()] * 3
    assert spans.values(telemetry.URL_FULL) == [f"https://{host.lower()}/a.wav"] * 3
    assert spans.values(telemetry.SERVER_PORT) == [443] * 3


@pytest.mark.parametrize("host", ["10.0.0.1", "[fd00::1]", "storage.internal"])
async def test_a_private_host_has_to_be_allowed_with_its_port(host):
    names = Names()
    async with opened(resolver=names) as upstream:
        with pytest.raises(ProviderInternalError, match="public"):
            await upstream.results([host]).fetch(f"https://{host}/a.png", max_bytes=MAX_BYTES)
    assert names.asked == []


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1"])
async def test_an_allowed_name_that_leads_inside_is_not_visited(ip):
    async with opened(resolver=Names(ip)) as upstream:
        with pytest.raises(ProviderInternalError, match="not public"):
            await upstream.results(["vendor.example"]).fetch("https://a.vendor.example/", max_bytes=MAX_BYTES)


async def test_an_exact_host_may_be_private_and_have_a_name():
    async with vendor(reply(PICTURE)) as one, opened(resolver=Names("127.0.0.1")) as upstream:
        results = upstream.results([f"emulator.internal:{one.port}"])
        assert await results.fetch(f"http://emulator.internal:{one.port}/", max_bytes=MAX_BYTES) == PICTURE


async def test_a_redirect_between_allowed_hosts_is_followed(upstream):
    async with vendor(reply(PICTURE)) as two, vendor(reply(b"", 302, Location=uri(two, "/b.png"))) as one:
        results = upstream.results([at(one), at(two)])
        assert await results.fetch(uri(one), max_bytes=MAX_BYTES) == PICTURE
    assert two.requests[0].path.startswith("/b.png?")


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/",
        "https://evil.example/",
        "file:///etc/passwd",
        "",
        "http://[",
        "//x y",
    ],
)
async def test_a_redirect_elsewhere_is_not_followed(upstream, location):
    async with vendor(reply(b"", 302, Location=location), reply(b"", 404)) as one:
        with pytest.raises(ProviderInternalError):
            await fetched(upstream, one)
    assert len(one.requests) == 1 + (location == "")


async def test_redirects_have_an_end(upstream):
    async with vendor(reply(b"", 307, Location="/again")) as one:
        with pytest.raises(ProviderInternalError, match="redirects more than 3 times"):
            await fetched(upstream, one)
    assert len(one.requests) == 4


@pytest.mark.parametrize(
    "entry", ["com", "localhost", "", "a b", "vendor.example:0", "vendor.example/path", "https://x.y"]
)
def test_an_entry_that_is_no_host_is_refused_at_once(entry):
    with pytest.raises(ValueError, match="hosts"):
        Upstream().results([entry])


# Piece by piece.


def pieces_of(upstream, one):
    return upstream.results([at(one)]).pieces(uri(one), max_bytes=MAX_BYTES)


async def exhaust(upstream, one):
    async with pieces_of(upstream, one) as pieces:
        async for _ in pieces:
            pass


async def test_pieces_come_as_they_are_sent(upstream):
    go = asyncio.Event()

    async def in_two(_reader, writer):
        writer.write(reply(PICTURE)[:-100])
        await go.wait()
        writer.write(PICTURE[-100:])

    got = b""
    async with vendor(in_two) as one, pieces_of(upstream, one) as pieces:
        async for piece in pieces:
            got += piece
            if len(got) == MAX_BYTES - 100:
                go.set()
    assert got == PICTURE


async def test_pieces_are_asked_for_again_only_before_the_first(upstream):
    async with vendor(reply(b"", 503), then_close(reply(PICTURE)[:-1])) as one:
        with pytest.raises(ProviderDisconnectedError) as caught:
            await exhaust(upstream, one)
    assert caught.value.metadata == {"replay": "accepted"}
    assert len(one.requests) == 2


async def test_pieces_beyond_the_limit_are_not_given(upstream):
    async with vendor(then_silence(reply(PICTURE * 2)[:-1])) as one:
        with pytest.raises(ProviderInternalError, match="more than"):
            await exhaust(upstream, one)
        await asyncio.wait_for(one.left.wait(), 1)


async def test_pieces_of_what_is_gone_are_not_begun(upstream):
    async with vendor(reply(b"", 404)) as one:
        with pytest.raises(ExpiredError):
            async with pieces_of(upstream, one):
                raise AssertionError


async def test_leaving_the_pieces_closes_the_connection(upstream):
    async with vendor(then_silence(reply(PICTURE)[:-1])) as one:
        async with pieces_of(upstream, one) as pieces:
            await anext(pieces)
        await asyncio.wait_for(one.left.wait(), 1)


async def test_nothing_is_fetched_after_closing(upstream):
    results = upstream.results(["vendor.example"])
    await upstream.aclose()
    with pytest.raises(ShuttingDownError):
        await results.fetch("https://vendor.example/", max_bytes=1)
