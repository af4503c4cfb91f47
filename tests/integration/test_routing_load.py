"""Many calls at once over targets that fail now and then: none is lost, none is billed twice, nobody is crowded out."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter

import grpc

import serving
from pixvox import client
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Refused, Stalled
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2

MODEL = "qwen-image-2.0"
CALLS = 1_000
SECONDS = 0.5
PLACES = 25
KEY = f"flapping/{MODEL}"


def _request(prompt="a lighthouse", model="fast"):
    return image_service_pb2.GenerateImageRequest(
        prompt=prompt, model=model, size=media_pb2.Size(width=512, height=512)
    )


def _route(*targets, **fields):
    return {"verbs": ["generate_image"], "targets": [{"to": target} for target in targets], **fields}


async def _outcome(stubs, prompt, caller="", model="fast"):
    metadata = (("x-pixvox-caller", caller),) if caller else ()
    try:
        answer = await stubs.images.GenerateImage(_request(prompt, model), metadata=metadata, timeout=90)
    except grpc.aio.AioRpcError as error:
        return client.failure(error).reason
    return answer.receipt.provider


async def test_a_thousand_calls_over_a_flapping_target_are_all_answered_and_billed_once():
    max_queued = 60
    async with DashScopeEmulator() as flapping, DashScopeEmulator() as steady:
        targets = {
            KEY: {"failures": 3, "open_seconds": 0.2, "max_in_flight": 20, "max_queued": max_queued},
            f"steady/{MODEL}": {"max_in_flight": 20, "max_queued": CALLS},
        }
        settings = serving.settings_with(
            serving.vendors(flapping=flapping, steady=steady),
            {"fast": _route(KEY, f"steady/{MODEL}")},
            target_defaults=serving.UNLIMITED,
            targets=targets,
        )
        async with serving.serving(settings) as stubs:
            done = asyncio.Event()

            async def flap():
                # Overdue, then well again, over and over.
                while not done.is_set():
                    flapping.faults.add(Fault("generate", Refused(401, "InvalidApiKey"), times=None))
                    await asyncio.sleep(0.4)
                    flapping.faults.clear()
                    await asyncio.sleep(0.4)

            seen = []

            async def watch():
                while not done.is_set():
                    answer = await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())
                    seen.append(answer.routes[0].targets[0].health)
                    await asyncio.sleep(0.05)

            async with asyncio.TaskGroup() as group:
                group.create_task(flap())
                group.create_task(watch())
                outcomes = await asyncio.gather(*(_outcome(stubs, f"picture {number}") for number in range(CALLS)))
                done.set()
    assert Counter(outcomes).keys() <= {"flapping", "steady"}
    billed = [
        record.json["input"]["messages"][0]["content"][0]["text"]
        for record in (*flapping.requests, *steady.requests)
        if record.operation == "generate" and record.usage
    ]
    assert sorted(billed) == sorted(f"picture {number}" for number in range(CALLS))
    assert Counter(outcomes)["flapping"] > 0
    assert max(health.queued for health in seen) <= max_queued
    states = {health.breaker for health in seen}
    assert {model_service_pb2.BREAKER_STATE_OPEN, model_service_pb2.BREAKER_STATE_CLOSED} <= states


async def test_a_quiet_callers_p99_stays_within_twice_its_own_while_another_floods():
    async with DashScopeEmulator() as vendor:
        vendor.faults.add(Fault("generate", Stalled(SECONDS), times=None))
        targets = {f"vendor/{MODEL}": {"max_in_flight": PLACES, "max_queued": 500}}
        settings = serving.settings_with(
            serving.vendors(vendor=vendor),
            {"fast": _route(f"vendor/{MODEL}")},
            target_defaults=serving.UNLIMITED,
            targets=targets,
        )
        async with serving.serving(settings) as stubs:

            async def quiet(calls):
                seconds = []
                for number in range(calls):
                    started = time.monotonic()
                    assert await _outcome(stubs, f"quiet {number}", "quiet") == "vendor"
                    seconds.append(time.monotonic() - started)
                return statistics.quantiles(seconds, n=100)[98]

            alone = await quiet(25)
            stop = asyncio.Event()

            async def flood():
                while not stop.is_set():
                    await _outcome(stubs, "flood", "flood")

            floods = []
            for number in range(100):
                floods.append(asyncio.create_task(flood()))
                # Places become free one after the other, as they do where calls differ.
                await asyncio.sleep(SECONDS / PLACES if number < PLACES else 0)
            crowded = await quiet(25)
            stop.set()
            await asyncio.gather(*floods)
    # It waits for one of the places, and not behind the hundred who wait there, too.
    assert crowded <= 2 * alone, (alone, crowded)
