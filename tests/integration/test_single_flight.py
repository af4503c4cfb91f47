"""Identical calls without a request id that are under way together share one, where that is allowed."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from calling import until
from emulated import failure_of
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Refused, Stalled
from repeating import picture, place_of

SAME = picture("")


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def place(vendor):
    async with place_of(vendor, shared=True) as place:
        yield place


async def test_50_identical_calls_are_one_call_upstream_and_get_the_same_bytes(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    with capture_logs() as lines:
        answer = await place.same(SAME, 50)
    assert vendor.count("generate") == 1
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["code"] for line in calls] == ["OK"] * 50
    assert {(line["request_id"], line["provider"]) for line in calls} == {(answer.receipt.request_id, "qwen")}


async def test_an_answer_is_not_kept_for_those_who_come_later(place, vendor):
    assert await place.raw(SAME) != await place.raw(SAME)
    assert vendor.count("generate") == 2


@pytest.mark.parametrize("other", [{"prompt": "x"}, {"labels": {"team": "x"}}, {"seed": 1}])
async def test_calls_that_differ_are_not_shared(place, vendor, other):
    vendor.faults.add(Fault("generate", Stalled(0.3), times=2))
    await asyncio.gather(place.raw(SAME), place.raw(picture("", **other)))
    assert vendor.count("generate") == 2


async def test_the_name_of_the_caller_does_not_count(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    generate = place.stubs.images.GenerateImage
    calls = [generate(SAME, metadata=(("x-pixvox-caller", name),)) for name in ("ann", "bob")]
    first, second = await asyncio.gather(*calls)
    assert first == second
    assert vendor.count("generate") == 1


async def test_calls_are_not_shared_where_that_is_not_allowed(vendor):
    vendor.faults.add(Fault("generate", Stalled(0.3), times=2))
    async with place_of(vendor) as place:
        await asyncio.gather(place.raw(SAME), place.raw(SAME))
    assert vendor.count("generate") == 2


async def test_calls_that_take_no_route_are_not_shared(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(0.3), times=2))
    direct = picture("", provider="qwen", model="qwen-image-max")
    await asyncio.gather(place.raw(direct), place.raw(direct))
    assert vendor.count("generate") == 2


async def test_upstream_stops_only_when_the_last_caller_has_left(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(30)))
    calls = [place.stubs.images.GenerateImage(SAME) for _ in range(3)]
    await until(lambda: place.service.calls.in_flight == 3 and vendor.count("generate") == 1)
    for left, call in zip((2, 1), calls, strict=False):
        call.cancel()
        await until(lambda left=left: place.service.calls.in_flight == left)
    await asyncio.sleep(0.2)
    assert not vendor.requests[0].cancelled
    calls[2].cancel()
    await until(lambda: vendor.requests[0].cancelled, seconds=2)
    assert vendor.count("generate") == 1


async def test_who_comes_while_a_call_is_being_broken_off_has_one_of_its_own(place, vendor):
    vendor.faults.add(Fault("generate", Stalled(30)))
    call = place.stubs.images.GenerateImage(SAME)
    await until(lambda: vendor.count("generate") == 1)
    call.cancel()
    await until(lambda: place.service.calls.in_flight == 0)
    await place.raw(SAME)
    assert vendor.count("generate") == 2


async def test_a_failure_is_told_to_all(place, vendor):
    vendor.faults.add(Fault("generate", (Stalled(0.5), Refused(400, "DataInspectionFailed"))))
    failures = await asyncio.gather(*(failure_of(place.stubs.images.GenerateImage(SAME)) for _ in range(10)))
    assert {failure.reason for failure in failures} == {"CONTENT_BLOCKED"}
    assert vendor.count("generate") == 1


async def test_a_fault_of_the_service_is_told_to_all_and_logged_once(place, vendor, monkeypatch):
    async def broken(*_: object) -> None:
        await asyncio.sleep(0.3)
        raise RuntimeError("a fault that nobody foresaw")

    monkeypatch.setattr("pixvox.services.images.ImageService._delivered", broken)
    with capture_logs() as lines:
        failures = await asyncio.gather(*(failure_of(place.stubs.images.GenerateImage(SAME)) for _ in range(5)))
    assert {failure.reason for failure in failures} == {"INTERNAL"}
    assert len([line for line in lines if line["event"] == "call failed unexpectedly"]) == 1
