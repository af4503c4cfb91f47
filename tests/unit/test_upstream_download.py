"""Downloads against real servers on this machine, well-behaved and hostile ones."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback
import tracemalloc
import zlib
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp import web

from pixvox import __version__
from pixvox.errors import MediaFetchError, MediaTooLargeError, ShuttingDownError, UriNotAllowedError
from pixvox.upstream import Upstream
from pixvox.upstream.downloads import public_tls

FIELD = "images[2].uri"
MAX_BYTES = 100_000
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
SIGNATURE = "4f1d" * 8
# Public by its number, but never given out, so that nothing is bothered by a packet to it.
NOBODY = "2d00::1"


class Site:
    """An HTTP server that does as its test says, and remembers what it was asked."""

    def __init__(self):
        self.requests = []
        self.pages = {}

    async def answer(self, request):
        self.requests.append(request)
        page = self.pages.get(request.path, picture)
        return await page(request) if callable(page) else page

    def url(self, path="/a.png", host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}?signature={SIGNATURE}"


async def picture(_request):
    return web.Response(body=PICTURE, content_type="image/png")


def redirect(location, status=302, **headers):
    async def page(_request):
        return web.Response(status=status, headers={"Location": location} | headers)

    return page


class Names:
    """A resolver: each name has its answers, one after the other, the last one for ever."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): list(answer) for name, answer in answers.items()}
        self.asked = []

    async def resolve(self, host):
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


@asynccontextmanager
async def served(host="127.0.0.1", tls=None):
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=tls).start()
        site.port = runner.addresses[0][1]
        yield site
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(conversation, tls=None):
    """Serve on a bare socket: `conversation(reader, writer)` runs after the request's head was read."""

    async def converse(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            await conversation(reader, writer)
        finally:
            writer.close()

    origin = "https://store.example" if tls else "http://127.0.0.1"
    async with await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls) as server:
        yield f"{origin}:{server.sockets[0].getsockname()[1]}/a.png?signature={SIGNATURE}"


@asynccontextmanager
async def opened(**arguments):
    """An `Upstream` that may visit 127.0.0.1, closed without a trace afterwards."""
    upstream = Upstream(**({"allowed_hosts": {"127.0.0.1"}} | arguments))
    try:
        yield upstream
    finally:
        await upstream.aclose()
        gc.collect()


@pytest.fixture
async def site():
    async with served() as site:
        yield site


@pytest.fixture
async def upstream():
    async with opened() as upstream:
        yield upstream


async def refusal(upstream, uri, error_class=MediaFetchError, max_bytes=MAX_BYTES):
    """Return the message of a download that fails, having looked at what every such error has to be."""
    with pytest.raises(error_class) as caught:
        await upstream.download(uri, field=FIELD, max_bytes=max_bytes)
    (violation,) = caught.value.violations
    assert violation.field == FIELD
    assert SIGNATURE not in "".join(traceback.format_exception(caught.value)) + violation.description
    return caught.value.message


async def test_a_picture_is_downloaded_as_it_is(site, upstream):
    assert await upstream.download(site.url(), field=FIELD, max_bytes=MAX_BYTES) == PICTURE


