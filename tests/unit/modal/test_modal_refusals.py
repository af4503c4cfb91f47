"""The edge's refusals are told from the worker's, and each becomes the right error."""

from __future__ import annotations

import json

import pytest

from pixvox import errors
from pixvox.errors import reason_name
from pixvox.providers.modal import refusals
from pixvox.upstream import Reply


def edge(status, text, **headers):
    return Reply(status, headers, f"modal-http: {text}".encode())


def worker(status, kind="x", **headers):
    return Reply(status, headers, json.dumps({"success": False, "error": {"type": kind, "message": "m"}}).encode())


def reason(reply, **how):
    return reason_name(refusals.error_of(refusals.complaint_of(reply), **how).reason)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (edge(401, "missing credentials for proxy authorization"), "PROVIDER_CREDENTIALS"),
        (edge(403, "no"), "PROVIDER_ACCESS_DENIED"),
        (edge(404, "app for invoked web endpoint is stopped"), "PROVIDER_UNAVAILABLE"),
        (edge(404, "workspace mine is disabled"), "PROVIDER_CONFIG"),
        (edge(408, "Missing request, possibly due to expiry or cancellation"), "OUTCOME_UNKNOWN"),
        (edge(429, "rate limit"), "RATE_LIMITED"),
        (edge(429, "Workspace billing cycle spend limit reached"), "PROVIDER_BILLING"),
        (Reply(429, {}, b"Workspace billing cycle spend limit reached"), "PROVIDER_BILLING"),
        (edge(500, "internal error: status Failure: TimeoutError('Waited too long for port')"), "PROVIDER_UNAVAILABLE"),
        (edge(500, "internal error: function was terminated by signal"), "PROVIDER_INTERNAL"),
        (edge(500, "internal error: Server has lost track of input"), "OUTCOME_UNKNOWN"),
        (edge(503, "no container"), "PROVIDER_UNAVAILABLE"),
        (Reply(404, {}, b"<html>not found</html>"), "PROVIDER_CONFIG"),
        (Reply(301, {}, b""), "PROVIDER_CONFIG"),
        (Reply(418, {}, b""), "PROVIDER_REJECTED"),
        (worker(400), "INVALID_PARAMETER"),
        (worker(400, "unsupported_task"), "PROVIDER_CONFIG"),
        (worker(404), "PROVIDER_CONFIG"),
        (worker(413), "INVALID_INPUT"),
        (worker(429), "RATE_LIMITED"),
        (worker(499), "PROVIDER_DISCONNECTED"),
        (worker(500), "PROVIDER_INTERNAL"),
        (worker(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
        (worker(504), "PROVIDER_TIMEOUT"),
        (Reply(401, {}, b'{"error": "Unauthorized"}'), "PROVIDER_CREDENTIALS"),
    ],
)
def test_each_refusal_means_one_thing(reply, expected):
    assert reason(reply) == expected


@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 502, 503])
def test_whatever_the_edge_says_of_accepted_work_leaves_its_outcome_unknown(status):
    error = refusals.error_of(refusals.complaint_of(edge(status, "invalid function call")), followed=True)
    assert isinstance(error, errors.OutcomeUnknownError)
    assert error.metadata["replay"] == "accepted"


def test_a_refusal_of_the_worker_is_one_after_a_redirect_as_well():
    assert reason(worker(400), followed=True) == "INVALID_PARAMETER"


def test_only_a_rate_limit_is_asked_again():
    assert refusals.retry_seconds(edge(429, "rate limit")) == refusals.RATE_SECONDS
    assert refusals.retry_seconds(worker(429)) == refusals.RATE_SECONDS
    assert refusals.retry_seconds(edge(429, "workspace billing cycle spend limit reached")) is None
    assert refusals.retry_seconds(edge(503, "no container")) is None


def test_only_what_says_that_nothing_is_up_is_cold():
    assert refusals.complaint_of(edge(503, "no container")).cold
    assert refusals.complaint_of(worker(503, "unavailable_error")).cold
    assert not refusals.complaint_of(worker(503, "out_of_memory")).cold
    assert not refusals.complaint_of(worker(503, "queue_timeout")).cold
    assert not refusals.complaint_of(edge(500, "no container")).cold


def test_no_word_of_theirs_gets_into_the_message():
    error = refusals.error_of(refusals.complaint_of(edge(404, "workspace hidden is disabled")))
    assert "hidden" not in error.message
    assert error.metadata == {"provider_code": "modal-http", "provider_request_id": ""}
