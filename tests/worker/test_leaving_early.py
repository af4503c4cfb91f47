"""Callers that take their request back, run out of time or are too many, on the real model and on the fake one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from serving_worker import draw, edit, png, serve, wait_until
from speech_calls import connect, hang_up_while_it_runs

from pixvox_worker.engines.qwen_image import QwenImageEngine
from pixvox_worker.settings import Device, Settings

SLOW = {"fake_step_seconds": 0.05}


def start(client, **fields):
    """A job that lies in the table."""
    body = {"prompt": "a cat", "options": {"async": True, "width": 64, "height": 64, "steps": 100, **fields}}
    answer = client.post("/process", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/job/{answer.json()['job_id']}/status"
    return answer.json()["job_id"]


def status(client, job):
    return client.get(f"/job/{job}/status").json()


def admitted(client):
    health = client.get("/health").json()
    return health["queue_depth"] + health["running"]


def test_a_job_runs_to_its_result():
    with serve(fake_step_seconds=0.02) as client:
        job = start(client, steps=10, seed=3)
        assert client.get(f"/job/{job}/result").status_code == 202
        wait_until(lambda: 0 < status(client, job)["progress"] < 1)
        wait_until(lambda: status(client, job)["status"] == "completed")
        result = client.get(f"/v1/jobs/{job}/result")
        assert (result.status_code, result.json()["seed"], status(client, job)["step"]) == (200, 3, 10)


def test_a_running_edit_is_left_at_its_next_step(tiny):
    with serve(tiny / "qwen-image-edit") as client:
        options = '{"async": true, "steps": 200}'
        answer = client.post("/process", data={"prompt": "x", "options": options}, files={"image": png()})
        job = answer.json()["job_id"]
        wait_until(lambda: status(client, job)["status"] == "running")
        assert client.post(f"/job/{job}/cancel").json()["status"] == "cancelled"
        wait_until(lambda: admitted(client) == 0, seconds=5)
        assert status(client, job)["step"] < 200
        assert client.get(f"/job/{job}/result").status_code == 409
        assert client.post(f"/job/{job}/cancel").status_code == 202
        assert edit(client).status_code == 200


def test_a_queued_job_that_is_cancelled_frees_its_place_at_once():
    with serve(**SLOW, max_concurrent_requests=2) as client:
        running, queued = start(client), start(client)
        wait_until(lambda: status(client, running)["status"] == "running")
        assert status(client, queued)["queue_position"] == 1
        assert draw(client).status_code == 429
        client.post(f"/job/{queued}/cancel")
        assert status(client, queued)["status"] == "cancelled"
        assert client.get("/health").json()["queue_depth"] == 0
        start(client)


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_takes_the_request_back(tiny, stream):
    with serve(tiny / "qwen-image", max_steps=4000) as client:
        body = {"prompt": "x", "size": "64x64", "num_inference_steps": 4000, "stream": stream}
        hang_up_while_it_runs(client, "/v1/images/generations", body)
        assert client.worker.metrics.registry.get_sample_value("worker_cancelled_total") == 1
        assert draw(client).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_at_once_leaves_nothing_behind(tiny, stream):
    with serve(tiny / "qwen-image", max_steps=4000) as client:
        body = {"prompt": "x", "size": "64x64", "num_inference_steps": 4000, "stream": stream}
        for _ in range(3):
            connect(client, "/v1/images/generations", body).close()
        # Whether it was let in at all before it left is the worker's affair.
        assert draw(client).status_code == 200
        wait_until(lambda: admitted(client) == 0, seconds=5)


def test_the_survivor_of_a_batch_gets_what_it_would_have_got_alone(tiny):
    with serve(tiny / "qwen-image", max_batch_size=2, batch_wait_ms=300) as client:
        expected = draw(client, num_inference_steps=100).json()["data"]
        with ThreadPoolExecutor(1) as pool:
            survivor = pool.submit(draw, client, num_inference_steps=100)
            other = start(client)
            wait_until(lambda: status(client, other)["status"] == "running")
            assert client.get("/health").json()["running"] == 2
            client.post(f"/job/{other}/cancel")
            assert survivor.result().json()["data"] == expected
        assert status(client, other)["status"] == "cancelled"


def test_a_deadline_ends_a_running_request(tiny):
    with serve(tiny / "qwen-image", max_steps=4000) as client:
        begun = time.monotonic()
        answer = draw(client, num_inference_steps=4000, timeout=0.5)
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
        assert time.monotonic() - begun < 3
        wait_until(lambda: admitted(client) == 0, seconds=5)


def test_a_deadline_ends_a_request_that_waits():
    with serve(**SLOW) as client:
        start(client)
        assert draw(client, timeout=0.2).status_code == 504
        assert client.get("/health").json() | {"queue_depth": 0, "running": 1} == client.get("/health").json()


def test_waiting_too_long_is_worth_a_retry():
    with serve(**SLOW, max_queue_seconds=0.2) as client:
        start(client)
        answer = draw(client)
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "queue_timeout")
        assert int(answer.headers["retry-after"]) >= 1


def test_exactly_as_many_are_let_in_as_may_be():
    with serve(fake_step_seconds=0.02, max_concurrent_requests=8) as client:
        with ThreadPoolExecutor(14) as pool:
            answers = list(pool.map(lambda seed: draw(client, seed=seed, num_inference_steps=25), range(14)))
        codes = [answer.status_code for answer in answers]
        assert (codes.count(200), codes.count(429)) == (8, 6)
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
        assert admitted(client) == 0


def test_memory_that_runs_out_costs_one_request_and_no_more(tiny):
    engine = QwenImageEngine(Settings(model_name=str(tiny / "qwen-image"), device=Device.CPU))
    with serve(tiny / "qwen-image", engine=engine) as client:

        def run_out(*_):
            raise torch.OutOfMemoryError

        expected = draw(client).json()["data"]
        hook = engine.pipeline.transformer.register_forward_pre_hook(run_out)
        answer = draw(client)
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "out_of_memory")
        hook.remove()
        assert draw(client).json()["data"] == expected
        assert client.worker.metrics.registry.get_sample_value("worker_out_of_memory_total") == 1


def test_a_model_that_breaks_tells_nothing_of_itself_and_goes_on(tiny):
    engine = QwenImageEngine(Settings(model_name=str(tiny / "qwen-image"), device=Device.CPU))
    with serve(tiny / "qwen-image", engine=engine) as client:

        def break_down(*_):
            message = "/secret/path"
            raise RuntimeError(message)

        hook = engine.pipeline.transformer.register_forward_pre_hook(break_down)
        answer = draw(client)
        assert (answer.status_code, "secret" in answer.text) == (500, False)
        hook.remove()
        assert draw(client).status_code == 200


def test_a_kept_result_expires_and_an_unknown_job_never_was():
    with serve(job_ttl=0.2) as client:
        job = start(client, steps=1)
        wait_until(lambda: client.get(f"/job/{job}/result").status_code == 410, seconds=5)
        assert client.get("/job/nothing/status").status_code == 404
