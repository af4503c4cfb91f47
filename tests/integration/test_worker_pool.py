"""Several workers with the same model, emulated, through the service; and what the traces show of them."""

from __future__ import annotations

import asyncio
import contextlib

from google.protobuf import struct_pb2

import serving
from calling import config_message, spoken, text_message
from emulated import failure_of
from pixvox.testing.worker import LOADING, Cut, Refused, WorkerEmulator
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from traces import traced
from workers import PAINTER, SPEAKER, service, table

SMALL = media_pb2.Size(width=64, height=64)


def drawing(prompt="a cat", **fields):
    return GenerateImageRequest(prompt=prompt, size=SMALL, **fields)


@contextlib.asynccontextmanager
async def three(**fields):
    async with WorkerEmulator(**fields) as one, WorkerEmulator(**fields) as two, WorkerEmulator(**fields) as other:
        yield one, two, other


def made(workers):
    return [worker.count() for worker in workers]


async def test_calls_go_to_the_workers_with_the_least_to_do_whoever_gave_it_to_them():
    async with three(step_seconds=0.05) as workers, service(*workers) as stubs:
        workers[0].others = 50
        await stubs.images.GenerateImage(drawing())
        before = made(workers)
        calls = [stubs.images.GenerateImage(drawing(f"cat {number}")) for number in range(8)]
        await asyncio.gather(*calls)
        now = made(workers)
    assert now[0] == before[0]
    assert sum(now) == 9
    assert abs(now[1] - now[2]) <= 1
    # Beside the calls, not before each of them.
    assert all(1 <= worker.count("health") <= 3 for worker in workers)


async def test_a_worker_that_is_loading_gets_no_calls_until_it_says_that_it_is_ready():
    async with three(step_seconds=0.02) as workers, service(*workers, health_seconds=0.05) as stubs:
        workers[0].status = "loading"
        workers[0].faults.add("generate", LOADING, times=None)
        for _ in range(6):
            await stubs.images.GenerateImage(drawing())
        assert workers[0].count("generate") <= 1
        workers[0].faults.clear()
        workers[0].status = "ready"
        async with asyncio.timeout(20):
            while workers[0].count("generate") <= 1:
                await stubs.images.GenerateImage(drawing())


async def test_a_worker_that_dies_costs_its_own_call_and_no_other():
    async with three() as workers, service(*workers) as stubs:
        workers[1].faults.add("generate", Cut(after=1))
        answers = await asyncio.gather(
            *(stubs.images.GenerateImage(drawing(f"cat {number}")) for number in range(6)), return_exceptions=True
        )
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(failed) == 1
        assert sum(made(workers)) == 6
        await workers[1].__aexit__()
        for _ in range(6):
            await stubs.images.GenerateImage(drawing())


async def test_a_full_worker_has_its_call_go_to_one_other_and_then_the_caller_is_told():
    full = Refused(429, "overloaded_error", retry_after=7)
    async with three() as workers, service(*workers) as stubs:
        workers[0].faults.add("generate", full, times=None)
        for _ in range(6):
            await stubs.images.GenerateImage(drawing())
        for worker in workers:
            worker.faults.add("generate", full, times=None)
        before = sum(made(workers))
        failed = await failure_of(stubs.images.GenerateImage(drawing()))
        assert (failed.reason, failed.retry_after) == ("RATE_LIMITED", 7)
        assert sum(made(workers)) == before + 2


async def test_a_worker_out_of_memory_is_not_asked_again_and_the_route_goes_on_to_another_provider():
    async with WorkerEmulator() as small, WorkerEmulator() as large:
        routes = {"drawn": {"verbs": ["generate_image"], "targets": [{"to": "small"}, {"to": "large"}]}}
        providers = {"small": table(small), "large": table(large)}
        settings = serving.settings_with(providers, routes, target_defaults=serving.UNLIMITED)
        small.faults.add("generate", Refused(503, "out_of_memory"), times=None)
        async with serving.serving(settings) as stubs:
            answer = await stubs.images.GenerateImage(drawing(model="drawn"))
    assert [(one.provider, one.reason) for one in answer.receipt.attempts] == [
        ("small", reasons.ERROR_REASON_PROVIDER_UNAVAILABLE),
        ("large", 0),
    ]
    assert (small.count(), large.count()) == (1, 1)


async def test_speech_is_shared_out_as_well():
    async with three() as workers, service(*workers) as stubs:
        messages = [config_message(model=SPEAKER), text_message("Hello.")]
        await asyncio.gather(*(spoken(stubs, messages) for _ in range(6)))
    assert made(workers) == [2, 2, 2]


async def test_models_have_workers_of_their_own():
    async with WorkerEmulator() as painter, WorkerEmulator() as speaker:
        models = {PAINTER: {"urls": [painter.url]}, SPEAKER: {"urls": [speaker.url]}}
        async with service(url="", models=models) as stubs:
            await stubs.images.GenerateImage(drawing())
            await spoken(stubs, [config_message(model=SPEAKER), text_message("Hello.")])
            listed = await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())
    assert (painter.count("generate"), painter.count("speech")) == (1, 0)
    assert (speaker.count("generate"), speaker.count("speech")) == (0, 1)
    [provider] = listed.providers
    assert (provider.kind, provider.ready) == ("worker", True)


async def test_the_steps_of_a_picture_are_seen_in_its_trace_which_the_worker_is_told():
    steps = struct_pb2.Struct()
    steps.update({"worker": {"steps": 3}})
    async with WorkerEmulator() as worker:
        settings = serving.settings_with({"gpu": table(worker)}, {}, target_defaults=serving.UNLIMITED)
        async with traced(settings) as seen:
            await seen.stubs.images.GenerateImage(drawing(provider_options=steps))
    [span] = seen.named("POST image generation")
    assert [dict(event.attributes) for event in span.events if event.name == "step"] == [
        {"pixvox.step": number, "pixvox.steps": 3} for number in (1, 2, 3)
    ]
    sent = worker.of("generate")[0].headers["traceparent"]
    assert sent.split("-")[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
