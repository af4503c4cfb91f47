"""What engines say of their load and of themselves, read from their replies."""

from __future__ import annotations

import pytest

from pixvox.providers.openai.dialects import DIALECTS
from pixvox.providers.openai.health import declined, probe_of, root_of
from pixvox.upstream import Reply
from pixvox.upstream.pool import Decline, Load

METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 2.0
vllm:num_requests_running{engine="1",model_name="a b"} 1.0
vllm:num_requests_waiting{engine="0"} 4.0
vllm:num_requests_waiting_total 100.0
vllm_omni:num_requests_running 5.0
other:num_requests_running 90.0
"""


def told(body=b"", status=200, dialect="vllm_omni"):
    return probe_of(DIALECTS[dialect], {}, 1.0).read(Reply(status, {}, body))


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        (METRICS, 7),
        (METRICS.replace(b" 5.0", b" 50.0"), 50),
        (b"worker_queue_depth 3.0\nworker_running 1.0\n", 4),
        (b"vllm:num_requests_running 1e300\n", 1_000_000),
        (b"vllm:num_requests_running e\n", 0),
        (b"<html>", 0),
        (b"", 0),
    ],
)
def test_the_load_is_what_runs_and_what_waits(body, depth):
    assert told(body) == Load(ready=True, depth=depth)


@pytest.mark.parametrize("dialect", ["vllm_omni", "sglang", "kokoro", "speaches", "localai", "xinference"])
@pytest.mark.parametrize(("status", "ready"), [(200, True), (404, True), (500, False), (503, False)])
def test_an_engine_without_such_a_route_is_not_ill_for_that(dialect, status, ready):
    assert told(status=status, dialect=dialect) == Load(ready=ready)


def test_where_nothing_is_said_nothing_is_asked():
    assert probe_of(DIALECTS["openai"], {}, 1.0) is None
    assert probe_of(DIALECTS["vllm_omni"], {}, 0.0) is None


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://a:8000/v1", "http://a:8000"),
        ("http://a", "http://a"),
        ("https://a/engines/one/v1", "https://a/engines/one"),
        ("https://a/v12", "https://a/v12"),
    ],
)
def test_an_engine_says_how_it_is_beside_its_api(url, root):
    assert root_of(url) == root


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (429, b"", Decline.BUSY),
        (429, b'{"error":{"code":"insufficient_quota"}}', None),
        (503, b"", Decline.DOWN),
        (500, b'{"error":{"message":"The model is still loading."}}', Decline.DOWN),
        (500, b"", None),
        (400, b"", None),
        (200, b"", None),
    ],
)
def test_only_a_reply_that_says_that_nothing_was_done_sends_the_call_on(status, body, why):
    assert declined(Reply(status, {}, body)) is why
