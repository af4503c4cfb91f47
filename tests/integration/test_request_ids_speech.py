"""A stream of speech with a request id is spoken once; a repeat of the same text gets the same messages again."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from calling import check_invariants, config_message, flush_message, kinds, rest_of, spoken, text_message, until
from databases import database_url, postgres
from pixvox import client
from pixvox.idempotency import recordings
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator, ErrorEvent, Fault, Stalled
from pixvox.v1.speech_service_pb2 import StreamSpeechRequest, StreamSpeechResponse
from repeating import place_of

__all__ = ["database_url", "postgres"]

MINE = config_message(request_id="mine")
WHOLE = [MINE, text_message("Hello there. "), flush_message("a"), text_message("And good night.")]


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def place(vendor):
    async with place_of(vendor) as place:
        yield place


async def refused(stubs, messages):
    """What a stream fails with before it has answered anything."""
    call = stubs.speech.StreamSpeech(iter(messages))
    try:
        assert [answer async for answer in call] == []
    except grpc.RpcError as error:
        return client.failure(error)
    raise AssertionError("the stream ended with OK")


async def test_a_stream_is_replayed_byte_for_byte_after_a_restart(vendor, database_url):
    async with place_of(vendor, database_url) as place:
        first = await raw(place, WHOLE)
    async with place_of(vendor, database_url) as place:
        assert await raw(place, WHOLE) == first
    answers = [StreamSpeechResponse.FromString(one) for one in first]
    check_invariants(answers)
    assert "flushed" in kinds(answers)
    assert len(vendor.requests) == 1


async def raw(place, messages):
    """The answers as they come over the wire."""
    path = "/pixvox.v1.SpeechService/StreamSpeech"
    method = place.stubs.channel.stream_stream(path, StreamSpeechRequest.SerializeToString, bytes)
    return [answer async for answer in method(iter(messages))]


async def test_how_the_text_is_cut_into_messages_does_not_count(place, vendor):
    first = await spoken(place.stubs, WHOLE)
    again = [
        MINE,
        *map(text_message, "Hello there. "),
        flush_message("a"),
        text_message("And good"),
        text_message(" night."),
    ]
    assert await spoken(place.stubs, again) == first
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "other",
    [
        [MINE, text_message("Hello there. "), flush_message("a"), text_message("And good day.")],
        [MINE, text_message("Hello there."), flush_message("a"), text_message(" And good night.")],
        [MINE, text_message("Hello there. "), flush_message("b"), text_message("And good night.")],
        [MINE, text_message("Hello there. "), text_message("And good night.")],
        [config_message(request_id="mine", language_code="en"), *WHOLE[1:]],
    ],
    ids=["text", "place of the flush", "id of the flush", "no flush", "config"],
)
async def test_another_payload_with_the_same_id_is_refused(place, vendor, other):
    await spoken(place.stubs, WHOLE)
    failure = await refused(place.stubs, other)
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert failure.violations[0].field == "config.request_id"
    assert len(vendor.requests) == 1


async def test_another_config_is_refused_before_any_text_is_sent(place):
    await spoken(place.stubs, WHOLE)
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message(request_id="mine", language_code="en"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_repeat_waits_for_the_first_and_both_get_the_same(vendor, database_url):
    vendor.behaviour = Behaviour(chunk_interval=0.05)
    async with place_of(vendor, database_url) as place:
        first, second = await asyncio.gather(spoken(place.stubs, WHOLE), spoken(place.stubs, WHOLE))
    check_invariants(second)
    assert first == second
    assert len(vendor.requests) == 1


async def test_the_first_caller_has_its_audio_before_the_stream_is_over(place, vendor):
    vendor.faults.add(Fault("realtime", Stalled(30, after=2)))
    call = place.stubs.speech.StreamSpeech(iter(WHOLE))
    async with asyncio.timeout(5):
        seen = [(await call.read()).WhichOneof("message") for _ in range(3)]
    assert seen == ["started", "audio", "audio"]
    call.cancel()
    await until(lambda: place.service.calls.in_flight == 0)


async def test_a_stream_whose_caller_left_in_the_middle_is_not_spoken_again(place, vendor):
    vendor.faults.add(Fault("realtime", Stalled(30, after=2)))
    call = place.stubs.speech.StreamSpeech(iter(WHOLE))
    while (await call.read()).WhichOneof("message") != "audio":
        pass
    call.cancel()
    failure = await refused(place.stubs, WHOLE)
    assert (failure.reason, failure.metadata["earlier_reason"]) == ("OUTCOME_UNKNOWN", "CANCELLED")
    assert len(vendor.requests) == 1


async def test_a_stream_that_broke_off_is_not_spoken_again(place, vendor):
    vendor.faults.add(Fault("realtime", ErrorEvent("InternalError", after=1)))
    call = place.stubs.speech.StreamSpeech(iter(WHOLE))
    with pytest.raises(grpc.aio.AioRpcError):
        await rest_of(call)
    assert (await refused(place.stubs, WHOLE)).reason == "OUTCOME_UNKNOWN"
    assert len(vendor.requests) == 1


async def test_a_stream_that_was_refused_before_any_work_may_be_repeated(place, vendor):
    assert (await refused(place.stubs, [MINE, text_message("x"), MINE])).reason == "STREAM_ORDER"
    check_invariants(await spoken(place.stubs, WHOLE))


@pytest.mark.parametrize("short", ["max_answer_bytes", "memory"])
async def test_a_stream_that_is_too_long_to_keep_is_given_once(vendor, monkeypatch, short):
    if short == "memory":
        monkeypatch.setattr(recordings.Tapes.__init__, "__defaults__", (1000,))
    async with place_of(vendor, **({"max_answer_bytes": 1000} if short == "max_answer_bytes" else {})) as place:
        check_invariants(await spoken(place.stubs, WHOLE))
        assert (await refused(place.stubs, WHOLE)).reason == "ANSWER_NOT_KEPT"
    assert len(vendor.requests) == 1


async def test_an_id_that_cannot_be_used_is_refused_as_ever(place):
    failure = await refused(place.stubs, [config_message(request_id="é"), text_message("Hello.")])
    assert (failure.reason, failure.violations[0].field) == ("INVALID_REQUEST", "config.request_id")


async def test_streams_without_an_id_are_all_spoken(place, vendor):
    for _ in range(2):
        check_invariants(await spoken(place.stubs, [config_message(), text_message("Hello there.")]))
    assert len(vendor.requests) == 2
