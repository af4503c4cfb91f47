"""What is left behind by callers who leave, and what a worker is told of their time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

import pytest

from calling import photo
from pixvox import telemetry
from pixvox.provider import Blob
from pixvox.providers.worker import Config, create
from pixvox.providers.worker.fleet import deadline_headers, to_its_end
from pixvox.testing.worker import Slow, WorkerEmulator
from pixvox.upstream import Upstream
from pixvox.v1.image_service_pb2 import EditImageRequest


@pytest.mark.parametrize(
    ("seconds", "told"), [(math.inf, None), (1e9, None), (-5.0, 0.001), (0.0, 0.001), (30.0, pytest.approx(30, abs=2))]
)
def test_a_worker_is_told_the_time_that_is_left_and_nothing_where_there_is_no_end(seconds, told):
    with telemetry.calling(telemetry.Call("a", deadline=time.monotonic() + seconds)):
        found = deadline_headers()
    assert (float(found["x-request-timeout"]) if found else None) == told
    assert not deadline_headers()


async def test_what_soon_ends_ends_before_a_cancellation_goes_on():
    done = []

    async def work():
        await asyncio.sleep(0.05)
        done.append("done")

    task = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0.001)
        task.cancel()
    await asyncio.wait({task})
    assert (done, task.cancelled()) == (["done"], True)


async def test_what_is_done_to_its_end_may_fail():
    async def work():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_its_end(work())


@pytest.mark.parametrize("jobs", [False, True])
async def test_a_caller_that_is_cancelled_twice_leaves_nothing_running(jobs):
    upstream = Upstream()
    async with WorkerEmulator() as worker, contextlib.aclosing(upstream):
        worker.faults.add("process", Slow(30))
        provider = create(Config(url=worker.url, contract="process", jobs=jobs), upstream)
        [model] = provider.models()
        image = Blob("image/png", photo(), width=64, height=64)
        before = asyncio.all_tasks()
        call = asyncio.create_task(provider.edit_image(EditImageRequest(prompt="at night"), [image], None, model))
        async with asyncio.timeout(10):
            await worker.until(lambda: worker.count("process"))
            for _ in range(2):
                call.cancel()
                await asyncio.sleep(0.01)
            await asyncio.wait({call})
        left = [task for task in asyncio.all_tasks() - before if "_Call" in repr(task.get_coro())]
        assert not left
        assert call.cancelled()
