"""Tasks that are called off: whatever else happens, the caller's cancellation comes through, and soon."""

from __future__ import annotations

import asyncio
import math
import time

import msgspec
import pytest

from emulated import provider_table
from pixvox.providers import dashscope
from pixvox.providers.dashscope.tasks import CANCEL_SECONDS
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator, Fault, Raw, Stalled
from pixvox.upstream import Upstream
from pixvox.v1.image_service_pb2 import GenerateImageRequest


@pytest.fixture
async def emulator():
    async with DashScopeEmulator(behaviour=Behaviour(task_pending=math.inf)) as running:
        yield running


@pytest.fixture
async def generation(emulator):
    """A picture that is being made by a task that never begins."""
    upstream = Upstream()
    table = provider_table(emulator)
    table.pop("kind")
    provider = dashscope.create(msgspec.convert(table, type=dashscope.Config), upstream)
    model = next(one for one in provider.models() if one.id == "qwen-image")
    running = asyncio.create_task(provider.generate_image(GenerateImageRequest(prompt="a cat"), model))
    yield running
    running.cancel()
    await asyncio.wait((running,))
    await upstream.aclose()


async def test_a_second_cancellation_does_not_keep_the_task_from_being_called_off(emulator, generation):
    await emulator.until(lambda: emulator.count("task_get"))
    emulator.faults.add(Fault("task_cancel", Stalled(0.2)))
    generation.cancel()
    await emulator.until(lambda: emulator.count("task_cancel"))
    generation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generation
    assert [task.status for task in emulator.tasks] == ["CANCELED"]


@pytest.mark.parametrize("operation", ["task_create", "task_cancel"])
async def test_a_vendor_that_says_nothing_does_not_keep_the_caller(emulator, generation, operation):
    emulator.faults.add(Fault(operation, Stalled(60)))
    await emulator.until(lambda: emulator.count("task_create" if operation == "task_create" else "task_get"))
    left_at = time.monotonic()
    generation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generation
    assert CANCEL_SECONDS <= time.monotonic() - left_at < CANCEL_SECONDS + 1
    await emulator.until(lambda: next(one for one in emulator.requests if one.operation == operation).cancelled)


async def test_a_task_that_was_refused_needs_no_calling_off(emulator, generation):
    emulator.faults.add(Fault("task_create", (Raw(400), Stalled(0.2))))
    await emulator.until(lambda: emulator.count("task_create"))
    generation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generation
    assert emulator.count() == 1
