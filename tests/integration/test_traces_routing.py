"""The spans of calls that go to another target, to none, or on without their callers."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from calling import stubs_of, until
from emulated import failure_of
from pixvox.testing.dashscope import (
    Behaviour,
    Cut,
    DashScopeEmulator,
    Fault,
    Refused,
    Stalled,
)
from pixvox.v1.voice_service_pb2 import ListVoicesRequest
from pixvox.v1.voice_service_pb2_grpc import VoiceServiceStub
from recording import designing
from traces import (
    ANY,
    AT_ONCE,
    CUSTOMIZATION,
    DESIGNS,
    MULTIMODAL,
    PICTURES,
    Vendor,
    billed,
    error,
    failed,
    operation,
    picture,
    rpc,
    settings_of,
    traced,
)

LIMITED = Refused(429, "Throttling.RateQuota")
GENERATE = "ImageService/GenerateImage"


@pytest.fixture
async def emulator():
    async with DashScopeEmulator(behaviour=Behaviour(task_pending=1, task_running=0)) as running:
        yield running


@pytest.fixture
async def second():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
def qwen(emulator):
    return Vendor(emulator)


async def test_the_second_target_says_why_it_was_asked(emulator, second, qwen):
    emulator.faults.add(Fault("generate", LIMITED))
    async with traced(settings_of(emulator, second)) as place:
        await place.stubs.images.GenerateImage(picture("two"))
    limited = {"http.request.body.size": ANY, "pixvox.provider_code": "Throttling.RateQuota"}
    other = Vendor(second)
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                failed("RATE_LIMITED", code="Throttling.RateQuota", id=ANY) | AT_ONCE | {"pixvox.route": "two"},
                qwen.request("POST", MULTIMODAL, "image generation", limited, status=429),
                **error("RATE_LIMITED"),
            ),
            operation(
                PICTURES,
                "image",
                billed(PICTURES, "0.035", images=1)
                | AT_ONCE
                | {
                    "gen_ai.provider.name": "second",
                    "pixvox.route": "two",
                    "pixvox.attempt.number": 2,
                    "pixvox.attempt.earlier": (f"qwen/{PICTURES} RATE_LIMITED",),
                },
                other.post(MULTIMODAL, "image generation"),
                other.download(of="image generation"),
            ),
        )
    )


async def test_a_target_whose_circuit_is_open_is_named_by_the_one_that_was_asked_instead(emulator, second):
    emulator.faults.add(Fault("generate", Refused(401, "InvalidApiKey"), times=None))
    targets = {f"qwen/{PICTURES}": {"failures": 1, "open_seconds": 60}}
    async with traced(settings_of(emulator, second, targets=targets)) as place:
        for _ in range(2):
            await place.stubs.images.GenerateImage(picture("two"))
    operations = [
        (one.attributes["gen_ai.provider.name"], one.attributes.get("pixvox.attempt.earlier"))
        for one in sorted(place.named(f"generate_content {PICTURES}"), key=lambda one: one.start_time)
    ]
    assert operations == [
        ("qwen", None),
        ("second", (f"qwen/{PICTURES} PROVIDER_CREDENTIALS",)),
        ("second", (f"qwen/{PICTURES} CIRCUIT_OPEN",)),
    ]


async def test_a_call_that_no_target_takes_has_no_operation(emulator):
    emulator.faults.add(Fault("generate", Refused(401, "InvalidApiKey"), times=None))
    targets = {f"qwen/{PICTURES}": {"failures": 1, "open_seconds": 60}}
    async with traced(settings_of(emulator, targets=targets)) as place:
        for _ in range(2):
            await failure_of(place.stubs.images.GenerateImage(picture()))
    first, refused = (one for one in place.spans if one.parent is None)
    assert len(place.spans) == 4
    assert first.attributes["rpc.status_code"] == "FAILED_PRECONDITION"
    assert (refused.attributes["rpc.status_code"], refused.attributes["error.type"]) == ("UNAVAILABLE", "CIRCUIT_OPEN")


async def test_a_call_for_which_there_is_no_place_has_no_operation(emulator):
    emulator.faults.add(Fault("generate", Stalled(0.5)))
    targets = {f"qwen/{PICTURES}": {"max_in_flight": 1, "max_queued": 0}}
    async with traced(settings_of(emulator, targets=targets)) as place:
        served = asyncio.ensure_future(place.stubs.images.GenerateImage(picture()))
        await emulator.until(lambda: emulator.count("generate"))
        await failure_of(place.stubs.images.GenerateImage(picture()))
        await served
    refused = next(one for one in place.spans if one.attributes.get("rpc.status_code") == "RESOURCE_EXHAUSTED")
    assert not [one for one in place.spans if one.parent and one.parent.span_id == refused.context.span_id]
    assert (refused.status.is_ok, "error.type" in refused.attributes) == (True, False)


async def test_a_call_that_had_to_wait_for_its_turn_says_how_long(emulator):
    emulator.faults.add(Fault("generate", Stalled(0.5)))
    targets = {f"qwen/{PICTURES}": {"max_in_flight": 1}}
    async with traced(settings_of(emulator, targets=targets)) as place:
        await asyncio.gather(*(place.stubs.images.GenerateImage(picture()) for _ in range(2)))
    first, second = sorted(place.named(f"generate_content {PICTURES}"), key=lambda one: one.start_time)
    assert "pixvox.target.queue.wait" not in first.attributes
    took = (first.end_time - first.start_time) / 1e9
    assert second.attributes["pixvox.target.queue.wait"] == pytest.approx(took, abs=0.15)


async def test_an_answer_that_was_kept_asks_nobody(emulator, qwen):
    async with traced(settings_of(emulator)) as place:
        for _ in range(2):
            await place.stubs.images.GenerateImage(picture(request_id="mine"))
    mine = {"pixvox.request_id": "mine"}
    asked = operation(
        PICTURES,
        "image",
        billed(PICTURES, "0.035", images=1) | AT_ONCE | mine,
        qwen.post(MULTIMODAL, "image generation"),
        qwen.download(of="image generation"),
    )
    place.check(rpc(GENERATE, asked, **mine), rpc(GENERATE, **mine, **{"pixvox.answer": "kept"}))


async def test_a_caller_who_joins_a_call_links_to_it(emulator):
    emulator.faults.add(Fault("generate", Stalled(0.5)))
    async with traced(settings_of(emulator)) as place:
        calls = [place.stubs.images.GenerateImage(picture(request_id="mine")) for _ in range(2)]
        await asyncio.gather(*calls)
    (made,) = place.named(f"generate_content {PICTURES}")
    (joined,) = [one for one in place.named(f"pixvox.v1.{GENERATE}") if one.links]
    assert joined.attributes["pixvox.answer"] == "shared"
    assert [(link.context.span_id, dict(link.attributes)) for link in joined.links] == [
        (made.parent.span_id, {"pixvox.link": "call"})
    ]


async def test_a_call_that_is_cut_at_the_end_of_the_grace_period_says_so(emulator):
    emulator.faults.add(Fault("generate", Stalled(30)))
    settings = settings_of(emulator, server={"listen": "127.0.0.1:0", "http": "", "grace_seconds": 0.1})
    async with contextlib.AsyncExitStack() as stack:
        async with traced(settings) as place:
            # Its connection outlives the service.
            stubs = await stack.enter_async_context(stubs_of(place.service.target))
            call = asyncio.ensure_future(failure_of(stubs.images.GenerateImage(picture())))
            await emulator.until(lambda: emulator.count("generate"))
        assert (await call).reason == "SHUTTING_DOWN"
    (cut,) = place.named(f"pixvox.v1.{GENERATE}")
    assert (cut.attributes["rpc.status_code"], cut.attributes["error.type"]) == ("UNAVAILABLE", "SHUTTING_DOWN")
    (asked,) = place.named(f"generate_content {PICTURES}")
    assert asked.attributes["error.type"] == "cancelled"


async def test_a_voice_whose_caller_leaves_is_made_to_its_end_in_the_same_trace(emulator, qwen):
    emulator.faults.add(Fault("voice_create", Stalled(0.5)))
    async with traced(settings_of(emulator)) as place:
        call = VoiceServiceStub(place.stubs.channel).DesignVoice(designing())
        await emulator.until(lambda: emulator.count("voice_create"))
        call.cancel()
        await until(lambda: bool(emulator.voices))
    made = operation(DESIGNS, "speech", billed(DESIGNS, "0.2", voices=1), qwen.post(CUSTOMIZATION, "voice design"))
    place.check(rpc("VoiceService/DesignVoice", made, code="CANCELLED"))


async def test_a_voice_of_which_nobody_knows_is_looked_for_beside_its_operation(emulator, qwen):
    emulator.faults.add(Fault("voice_create", Cut()))
    async with traced(settings_of(emulator)) as place:
        await failure_of(VoiceServiceStub(place.stubs.channel).DesignVoice(designing()))
    place.check(
        rpc(
            "VoiceService/DesignVoice",
            operation(
                DESIGNS,
                "speech",
                failed("OUTCOME_UNKNOWN", replay="ambiguous"),
                qwen.post(CUSTOMIZATION, "voice design", status=0, error="reset", replay="ambiguous"),
                **error("OUTCOME_UNKNOWN"),
            ),
            qwen.post(CUSTOMIZATION, "voice list"),
            code="UNKNOWN",
            error="OUTCOME_UNKNOWN",
        )
    )


async def test_what_was_left_unfinished_is_looked_for_in_a_trace_of_its_own(emulator, qwen, tmp_path):
    database = {"url": f"sqlite+aiosqlite:///{tmp_path}/voices.db"}
    emulator.faults.add(Fault("voice_create", Cut()))
    emulator.faults.add(Fault("voice_list", Refused(400, "InvalidParameter")))
    async with traced(settings_of(emulator, database=database)) as place:
        await failure_of(VoiceServiceStub(place.stubs.channel).DesignVoice(designing()))
    with contextlib.closing(sqlite3.connect(tmp_path / "voices.db")) as connection, connection:
        assert connection.execute("UPDATE voices SET create_time = '2026-01-01 00:00:00'").rowcount == 1
    async with traced(settings_of(emulator, database=database)) as place:
        await VoiceServiceStub(place.stubs.channel).ListVoices(ListVoicesRequest())
        await emulator.until(lambda: emulator.count("voice_list") == 2 and emulator.requests[-1].finished)
        await asyncio.sleep(0.1)
    place.check(rpc("VoiceService/ListVoices"), qwen.post(CUSTOMIZATION, "voice list"))
