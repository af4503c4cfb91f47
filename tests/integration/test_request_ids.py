"""A call with a request id is made once, however often it is repeated, and by whichever process."""

from __future__ import annotations

import asyncio
import sqlite3

import grpc
import pytest
from structlog.testing import capture_logs

from calling import photo, until
from databases import database_url, postgres
from emulated import failure_of
from pixvox.testing.dashscope import Cut, DashScopeEmulator, Fault, Refused, Stalled
from pixvox.v1 import media_pb2, speech_service_pb2, voice_service_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest
from pixvox.v1.voice_service_pb2 import ListVoicesRequest
from recording import cloning, designing
from repeating import picture, place_of

__all__ = ["database_url", "postgres"]

CLONED = voice_service_pb2.VOICE_KIND_CLONED


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def place(vendor):
    async with place_of(vendor) as place:
        yield place


async def test_50_calls_at_once_with_one_id_are_one_call_upstream_and_get_the_same_bytes(vendor, database_url):
    vendor.faults.add(Fault("generate", Stalled(0.3)))
    async with place_of(vendor, database_url) as place:
        answer = await place.same(picture(), 50)
    assert answer.receipt.request_id == "mine"
    assert vendor.count("generate") == vendor.count("download") == 1


async def test_a_call_that_was_answered_is_answered_the_same_again_and_not_made_again(place, vendor):
    first = await place.raw(picture())
    with capture_logs() as lines:
        assert await place.raw(picture()) == first
    assert vendor.count("generate") == 1
    assert [line["request_id"] for line in lines if line["event"] == "call answered as before"] == ["mine"]


async def test_an_answer_is_there_after_a_restart(vendor, database_url):
    async with place_of(vendor, database_url) as place:
        first = await place.raw(picture())
    async with place_of(vendor, database_url) as place:
        assert await place.raw(picture()) == first
    assert vendor.count("generate") == 1


async def test_an_answer_is_forgotten_when_its_time_is_up(vendor, database_url):
    async with place_of(vendor, database_url, retention_seconds=0.3) as place:
        first = await place.raw(picture())
        await asyncio.sleep(0.4)
        assert await place.raw(picture(prompt="another one")) != first
    assert vendor.count("generate") == 2


@pytest.mark.parametrize("other", [{"prompt": "a blue bicycle"}, {"labels": {"team": "x"}}, {"n": 1}, {"model": "x"}])
async def test_another_payload_with_the_same_id_is_refused(place, vendor, other):
    await place.raw(picture())
    failure = await place.failure(picture(**other))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert [one.field for one in failure.violations] == ["request_id"]
    assert vendor.count("generate") == 1