async def test_the_request_has_the_address_as_it_was_signed_and_tells_who_asks(site, upstream):
    await upstream.download(
        f"http://127.0.0.1:{site.port}/a%2Fb%7E/../c?credential=AK%2Feu&s=%2B+%3d#part",
        field=FIELD,
        max_bytes=MAX_BYTES,
    )
    (request,) = site.requests
    assert request.raw_path == "/a%2Fb%7E/../c?credential=AK%2Feu&s=%2B+%3d"
    assert dict(request.headers) == {
        "Host": f"127.0.0.1:{site.port}",
        "User-Agent": f"pixvox/{__version__}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


async def test_a_file_of_just_the_limit_is_taken(site, upstream):
    assert len(await upstream.download(site.url(), field=FIELD, max_bytes=len(PICTURE))) == len(PICTURE)


async def test_a_declared_length_over_the_limit_is_refused_before_the_file_is_read(upstream):
    async def promise_much(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n")
        await reader.read()

    async with raw(promise_much) as url:
        message = await refusal(upstream, url, MediaTooLargeError)
    assert "more than 100000 bytes" in message


async def test_a_file_over_the_limit_without_a_length_is_refused_while_it_comes(site, upstream):
    sent = 0

    async def stream_without_end(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 100 * MAX_BYTES:
            await response.write(bytes(10_000))
            sent += 10_000
        return response

    site.pages["/a.png"] = stream_without_end
    await refusal(upstream, site.url(), MediaTooLargeError)
    await asyncio.sleep(0.05)
    assert sent < 100 * MAX_BYTES


@pytest.mark.parametrize("compressed", [gzip.compress(PICTURE), zlib.compress(PICTURE)], ids=["gzip", "zlib"])
async def test_a_compressed_file_is_decompressed(site, upstream, compressed):
    encoding = "gzip" if compressed.startswith(b"\x1f\x8b") else "deflate"
    site.pages["/a.png"] = web.Response(body=compressed, headers={"Content-Encoding": encoding})
    assert await upstream.download(site.url(), field=FIELD, max_bytes=MAX_BYTES) == PICTURE


async def test_a_decompression_bomb_is_refused_and_not_unpacked(site, upstream):
    bomb = gzip.compress(bytes(90_000_000))
    assert len(bomb) < MAX_BYTES
    site.pages["/a.png"] = web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        await refusal(upstream, site.url(), MediaTooLargeError)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


async def test_compressed_bytes_count_even_if_they_unpack_to_nothing(site, upstream):
    body = zlib.compress(b"")[:2] + b"\x00\x00\x00\xff\xff" * 30_000

    async def stream(request):
        response = web.StreamResponse(headers={"Content-Encoding": "deflate"})
        await response.prepare(request)
        await response.write(body)
        return response

    site.pages["/a.png"] = stream
    await refusal(upstream, site.url(), MediaTooLargeError)


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (b"not gzip", "gzip", "compression is damaged"),
        (gzip.compress(PICTURE)[:-20], "gzip", "only a part"),
        (gzip.compress(PICTURE) + b"more", "gzip", "compression is damaged"),
        (PICTURE, "br", "did not ask for"),
        (PICTURE, "gzip, gzip", "did not ask for"),
    ],
)
async def test_a_compression_that_makes_no_sense_is_refused(site, upstream, body, encoding, why):
    site.pages["/a.png"] = web.Response(body=body, headers={"Content-Encoding": encoding})
    assert why in await refusal(upstream, site.url())


async def test_an_empty_file_is_refused(site, upstream):
    site.pages["/a.png"] = web.Response(body=b"", content_type="image/png")
    assert "empty file" in await refusal(upstream, site.url())


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 403, 404, 410, 429, 500, 503])
async def test_any_status_but_200_is_named(site, upstream, status):
    site.pages["/a.png"] = web.Response(status=status)
    message = await refusal(upstream, site.url())
    assert message == f"http://127.0.0.1:{site.port} answered with status {status} instead of 200."


async def test_a_web_page_is_called_one(site, upstream):
    site.pages["/a.png"] = web.Response(text="\n <!doctype html><p>Log in", content_type="text/html")
    assert "web page" in await refusal(upstream, site.url())


async def test_a_picture_labelled_as_a_web_page_is_a_picture(site, upstream):
    site.pages["/a.png"] = web.Response(body=PICTURE, content_type="text/html")
    assert await upstream.download(site.url(), field=FIELD, max_bytes=MAX_BYTES) == PICTURE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(site, upstream, status):
    site.pages["/old"] = redirect("/a.png", status)
    assert await upstream.download(site.url("/old"), field=FIELD, max_bytes=MAX_BYTES) == PICTURE
    assert [request.method for request in site.requests] == ["GET", "GET"]


async def test_three_redirects_are_followed_and_four_are_not(site, upstream):
    for hop in range(1, 5):
        location = f"/{hop - 1}" if hop > 1 else "/a.png"
        site.pages[f"/{hop}"] = redirect(location)
    assert await upstream.download(site.url("/3"), field=FIELD, max_bytes=MAX_BYTES) == PICTURE
    assert "redirects more than 3 times" in await refusal(upstream, site.url("/4"))


