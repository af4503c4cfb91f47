"""Who calls: the name that a caller gives, or its network address."""

from __future__ import annotations

import grpc
import pytest
from structlog.testing import capture_logs

from calling import config_message, settings_for_tests, stubs_of, text_message
from emulated import failure_of
from pixvox import client, interceptors, server
from pixvox.v1 import model_service_pb2

LIST = model_service_pb2.ListModelsRequest()


async def caller_of(stubs, *names):
    """How the log calls a caller that says so."""
    with capture_logs() as lines:
        await stubs.models.ListModels(LIST, metadata=tuple(("x-pixvox-caller", name) for name in names))
    return next(line["caller"] for line in lines if line["event"] == "call")


async def test_a_caller_goes_by_the_name_that_it_gives(stubs):
    assert await caller_of(stubs, "team a/42") == "team a/42"
    assert await caller_of(stubs, "x" * 128) == "x" * 128


async def test_a_caller_without_a_name_goes_by_its_address(stubs):
    assert await caller_of(stubs) == "127.0.0.1"


async def test_no_caller_may_give_a_name_where_that_is_switched_off():
    async with (
        server.running(settings_for_tests(server__caller_metadata="")) as service,
        stubs_of(service.target) as stubs,
    ):
        assert await caller_of(stubs, "ann") == "127.0.0.1"


@pytest.mark.parametrize("names", [("",), ("x" * 129,), ("ann", "bob")], ids=["empty", "too long", "two"])
async def test_a_name_that_cannot_be_used_is_refused(stubs, names):
    metadata = tuple(("x-pixvox-caller", name) for name in names)
    failure = await failure_of(stubs.models.ListModels(LIST, metadata=metadata))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert failure.violations[0].field == "metadata x-pixvox-caller"


async def test_a_stream_is_told_so_too(stubs):
    call = stubs.speech.StreamSpeech(
        iter([config_message(), text_message("Hello.")]), metadata=(("x-pixvox-caller", "x" * 129),)
    )
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert client.failure(raised.value).reason == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.1.2.3:50123", "10.1.2.3"),
        ("ipv6:%5B::1%5D:50123", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50123", "fe80::1%eth0"),
        ("unix:", "unix"),
        ("unix:/run/pixvox.sock", "unix"),
    ],
)
def test_an_address_is_told_without_its_port(peer, host):
    assert interceptors._host(peer) == host
