"""Containers that have `/process` alone, emulated, through the service."""

from __future__ import annotations

import asyncio

import pytest

from calling import photo
from emulated import failure_of
from pixvox.testing.dashscope import Painting, edited
from pixvox.testing.worker import LOADING, Cut, Failing, Nonsense, NoResult, Page, Refused, Slow, WorkerEmulator
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest
from workers import EDITOR, service

PROMPT = "at night"


def editing(**fields):
    return EditImageRequest(prompt=PROMPT, images=[media_pb2.MediaInput(data=photo())], **fields)


def bare(worker, **fields):
    """A service whose worker has `/process` alone."""
    models = {EDITOR: {"name": "qwen-image-edit", "steps": 4}}
    return service(worker, contract="process", models=models, poll_seconds=0.02, **fields)


def container(**fields):
    return WorkerEmulator(models={"qwen-image-edit": "image-editing"}, **fields)


@pytest.mark.parametrize("jobs", [False, True])
async def test_a_picture_is_edited_at_once_or_as_a_job(jobs):
    async with container() as worker, bare(worker, jobs=jobs) as stubs:
        answer = await stubs.images.EditImage(editing(seed=7, negative_prompt="people"), timeout=30)
    [asked] = worker.of("process")
    assert asked.body == {
        "model": "qwen-image-edit",
        "prompt": PROMPT,
        "seed": 7,
        "negative_prompt": "people",
        "num_inference_steps": 4,
    }
    assert [file.data for file in asked.files] == [photo()]
    assert asked.headers.get("prefer", "") == ("respond-async" if jobs else "")
    assert 0 < float(asked.headers["x-request-timeout"]) <= 31
    assert answer.images[0].data == edited((photo(),), Painting(PROMPT, (64, 48), 7))
    assert answer.images[0].seed == 7
    assert [one.path.rpartition("/")[2] for one in worker.of("job")] == (["status", "result"] if jobs else [])
    assert answer.receipt.provider_request_id


FAULTS = [
    (Refused(400, "invalid_request_error"), "INVALID_PARAMETER"),
    (Refused(422), "INVALID_PARAMETER"),
    (Page(503, b'{"detail": "Model not loaded"}', "application/json"), "PROVIDER_UNAVAILABLE"),
    (Page(500, b'{"detail": "CUDA out of memory"}', "application/json"), "PROVIDER_INTERNAL"),
    (LOADING, "PROVIDER_UNAVAILABLE"),
    (Failing(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
    (Page(502), "OUTCOME_UNKNOWN"),
    (Cut(), "OUTCOME_UNKNOWN"),
    (Nonsense(), "PROVIDER_INTERNAL"),
    (NoResult(), "PROVIDER_INTERNAL"),
]


@pytest.mark.parametrize(("effect", "reason"), FAULTS)
async def test_every_fault_has_its_reason_and_nothing_is_asked_twice(effect, reason):
    async with container() as worker, bare(worker) as stubs:
        worker.faults.add("process", effect)
        failed = await failure_of(stubs.images.EditImage(editing()))
    assert failed.reason == reason
    assert {"provider_code", "provider_request_id"} <= failed.metadata.keys()
    assert worker.count() == 1


async def test_a_job_that_fails_or_is_lost_is_not_begun_again():
    async with container() as worker, bare(worker, jobs=True) as stubs:
        worker.faults.add("process", Failing(500))
        failed = await failure_of(stubs.images.EditImage(editing()))
        assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
        worker.faults.add("job", Refused(404, "not_found_error"), times=None)
        lost = await failure_of(stubs.images.EditImage(editing()))
        assert (lost.reason, lost.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
    assert worker.count() == 2


async def test_a_caller_that_leaves_has_its_job_called_off():
    async with container() as worker, bare(worker, jobs=True) as stubs:
        worker.faults.add("process", Slow(0))
        worker.faults.add("job", Page(503), times=1)
        async with asyncio.timeout(10):
            call = stubs.images.EditImage(editing())
            await worker.until(lambda: worker.count("job"))
            call.cancel()
            await worker.until(lambda: any(one.path.endswith("/cancel") for one in worker.of("job")))


async def test_a_caller_that_leaves_a_call_without_a_job_ends_its_connection():
    async with container(step_seconds=10) as worker, bare(worker) as stubs:
        async with asyncio.timeout(10):
            call = stubs.images.EditImage(editing())
            await worker.until(lambda: worker.count("process"))
            call.cancel()
            await worker.until(lambda: worker.of("process")[0].cancelled)


async def test_such_a_container_takes_one_picture_of_its_own_size():
    async with container() as worker, bare(worker) as stubs:
        sized = await failure_of(stubs.images.EditImage(editing(size=media_pb2.Size(width=512, height=512))))
        several = await failure_of(stubs.images.EditImage(editing(n=2)))
    assert (sized.reason, several.reason) == ("UNSUPPORTED", "UNSUPPORTED")