async def test_a_loop_of_redirects_ends(site, upstream):
    site.pages["/a"] = redirect("/b")
    site.pages["/b"] = redirect("/a")
    assert "redirects more than 3 times" in await refusal(upstream, site.url("/a"))
    assert len(site.requests) == 4


async def test_a_redirect_without_a_target_is_refused(site, upstream):
    site.pages["/a.png"] = web.Response(status=302)
    assert "redirects to nowhere" in await refusal(upstream, site.url())


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "inside.internal"]
)
async def test_a_redirect_to_a_host_that_is_not_public_is_refused(site, upstream, host):
    site.pages["/old"] = web.Response(status=302, headers={"Location": f"http://{host}:{site.port}/a.png"})
    await refusal(upstream, site.url("/old"), UriNotAllowedError)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://user:secret@127.0.0.1/", "http://[::1", "http://b\xe4/ "]
)
async def test_a_redirect_to_a_doubtful_address_is_refused(upstream, location):
    async def lead_astray(_reader, writer):
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
        await writer.drain()

    async with raw(lead_astray) as url:
        assert "redirects to an address that" in await refusal(upstream, url, UriNotAllowedError)


async def test_no_cookie_is_taken_or_sent(site):
    site.pages["/old"] = redirect("/a.png", **{"Set-Cookie": "a=b; Path=/"})
    async with opened(allowed_hosts={"store.example"}, resolver=Names(store_example=[["127.0.0.1"]])) as upstream:
        await upstream.download(site.url("/old", host="store.example"), field=FIELD, max_bytes=MAX_BYTES)
        await upstream.download(site.url(host="store.example"), field=FIELD, max_bytes=MAX_BYTES)
    assert [request.headers.get("Cookie") for request in site.requests] == [None] * 3


async def test_a_proxy_of_the_environment_is_not_used(site, upstream, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await upstream.download(site.url(), field=FIELD, max_bytes=MAX_BYTES) == PICTURE


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "ftp://127.0.0.1:{port}/", "x"]
)
async def test_nothing_is_visited_that_is_not_allowed(site, uri):
    async with opened(allowed_hosts=()) as upstream:
        await refusal(upstream, uri.format(port=site.port), UriNotAllowedError)
    assert site.requests == []


async def test_only_the_allowed_port_is_visited(site):
    async with opened(allowed_hosts={f"127.0.0.1:{site.port + 1}"}) as upstream:
        await refusal(upstream, site.url(), UriNotAllowedError)
    assert site.requests == []


async def test_an_allowed_name_may_lead_to_a_private_address(site):
    names = Names(store_example=[["127.0.0.1"]])
    async with opened(allowed_hosts={f"store.example:{site.port}"}, resolver=names) as upstream:
        assert await upstream.download(site.url(host="Store.Example"), field=FIELD, max_bytes=MAX_BYTES) == PICTURE
    assert site.requests[0].host == f"store.example:{site.port}"


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"], ["1.1.1.1", "127.0.0.1"]],
)
async def test_a_name_that_leads_to_a_private_address_is_refused(site, answer):
    names = Names(evil_example=[answer])
    # That the bare address is allowed helps nobody who names it otherwise.
    async with opened(resolver=names) as upstream:
        message = await refusal(upstream, site.url(host="evil.example"), UriNotAllowedError)
    assert "does not lead to a public host" in message
    assert answer[0] not in message
    assert site.requests == []


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(site):
    names = Names(rebind_example=[[NOBODY], ["127.0.0.1"]])
    async with opened(resolver=names, seconds=0.5) as upstream:
        await refusal(upstream, site.url(host="rebind.example"))
        assert names.asked == ["rebind.example"]
        await refusal(upstream, site.url(host="rebind.example"), UriNotAllowedError)
    assert site.requests == []


