"""Engines that raise what nobody expects: the request fails, its place is free again, and the worker goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import weakref

import pytest
import torch
from serving_worker import draw, serve, wait_until
from speech_calls import say
from test_the_process import process

from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.engines.qwen_image import QwenImageEngine
from pixvox_worker.settings import Device, Settings


class Failing(FakeEngine):
    """Raises something at the first request."""

    def __init__(self, error):
        super().__init__(Settings())
        self.errors = [error]

    def make(self, tasks, watch):
        if self.errors:
            raise self.errors.pop()
        return super().make(tasks, watch)

    def speak(self, task, listener):
        if self.errors:
            raise self.errors.pop()
        return super().speak(task, listener)


@pytest.mark.parametrize("ask", [draw, say])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StopIteration(), 500),
        (SystemExit(3), 500),
        (KeyboardInterrupt(), 500),
        (GeneratorExit(), 500),
        (asyncio.CancelledError(), 500),
        (RecursionError(), 500),
        (MemoryError(), 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_whatever_an_engine_raises_costs_one_request(ask, error, status):
    with serve(engine=Failing(error), request_timeout=5) as client:
        assert ask(client).status_code == status
        assert client.get("/health").json()["running"] == 0
        assert ask(client).status_code == 200


def test_an_engine_that_makes_too_little_costs_one_request():
    class Forgetful(FakeEngine):
        short = True

        def make(self, tasks, watch):
            made = super().make(tasks, watch)
            if self.short:
                self.short = False
                return made[1:]
            return made

    with serve(engine=Forgetful(Settings()), request_timeout=5) as client:
        assert draw(client).status_code == 500
        assert draw(client).status_code == 200


@pytest.mark.parametrize("error", [SystemExit(1), StopIteration(), asyncio.CancelledError()])
def test_an_engine_that_leaves_while_it_loads_is_unhealthy_and_not_gone(error):
    class Leaving(FakeEngine):
        def load(self):
            raise error

    with serve(engine=Leaving(Settings()), ready=False) as client:
        wait_until(lambda: client.get("/health").json()["status"] == "unhealthy", seconds=5)


def test_what_did_not_fit_into_memory_is_let_go_although_its_job_is_kept(tiny):
    engine = QwenImageEngine(Settings(model_name=str(tiny / "qwen-image"), device=Device.CPU))
    left = []

    def run_out(*_):
        large = torch.zeros(1_000)
        left.append(weakref.ref(large))
        raise torch.OutOfMemoryError(str(large.shape))

    with serve(tiny / "qwen-image", engine=engine) as client:
        freed = []
        engine._out_of_memory, whole = lambda: freed.append(left[0]() is None) or whole(), engine._out_of_memory
        hook = engine.pipeline.transformer.register_forward_pre_hook(run_out)
        body = {"prompt": "x", "options": {"async": True, "width": 64, "height": 64, "steps": 2}}
        job = client.post("/process", json=body).json()["job_id"]
        wait_until(lambda: client.get(f"/job/{job}/status").json()["status"] == "failed")
        hook.remove()
        gc.collect()
        assert left[0]() is None
        # Before the allocator's cache was emptied, or that would have given nothing back.
        assert freed == [True]
        assert client.get(f"/job/{job}/result").status_code == 503


def test_a_process_that_is_interrupted_does_not_wait_for_a_model_that_does_not_stop():
    with process(ENGINE="fake", FAKE_STEP_SECONDS="60", SHUTDOWN_GRACE="0.5") as (client, worker):
        body = {"prompt": "x", "options": {"async": True, "width": 64, "height": 64}}
        client.post("/process", json=body)
        wait_until(lambda: client.get("/health").json()["running"] == 1)
        begun = time.monotonic()
        # As SIGTERM for the first process of a container, whom no signal ends by itself.
        os.kill(worker.pid, signal.SIGINT)
        worker.wait(40)
        assert time.monotonic() - begun < 40
