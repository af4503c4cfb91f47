"""A canary that does worse than its baseline loses its calls, in a running service, until a person gives it another try."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request

import grpc
import msgspec
import pytest

import serving
from calling import stubs_of
from emulated import failure_of
from pixvox import server
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Refused
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2

MODEL = "qwen-image-2.0"


@pytest.fixture
async def old():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def new():
    async with DashScopeEmulator() as emulator:
        yield emulator


def _settings(old, new, **guard):
    targets = [
        {"to": f"old/{MODEL}", "weight": 50},
        {"to": f"new/{MODEL}", "weight": 50, "guard": {"min_calls": 10, **guard}},
    ]
    # The breaker is another protection, and would be quicker.
    limits = serving.UNLIMITED | {"failures": 0, "error_rate": 0.0}
    routes = {"pictures": {"verbs": ["generate_image"], "targets": targets}}
    return serving.settings_with(serving.vendors(old=old, new=new), routes, target_defaults=limits)


async def _made(stubs, calls):
    """Make so many calls, whatever becomes of them."""
    request = image_service_pb2.GenerateImageRequest(
        prompt="a lighthouse", model="pictures", size=media_pb2.Size(width=512, height=512)
    )
    for _ in range(calls):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stubs.images.GenerateImage(request)


async def _canary(stubs):
    answer = await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())
    return answer.routes[0].targets[1]


async def _metrics(running):
    def read():
        with urllib.request.urlopen(f"http://{running.http}/metrics") as answer:
            return answer.read().decode()

    return await asyncio.to_thread(read)


async def test_a_failing_canary_is_rolled_back_and_stays_so_until_a_person_acts(old, new):
    settings = _settings(old, new)
    new.faults.add(Fault("generate", Refused(500, "InternalError"), times=None))
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        assert (await _canary(stubs)).weight == 50
        await _made(stubs, 120)
        canary = await _canary(stubs)
        assert (canary.configured_weight, canary.weight) == (50, 0)
        assert "fail" in canary.rolled_back_reason
        assert canary.rolled_back_time.seconds > 0
        # Within the window, and not once afterwards.
        asked = new.count("generate")
        assert asked < 50
        await _made(stubs, 20)
        assert new.count("generate") == asked
        assert "pixvox_route_rollbacks_total{" in await _metrics(running)
        # It is no way out for calls that the baseline refuses, either.
        old.faults.add(Fault("generate", Refused(401, "InvalidApiKey"), times=None))
        request = image_service_pb2.GenerateImageRequest(prompt="a lighthouse", model="pictures")
        assert (await failure_of(stubs.images.GenerateImage(request))).reason == "PROVIDER_CREDENTIALS"
        assert new.count("generate") == asked
        old.faults.clear()
    async with serving.serving(settings) as stubs:
        # A restart is no person.
        assert (await _canary(stubs)).weight == 0
    again = _settings(old, new, trial=2)
    again = msgspec.structs.replace(again, database=settings.database)
    new.faults.clear()
    async with serving.serving(again) as stubs:
        await _made(stubs, 20)
        assert (await _canary(stubs)).weight == 50
        assert new.count("generate") > asked


async def test_a_healthy_canary_keeps_its_weight(old, new):
    async with serving.serving(_settings(old, new)) as stubs:
        await _made(stubs, 150)
        assert (await _canary(stubs)).weight == 50
        assert min(old.count("generate"), new.count("generate")) > 40


async def test_a_refusal_of_the_caller_is_nobodys_failure(old, new):
    new.faults.add(Fault("generate", Refused(400, "DataInspectionFailed"), times=None))
    async with serving.serving(_settings(old, new)) as stubs:
        await _made(stubs, 80)
        assert (await _canary(stubs)).weight == 50