async def test_a_name_is_checked_anew_after_a_redirect(site):
    names = Names(store_example=[["127.0.0.1"]], evil_example=[["127.0.0.1"]])
    site.pages["/old"] = redirect(site.url(host="evil.example"))
    async with opened(allowed_hosts={"store.example"}, resolver=names) as upstream:
        await refusal(upstream, site.url("/old", host="store.example"), UriNotAllowedError)
    assert len(site.requests) == 1


@pytest.mark.parametrize("answers", [{}, {"gone_example": [[]]}])
async def test_a_name_that_leads_nowhere_is_not_found(answers):
    async with opened(resolver=Names(**answers)) as upstream:
        assert "host was not found" in await refusal(upstream, "https://gone.example/a.png")


async def test_the_systems_own_resolver_finds_a_name(site):
    async with opened(allowed_hosts={"localhost"}) as upstream:
        assert await upstream.download(site.url(host="localhost"), field=FIELD, max_bytes=MAX_BYTES) == PICTURE


async def test_an_ipv6_address_is_visited_if_it_is_allowed():
    try:
        async with served("::1") as site, opened(allowed_hosts={"[::1]"}) as upstream:
            url = site.url(host="[0:0::1]")
            assert await upstream.download(url, field=FIELD, max_bytes=MAX_BYTES) == PICTURE
    except OSError:
        pytest.skip("this machine has no IPv6")


async def test_a_host_that_accepts_no_connection_is_named(upstream):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    message = await refusal(upstream, f"http://127.0.0.1:{port}/a.png?signature={SIGNATURE}")
    assert message == f"http://127.0.0.1:{port} could not be reached: its host accepts no connection."


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "broke off"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhalf\r\n", "not HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: \r\n", "broke off"),
    ],
)
async def test_an_answer_that_is_broken_is_no_file(upstream, answer, why):
    async def converse(_reader, writer):
        writer.write(answer)
        await writer.drain()

    async with raw(converse) as url:
        assert why in await refusal(upstream, url)


