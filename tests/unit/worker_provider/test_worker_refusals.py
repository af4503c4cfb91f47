"""What workers' answers mean: to the caller, and for the other workers."""

from __future__ import annotations

import json

import pytest

from pixvox.errors import reason_name
from pixvox.providers.worker.refusals import (
    Complaint,
    complaint_in,
    complaint_of,
    declined,
    error_of,
    ids_of,
    load_of,
    retry_seconds,
)
from pixvox.upstream import Reply
from pixvox.upstream.pool import Decline, Load


def reply(status, content=None, **headers):
    body = content if isinstance(content, bytes) else json.dumps(content if content is not None else {}).encode()
    return Reply(status, headers, body)


def refused(status, kind="internal_error", param=None, **headers):
    error = {"message": "A secret path: /secrets/key.", "type": kind, "param": param, "code": status}
    return reply(status, {"error": error, "success": False, "message": error["message"]}, **headers)


@pytest.mark.parametrize(
    ("given", "reason", "replay"),
    [
        (refused(400, "invalid_request_error"), "INVALID_PARAMETER", None),
        (refused(400, "invalid_request_error", "voice"), "VOICE_NOT_FOUND", None),
        (refused(400, "unsupported_task"), "PROVIDER_CONFIG", None),
        (refused(404, "not_found_error", "voice"), "VOICE_NOT_FOUND", None),
        (refused(404, "not_found_error", "model"), "PROVIDER_CONFIG", None),
        (refused(429, "overloaded_error"), "RATE_LIMITED", None),
        (refused(499, "cancelled"), "PROVIDER_DISCONNECTED", "accepted"),
        (refused(500), "PROVIDER_INTERNAL", "accepted"),
        (refused(503, "out_of_memory"), "PROVIDER_UNAVAILABLE", None),
        (refused(504, "timeout_error"), "PROVIDER_TIMEOUT", "accepted"),
        (reply(503, {"detail": "Model not loaded"}), "PROVIDER_UNAVAILABLE", None),
        (reply(502, b"<html>"), "OUTCOME_UNKNOWN", "ambiguous"),
        (reply(301, b""), "PROVIDER_CONFIG", None),
        (reply(418, b""), "PROVIDER_REJECTED", None),
        (reply(507, b""), "PROVIDER_INTERNAL", "accepted"),
    ],
)
def test_an_answer_becomes_the_error_that_says_whether_another_may_be_asked(given, reason, replay):
    error = error_of(complaint_of(given))
    assert reason_name(error.reason) == reason
    assert error.metadata.get("replay") == replay
    assert "secret" not in str(error)


def test_what_has_begun_to_sound_is_never_said_to_have_done_nothing():
    event = json.dumps({"type": "speech.audio.error", "error": {"type": "out_of_memory", "code": 503}}).encode()
    error = error_of(complaint_in(event, "req-1"), committed=True)
    assert reason_name(error.reason) == "PROVIDER_INTERNAL"
    assert error.metadata == {"provider_code": "out_of_memory", "provider_request_id": "req-1", "replay": "committed"}


@pytest.mark.parametrize("event", [b"[]", b"{", b'{"error": "text"}', b'{"error": {"code": "x", "type": 3}}'])
def test_an_error_event_of_any_shape_is_an_error(event):
    assert reason_name(error_of(complaint_in(event, "")).reason) == "PROVIDER_INTERNAL"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"status": 404, "type": "not_found_error", "param": "model"}, "serves another model"),
        ({"status": 400, "type": "unsupported_task"}, "/models tells which"),
        ({"status": 404, "type": "not_found_error"}, "such as /v1"),
        ({"status": 401, "type": "authentication_error"}, "API_KEY"),
        ({"status": 503, "type": "out_of_memory"}, "ran out of memory"),
        ({"status": 503, "type": "queue_timeout"}, "queue"),
        ({"status": 503, "type": "unavailable_error"}, "/health"),
        ({"status": 400, "param": "num_inference_steps{x}"}, "which it calls num_inference_stepsx."),
        ({"status": 400, "param": "{}"}, "refused a value of the request."),
    ],
)
def test_an_operator_is_told_what_to_look_at(given, words):
    assert words in error_of(Complaint(**given)).message


def test_how_long_to_wait_is_handed_on_where_waiting_helps():
    assert error_of(complaint_of(refused(429, **{"Retry-After": "7"}))).retry_after == 7
    assert error_of(complaint_of(refused(429))).retry_after == 1
    assert error_of(complaint_of(refused(503, "unavailable_error", **{"Retry-After": "5"}))).retry_after == 5
    assert error_of(complaint_of(refused(500, **{"Retry-After": "5"}))).retry_after is None
    assert (retry_seconds(refused(429)), retry_seconds(refused(503))) == (1.0, None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (refused(429, "overloaded_error"), Decline.BUSY),
        (refused(503, "unavailable_error"), Decline.DOWN),
        (reply(503, b"upstream connect error"), Decline.DOWN),
        (refused(503, "out_of_memory"), None),
        (refused(503, "queue_timeout"), None),
        # One that was restarted with another model.
        (reply(404, {"error": {"type": "not_found_error", "param": "model"}}), Decline.BUSY),
        (refused(400, "unsupported_task"), Decline.BUSY),
        (refused(404, "not_found_error"), None),
        (refused(500), None),
        (reply(200), None),
    ],
)
def test_only_what_was_not_begun_goes_to_another_worker(given, expected):
    assert declined(given) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (reply(200, {"status": "ready", "model_loaded": True, "queue_depth": 3, "running": 1}), Load(True, 4)),
        (reply(503, {"status": "loading", "model_loaded": False, "queue_depth": 0, "running": 0}), Load(False)),
        (reply(503, {"status": "stopping", "model_loaded": True, "queue_depth": 0, "running": 1}), Load(False, 1)),
        # The earlier container says 200 whatever it means.
        (reply(200, {"status": "unhealthy", "model_loaded": False}), Load(False)),
        (reply(200, {"status": "healthy", "model_loaded": True, "model_info": {}}), Load(True)),
        (reply(404, {"detail": "Not Found"}), Load(True)),
        (reply(200, b"ok"), Load(True)),
        (reply(502, b"<html>"), Load(False)),
        (reply(200, {"status": "ready", "queue_depth": -5, "running": "many"}), Load(True)),
        (reply(200, b"[1]"), Load(True)),
        (reply(200, {"status": [], "model_loaded": {}, "queue_depth": [1], "running": None}), Load(True)),
    ],
)
def test_how_a_worker_is_is_read_from_what_it_says_rather_than_from_its_status(given, expected):
    assert load_of(given) == expected


def test_a_reply_is_known_by_its_ids():
    found = ids_of(refused(400, "invalid_request_error", **{"X-Request-Id": "r 1", "X-Job-Id": "j1"}))
    assert (found.request, found.task, found.code) == ("r1", "j1", "invalid_request_error")
