"""What a request asks to go wrong goes wrong, and in no other way."""

from __future__ import annotations

import asyncio
import time

import pytest
from google.protobuf import struct_pb2

from pixvox.errors import (
    InvalidRequestError,
    ProviderDisconnectedError,
    ProviderInternalError,
    ProviderUnavailableError,
    RateLimitedError,
)
from pixvox.providers.sandbox.faults import Fault, Options, options_of, rehearse, rehearse_chunk, rehearse_start
from pixvox.v1 import image_service_pb2, speech_service_pb2


def asking(options: object, message=image_service_pb2.GenerateImageRequest):
    struct = struct_pb2.Struct()
    struct.update({"sandbox": options})
    return message(provider_options=struct)


def test_without_options_there_is_no_fault():
    assert options_of(image_service_pb2.EditImageRequest()) == Options()
    assert options_of(asking({})) == Options()


def test_options_of_another_provider_are_not_ours():
    request = image_service_pb2.GenerateImageRequest()
    request.provider_options.update({"acme": {"fault": 3}})
    assert options_of(request) == Options()


def test_a_fault_is_read_with_its_numbers():
    fault = options_of(asking({"fault": {"kind": "stall", "after_chunks": 2, "seconds": 0.5}})).fault
    assert (fault.kind, fault.chunks, fault.seconds) == ("stall", 2, 0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"fault": {"kind": "explode"}},
        {"fault": {"kind": "disconnect", "after": 3}},
        {"fault": {"kind": "disconnect", "after_chunks": -1}},
        {"fault": {"kind": "disconnect", "after_chunks": 1.5}},
        {"fault": {"kind": "unavailable", "after_chunks": 1}},
        {"fault": {"seconds": float("inf")}},
        {"fault": {"delay_seconds": "long"}},
        {"fault": "crash"},
        {"mood": "bad"},
        "crash",
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(options):
    with pytest.raises(InvalidRequestError) as raised:
        options_of(asking(options))
    (violation,) = raised.value.violations
    assert violation.field == "provider_options.sandbox.fault"
    assert "disconnect" in violation.description
    assert "after_chunks" in violation.description


def test_the_field_of_a_speech_is_that_of_its_config():
    with pytest.raises(InvalidRequestError) as raised:
        options_of(asking({"mood": "bad"}, speech_service_pb2.SpeechConfig))
    assert raised.value.violations[0].field == "config.provider_options.sandbox.fault"


def test_a_sandbox_without_faults_refuses_them_and_nothing_else():
    assert options_of(asking({"fault": {}}), faults=False) == Options()
    with pytest.raises(InvalidRequestError):
        options_of(asking({"fault": {"kind": "crash"}}), faults=False)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("unavailable", ProviderUnavailableError),
        ("rate_limited", RateLimitedError),
        ("internal", ProviderInternalError),
        ("disconnect", ProviderDisconnectedError),
        ("crash", RuntimeError),
    ],
)
async def test_every_kind_fails_a_call_with_one_answer_in_its_own_way(kind, error):
    with pytest.raises(error):
        await rehearse(Fault(kind=kind))


@pytest.mark.parametrize("kind", ["unavailable", "rate_limited"])
async def test_a_refusal_says_when_to_come_back(kind):
    with pytest.raises((ProviderUnavailableError, RateLimitedError)) as raised:
        await rehearse(Fault(kind=kind, retry_after=7.0))
    assert raised.value.retry_after == 7.0
    assert raised.value.metadata == {"provider_code": f"rehearsed_{kind}"}


async def test_a_delay_takes_its_time_and_a_stall_too():
    started = time.monotonic()
    await rehearse(Fault(delay_seconds=0.05))
    await rehearse(Fault(kind="stall", seconds=0.05))
    assert 0.1 <= time.monotonic() - started < 1


async def test_a_stall_can_be_cancelled():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await rehearse(Fault(kind="stall"))


async def test_a_stream_fails_at_its_chunk_and_not_before():
    fault = Fault(kind="disconnect", after_chunks=2)
    await rehearse_start(fault)
    await rehearse_chunk(fault, 0)
    await rehearse_chunk(fault, 1)
    with pytest.raises(ProviderDisconnectedError):
        await rehearse_chunk(fault, 2)


async def test_a_stream_that_is_to_crash_crashes_at_the_start_unless_told_otherwise():
    with pytest.raises(RuntimeError):
        await rehearse_start(Fault(kind="crash"))
    await rehearse_start(Fault(kind="crash", after_chunks=1))
    with pytest.raises(RuntimeError):
        await rehearse_chunk(Fault(kind="crash", after_chunks=1), 1)
