"""The time that a caller gives its request: header, body and setting, of which the least wins."""

from __future__ import annotations

import time

import pytest
from serving_worker import draw, png, serve, wait_until

SLOW = {"fake_step_seconds": 0.05}
BODY = {"prompt": "a cat", "size": "64x64", "num_inference_steps": 100}
FORM = {"prompt": "a cat", "num_inference_steps": "100", "size": "64x64"}


@pytest.fixture(scope="module")
def slow():
    """A worker that takes five seconds for a hundred steps."""
    with serve(**SLOW, max_concurrent_requests=20) as client:
        yield client


def ask(client, route, header, **fields):
    """A request of five seconds to `route`, with what its header says."""
    headers = {"X-Request-Timeout": header}
    if route == "/v1/images/edits":
        return client.post(route, data={**FORM, **fields}, files={"image": png()}, headers=headers)
    if route == "/process":
        options = {"width": 64, "height": 64, "steps": 100, **fields}
        return client.post(route, json={"prompt": "a cat", "options": options}, headers=headers)
    return client.post(route, json={**BODY, **fields}, headers=headers)


@pytest.mark.parametrize("route", ["/process", "/v1/images/generations", "/v1/images/edits"])
def test_the_header_ends_a_request_of_every_route(slow, route):
    answer = ask(slow, route, "0.2")
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
    wait_until(lambda: slow.get("/health").json()["running"] == 0, seconds=5)


@pytest.mark.parametrize(("header", "body"), [("0.2", 60), ("60", 0.2)])
def test_the_least_of_header_and_body_wins(slow, header, body):
    begun = time.monotonic()
    assert ask(slow, "/v1/images/generations", header, timeout=body).status_code == 504
    assert time.monotonic() - begun < 4


def test_the_header_cannot_lift_what_the_worker_allows():
    with serve(**SLOW, request_timeout=0.2) as client:
        assert ask(client, "/v1/images/generations", "600").status_code == 504


def test_a_time_that_is_over_costs_no_step(slow):
    answer = ask(slow, "/v1/images/generations", "0")
    assert answer.status_code == 504
    assert slow.get("/health").json()["queue_depth"] == 0


@pytest.mark.parametrize("header", ["", "soon", "-1", "nan", "inf", "1e3", "5s", "٣", "1" * 400])
def test_a_header_that_is_no_time_is_named(slow, header):
    answer = ask(slow, "/v1/images/generations", header.encode())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-Request-Timeout")


def test_a_time_that_is_long_enough_changes_nothing():
    with serve() as client:
        alone = draw(client).json()["data"]
        body = {"prompt": "a cat", "size": "64x64", "num_inference_steps": 2, "seed": 1}
        answer = client.post("/v1/images/generations", json=body, headers={"X-Request-Timeout": "999999999.5"})
        assert answer.json()["data"] == alone


def test_what_the_body_took_to_arrive_is_gone_from_the_time(slow):
    def trickle():
        yield b'{"prompt": "a cat", "size": "64x64", '
        time.sleep(0.4)
        yield b'"num_inference_steps": 100}'

    def begun():
        return slow.worker.metrics.registry.get_sample_value("worker_queue_wait_seconds_count")

    wait_until(lambda: slow.get("/health").json()["running"] == 0)
    before = begun()
    headers = {"X-Request-Timeout": "0.3", "Content-Type": "application/json"}
    answer = slow.post("/v1/images/generations", content=trickle(), headers=headers)
    assert answer.status_code == 504
    # Counted from the body's end there would have been time for a step.
    assert begun() == before