async def test_a_connection_that_is_reset_in_the_middle_is_no_file(upstream):
    async def reset(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with raw(reset) as url:
        assert "broke off" in await refusal(upstream, url)


async def test_a_file_that_drips_in_is_given_up_when_its_time_is_up():
    async def drip(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await asyncio.sleep(0.02)

    start = time.monotonic()
    async with raw(drip) as url, opened(seconds=0.3) as upstream:
        message = await refusal(upstream, url)
        assert time.monotonic() - start < 2
    assert message.endswith(" was not downloaded within 0.3 seconds.")


async def test_all_redirects_share_one_time(site):
    async def slow(request):
        await asyncio.sleep(0.2)
        return await redirect("/slow")(request)

    site.pages["/slow"] = slow
    async with opened(seconds=0.3) as upstream:
        assert "was not downloaded within" in await refusal(upstream, site.url("/slow"))


async def test_a_callers_own_timeout_is_not_taken_for_that_of_the_download(upstream):
    async def say_nothing(reader, _writer):
        await reader.read()

    async with raw(say_nothing) as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await upstream.download(url, field=FIELD, max_bytes=MAX_BYTES)


async def leaves(upstream, sent, tls=None):
    """Cancel a download after the server has sent something; the server has to see it within a second."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(reader, writer):
        writer.write(sent)
        await writer.drain()
        reached.set()
        assert await reader.read() == b""
        left.set()

    async with raw(wait_for_the_end, tls) as url:
        download = asyncio.create_task(upstream.download(url, field=FIELD, max_bytes=MAX_BYTES))
        await reached.wait()
        await asyncio.sleep(0.05)
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
        async with asyncio.timeout(1):
            await left.wait()


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"


@pytest.mark.parametrize("sent", [b"", HALF], ids=["head", "body"])
async def test_the_server_sees_at_once_that_the_caller_has_left(upstream, sent):
    await leaves(upstream, sent)


async def test_a_caller_who_leaves_while_the_name_is_resolved_leaves_nothing_behind():
    class SlowNames:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def resolve(self, _host):
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()

    names = SlowNames()
    async with opened(resolver=names) as upstream:
        download = asyncio.create_task(upstream.download("https://slow.example/", field=FIELD, max_bytes=MAX_BYTES))
        await names.begun.wait()
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
        assert names.ended.is_set()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusting(authority):
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    return tls


@pytest.fixture
def server_tls(authority):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("store.example").configure_cert(tls)
    return tls


@pytest.fixture
async def tls_site(server_tls):
    async with served(tls=server_tls) as site:
        yield site


@asynccontextmanager
async def trusting_opened(tls):
    names = Names(store_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    async with opened(allowed_hosts={"store.example", "other.example"}, resolver=names, tls=tls) as upstream:
        yield upstream


async def test_a_trusted_host_is_visited(tls_site, trusting):
    async with trusting_opened(trusting) as upstream:
        url = tls_site.url(scheme="https", host="store.example")
        assert await upstream.download(url, field=FIELD, max_bytes=MAX_BYTES) == PICTURE


async def test_a_certificate_for_another_name_is_not_trusted(tls_site, trusting):
    async with trusting_opened(trusting) as upstream:
        assert "TLS" in await refusal(upstream, tls_site.url(scheme="https", host="other.example"))
    assert tls_site.requests == []


async def test_a_host_that_no_public_authority_vouches_for_is_not_trusted(tls_site):
    async with trusting_opened(None) as upstream:
        assert "TLS" in await refusal(upstream, tls_site.url(scheme="https", host="store.example"))
    assert tls_site.requests == []


async def test_a_machine_without_authorities_of_its_own_trusts_the_public_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert public_tls().cert_store_stats()["x509_ca"] > 50


async def test_a_host_that_speaks_no_tls_is_named(trusting):
    async with served() as plain, trusting_opened(trusting) as upstream:
        assert "TLS" in await refusal(upstream, plain.url(scheme="https", host="store.example"))


async def test_a_redirect_out_of_tls_is_refused(tls_site, trusting):
    tls_site.pages["/old"] = redirect(tls_site.url(host="store.example"), 301)
    async with trusting_opened(trusting) as upstream:
        message = await refusal(
            upstream, tls_site.url("/old", scheme="https", host="store.example"), UriNotAllowedError
        )
    assert "no longer encrypted" in message


@pytest.mark.parametrize("sent", [b"", HALF], ids=["head", "body"])
async def test_the_server_sees_at_once_over_tls_that_the_caller_has_left(server_tls, trusting, sent):
    async with trusting_opened(trusting) as upstream:
        await leaves(upstream, sent, server_tls)


async def test_many_downloads_at_once_give_each_caller_its_own_file(site, upstream):
    async def numbered(request):
        return web.Response(body=request.path.encode() * 1000)

    site.pages = {f"/{number}": numbered for number in range(200)}
    bodies = await asyncio.gather(
        *(upstream.download(site.url(f"/{number}"), field=FIELD, max_bytes=MAX_BYTES) for number in range(200))
    )
    assert bodies == [f"/{number}".encode() * 1000 for number in range(200)]


async def test_closing_ends_downloads_that_run_and_refuses_new_ones(upstream):
    reached = asyncio.Event()

    async def wait_for_the_end(reader, _writer):
        reached.set()
        await reader.read()

    async with raw(wait_for_the_end) as url:
        download = asyncio.create_task(upstream.download(url, field=FIELD, max_bytes=MAX_BYTES))
        await reached.wait()
        await upstream.aclose()
        with pytest.raises(MediaFetchError):
            await download
        with pytest.raises(ShuttingDownError):
            await upstream.download(url, field=FIELD, max_bytes=MAX_BYTES)


async def test_closing_what_was_never_used_opens_nothing():
    upstream = Upstream()
    await upstream.aclose()
    await upstream.aclose()
    with pytest.raises(ShuttingDownError):
        await upstream.download("https://example.com/", field=FIELD, max_bytes=MAX_BYTES)


def test_the_http_client_is_not_imported_before_the_first_download():
    program = "import sys, pixvox.upstream as u; u.Upstream(); print({'aiohttp', 'httpx', 'idna'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