async def test_another_payload_is_refused_while_the_first_is_being_made(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    first = asyncio.ensure_future(place.raw(picture()))
    await until(lambda: vendor.count("generate") == 1)
    assert (await place.failure(picture(prompt="a blue bicycle"))).reason == "REQUEST_ID_REUSED"
    await first


async def test_an_id_belongs_to_one_method(place, vendor):
    await place.raw(picture())
    image = media_pb2.MediaInput(data=photo(512, 512))
    await place.stubs.images.EditImage(EditImageRequest(prompt="x", images=[image], request_id="mine"))
    assert (vendor.count("generate"), vendor.count("edit")) == (1, 1)


async def test_speech_in_one_piece_is_made_once_too(place, vendor):
    config = speech_service_pb2.SpeechConfig(request_id="mine")
    request = speech_service_pb2.SynthesizeSpeechRequest(config=config, text="Hello there.")
    first, second = [await place.stubs.speech.SynthesizeSpeech(request) for _ in range(2)]
    assert first == second
    request.text = "Hello here."
    failure = await failure_of(place.stubs.speech.SynthesizeSpeech(request))
    assert (failure.reason, failure.violations[0].field) == ("REQUEST_ID_REUSED", "config.request_id")
    assert len([one for one in vendor.requests if one.operation in {"realtime", "speech_sse", "speech_http"}]) == 1


async def test_an_answer_that_is_too_large_to_keep_is_given_once_and_not_made_again(vendor, database_url):
    vendor.faults.add(Fault("generate", Stalled(0.3)))
    async with place_of(vendor, database_url, max_answer_bytes=100) as place:
        assert (await place.same(picture(), 3)).images[0].data
        failure = await place.failure(picture())
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ANSWER_NOT_KEPT")
    assert vendor.count("generate") == 1


async def test_a_call_that_was_refused_before_any_work_may_be_repeated(place, vendor):
    vendor.faults.add(Fault("generate", Refused(400, "InvalidParameter")))
    assert (await place.failure(picture())).reason == "INVALID_PARAMETER"
    await place.raw(picture())
    assert vendor.count("generate") == 2


async def test_a_call_that_was_never_sent_may_be_repeated_with_another_payload(place, vendor):
    assert (await place.failure(picture(prompt=" "))).reason == "INVALID_REQUEST"
    await place.raw(picture())
    assert vendor.count("generate") == 1


@pytest.mark.parametrize("effect", [Cut(), Stalled(0.1, after=1)])
async def test_a_call_whose_outcome_is_not_known_is_not_repeated(place, vendor, effect):
    vendor.faults.add(Fault("generate", (effect, Cut(after=2))))
    assert (await place.failure(picture())).reason == "OUTCOME_UNKNOWN"
    failure = await place.failure(picture())
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN")
    assert failure.metadata["earlier_reason"] == "OUTCOME_UNKNOWN"
    assert failure.metadata["earlier_time"].startswith("20")
    assert vendor.count("generate") == 1


async def test_all_callers_are_told_why_a_call_failed(place, vendor):
    vendor.faults.add(Fault("generate", (Stalled(0.3), Refused(400, "DataInspectionFailed"))))
    calls = [failure_of(place.stubs.images.GenerateImage(picture())) for _ in range(10)]
    assert {failure.reason for failure in await asyncio.gather(*calls)} == {"CONTENT_BLOCKED"}
    assert vendor.count("generate") == 1


async def test_a_caller_that_leaves_alone_ends_the_call_upstream_and_a_repeat_is_told_so(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(30)))
    call = place.stubs.images.GenerateImage(picture())
    await until(lambda: vendor.count("generate") == 1)
    call.cancel()
    await until(lambda: vendor.requests[0].cancelled)
    failure = await place.failure(picture())
    assert (failure.reason, failure.metadata["earlier_reason"]) == ("OUTCOME_UNKNOWN", "CANCELLED")
    assert vendor.count("generate") == 1


async def test_a_caller_that_leaves_does_not_end_the_call_of_those_who_stay(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    first = place.stubs.images.GenerateImage(picture())
    await until(lambda: vendor.count("generate") == 1)
    others = [asyncio.ensure_future(place.raw(picture())) for _ in range(3)]
    await until(lambda: place.service.calls.in_flight == 4)
    first.cancel()
    assert len(set(await asyncio.gather(*others))) == 1
    assert (vendor.count("generate"), vendor.requests[0].cancelled) == (1, False)


async def test_a_caller_whose_deadline_is_over_leaves_the_call_to_those_who_have_time(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(0.8)))
    short = asyncio.ensure_future(failure_of(place.stubs.images.GenerateImage(picture(), timeout=0.4)))
    await until(lambda: vendor.count("generate") == 1)
    answer = await place.raw(picture())
    assert (await short).code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await place.raw(picture()) == answer
    assert vendor.count("generate") == 1


async def test_a_call_lingers_without_its_caller_if_the_operator_wants_that(vendor):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    async with place_of(vendor, linger_seconds=10.0) as place:
        call = place.stubs.images.GenerateImage(picture())
        await until(lambda: vendor.count("generate") == 1)
        call.cancel()
        await until(lambda: place.service.calls.in_flight == 0)
        assert place.service.calls.running()
        await place.raw(picture())
    assert (vendor.count("generate"), vendor.requests[0].cancelled) == (1, False)


async def test_a_call_does_not_linger_longer_than_that(vendor):
    vendor.faults.add(Fault("generate", Stalled(30)))
    async with place_of(vendor, linger_seconds=0.2) as place:
        call = place.stubs.images.GenerateImage(picture())
        await until(lambda: vendor.count("generate") == 1)
        call.cancel()
        await until(lambda: vendor.requests[0].cancelled, seconds=5)
        assert (await place.failure(picture())).reason == "OUTCOME_UNKNOWN"


async def test_a_service_that_ends_in_the_middle_of_a_call_remembers_it(vendor, tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/x.db"
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    async with place_of(vendor, url, linger_seconds=60.0) as place:
        call = place.stubs.images.GenerateImage(picture())
        await until(lambda: vendor.count("generate") == 1)
        call.cancel()
        await until(lambda: place.service.calls.in_flight == 0)
    async with place_of(vendor, url) as place:
        assert (await place.failure(picture())).reason == "OUTCOME_UNKNOWN"
    assert vendor.count("generate") == 1


async def test_a_database_that_fails_refuses_the_call_and_nothing_is_sent(vendor, tmp_path):
    async with place_of(vendor, f"sqlite+aiosqlite:///{tmp_path}/x.db") as place:
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("DROP TABLE requests")
        connection.close()
        assert (await place.failure(picture())).reason == "INTERNAL"
        assert vendor.count("generate") == 0
        await place.raw(picture(request_id=""))
    assert vendor.count("generate") == 1


async def test_a_database_that_fails_in_the_middle_costs_no_caller_its_answer(vendor, tmp_path):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    async with place_of(vendor, f"sqlite+aiosqlite:///{tmp_path}/x.db", lease_seconds=0.5) as place:
        answer = asyncio.ensure_future(place.stubs.images.GenerateImage(picture()))
        await until(lambda: vendor.count("generate") == 1)
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("ALTER TABLE requests RENAME COLUMN answer TO lost")
        connection.close()
        with capture_logs() as lines:
            assert (await answer).images[0].data
            await until(lambda: any("could not be noted" in line["event"] for line in lines))
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("ALTER TABLE requests RENAME COLUMN lost TO answer")
        connection.close()
        failure = await place.failure(picture())
    assert (failure.reason, failure.metadata["earlier_reason"]) == ("OUTCOME_UNKNOWN", "INSTANCE_LOST")
    assert vendor.count("generate") == 1


@pytest.mark.parametrize("request_of", [cloning, designing])
async def test_a_voice_is_made_once(place, vendor, request_of):
    method = place.voices.CloneVoice if request_of is cloning else place.voices.DesignVoice
    first, second = [await method(request_of(request_id="mine")) for _ in range(2)]
    assert first == second
    assert len((await place.voices.ListVoices(ListVoicesRequest(kind=first.voice.kind))).voices) == 1
    assert vendor.count("voice_create") == 1


async def test_a_voice_whose_caller_has_left_is_made_and_found_by_a_repeat(place, vendor):
    vendor.faults.add(Fault("voice_create", Stalled(0.5)))
    call = place.voices.CloneVoice(cloning(request_id="mine"))
    await until(lambda: vendor.count("voice_create") == 1)
    call.cancel()
    answer = await place.voices.CloneVoice(cloning(request_id="mine"))
    assert answer.voice.provider_voice_id == vendor.voices[0].name
    assert len((await place.voices.ListVoices(ListVoicesRequest(kind=CLONED))).voices) == 1
    assert vendor.count("voice_create") == 1


async def test_a_voice_that_is_being_made_when_the_service_ends_is_found_after_a_restart(vendor, tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path}/x.db"
    vendor.faults.add(Fault("voice_create", Stalled(0.5)))
    async with place_of(vendor, url) as place:
        call = place.voices.CloneVoice(cloning(request_id="mine"))
        await until(lambda: vendor.count("voice_create") == 1)
        call.cancel()
        await until(lambda: place.service.calls.in_flight == 0)
    async with place_of(vendor, url) as place:
        answer = await place.voices.CloneVoice(cloning(request_id="mine"))
    assert answer.voice.provider_voice_id == vendor.voices[0].name
    assert vendor.count("voice_create") == 1
