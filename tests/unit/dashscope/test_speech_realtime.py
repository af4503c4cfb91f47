"""The realtime protocol without a socket: what is said, what is heard, and when it is certain that all was spoken."""

from __future__ import annotations

import base64
import json

import pytest

from pixvox.errors import ProviderInternalError
from pixvox.providers.dashscope.realtime import Dialogue, FaultError


def event(kind, **members):
    return json.dumps({"event_id": "event_1", "type": kind, **members})


def delta(audio):
    return event("response.audio.delta", response_id="r", item_id="i", delta=base64.b64encode(audio).decode())


def done(characters=None, status="completed"):
    usage = None if characters is None else {"characters": characters}
    return event("response.done", response={"id": "r", "status": status, "usage": usage})


CREATED = event("session.created", session={"id": "sess_1", "model": "m"})
UPDATED = event("session.updated", session={"id": "sess_1", "model": "m", "language_type": "Auto"})
OPENED = event("response.created", response={"id": "r", "status": "in_progress", "output": []})
FINISHED = event("session.finished")


@pytest.fixture
def dialogue():
    dialogue = Dialogue()
    for message in (CREATED, UPDATED):
        dialogue.heard(message)
    return dialogue


def test_the_session_is_created_and_then_updated():
    dialogue = Dialogue()
    assert not dialogue.created
    dialogue.heard(CREATED)
    assert (dialogue.created, dialogue.updated, dialogue.id) == (True, False, "sess_1")
    dialogue.heard(UPDATED)
    assert dialogue.updated


def test_the_settings_ask_for_bare_samples_and_leave_open_what_the_caller_does():
    said = json.loads(Dialogue().update({"voice": "Cherry", "language_type": "Auto", "volume": 60}))
    assert said.pop("event_id").startswith("event_")
    assert said == {
        "type": "session.update",
        "session": {
            "voice": "Cherry",
            "language_type": "Auto",
            "volume": 60,
            "mode": "commit",
            "response_format": "pcm",
            "sample_rate": 24000,
        },
    }


def test_every_message_has_an_id_of_its_own():
    dialogue = Dialogue()
    messages = [dialogue.update({}), *dialogue.speak("a"), *dialogue.speak("b"), dialogue.finish()]
    assert len({json.loads(message)["event_id"] for message in messages}) == len(messages)


def test_text_is_sent_together_with_its_commit(dialogue):
    append, commit = (json.loads(message) for message in dialogue.speak("Grüße"))
    assert (append["type"], append["text"]) == ("input_text_buffer.append", "Grüße")
    assert commit["type"] == "input_text_buffer.commit"


def test_every_delta_is_handed_on_at_once(dialogue):
    assert dialogue.heard(delta(b"\1\2\3\4")) == b"\1\2\3\4"
    assert dialogue.heard(delta(b"")) == b""
    assert dialogue.samples == 2


def test_half_a_sample_waits_for_its_other_half(dialogue):
    assert dialogue.heard(delta(b"\1\2\3")) == b"\1\2"
    assert dialogue.heard(delta(b"\4")) == b"\3\4"
    assert dialogue.heard(delta(b"\5")) == b""
    assert dialogue.heard(delta(b"\6\7")) == b"\5\6"
    assert dialogue.samples == 3


def test_half_a_sample_at_the_end_of_a_response_does_not_spoil_the_next(dialogue):
    dialogue.heard(delta(b"\1\2\3"))
    dialogue.heard(done(1))
    assert dialogue.heard(delta(b"\4\5")) == b"\4\5"


def test_a_commit_is_under_way_until_its_response_is_done(dialogue):
    assert not dialogue.busy
    dialogue.spoken_for("abc")
    for message in (event("input_text_buffer.committed", item_id=""), OPENED, delta(b"\0\0")):
        dialogue.heard(message)
        assert dialogue.busy
        assert dialogue.expecting
    dialogue.heard(done(3))
    assert not dialogue.busy
    assert not dialogue.expecting


def test_the_acknowledgement_may_come_behind_the_beginning_of_the_response(dialogue):
    dialogue.spoken_for("abc")
    for message in (OPENED, event("input_text_buffer.committed"), done(3)):
        dialogue.heard(message)
    assert dialogue.exact


def test_it_is_certain_that_all_was_spoken_when_the_characters_add_up(dialogue):
    assert dialogue.exact
    dialogue.spoken_for("汉字 ok")
    assert not dialogue.exact
    dialogue.heard(done(3))
    assert not dialogue.exact
    dialogue.heard(OPENED)
    dialogue.heard(done(4))
    assert dialogue.exact
    assert dialogue.characters == 7


@pytest.mark.parametrize("characters", [2, 4, None])
def test_where_the_vendor_counts_otherwise_only_the_end_of_the_session_is_certain(dialogue, characters):
    dialogue.spoken_for("abc")
    dialogue.heard(done(characters))
    assert not dialogue.busy
    assert not dialogue.exact
    dialogue.finish()
    assert dialogue.expecting
    dialogue.heard(FINISHED)
    assert dialogue.exact
    assert not dialogue.expecting


def test_the_characters_of_all_responses_are_billed(dialogue):
    dialogue.spoken_for("abcdef")
    dialogue.heard(done(2))
    dialogue.heard(done(5))
    assert dialogue.billed == 7


def test_characters_that_the_vendor_does_not_count_are_counted_here(dialogue):
    dialogue.spoken_for("汉字")
    dialogue.heard(done(None))
    assert dialogue.billed == 4


def test_only_session_finished_is_the_end(dialogue):
    dialogue.spoken_for("abc")
    dialogue.finish()
    for message in (OPENED, event("response.audio.done"), done(3)):
        dialogue.heard(message)
        assert not dialogue.finished
        assert dialogue.expecting
    dialogue.heard(FINISHED)
    assert dialogue.finished


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "invalid_value", "message": "no"}, "invalid_value"),
        ({"type": "invalid_request_error", "code": "invalid_value", "message": "no", "param": None}, "invalid_value"),
        ({"type": "invalid_request_error", "message": "no"}, "invalid_request_error"),
        ({"code": 418, "message": "no"}, "418"),
        ({}, ""),
    ],
)
def test_an_error_ends_the_session_with_what_the_vendor_said(dialogue, error, code):
    with pytest.raises(FaultError) as raised:
        dialogue.heard(event("error", error=error))
    complaint = raised.value.complaint
    assert (complaint.code, complaint.message) == (code, error.get("message", ""))
    assert complaint.request_id == "sess_1"


@pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled"])
def test_a_response_that_was_not_completed_is_a_failure(dialogue, status):
    dialogue.spoken_for("abc")
    with pytest.raises(ProviderInternalError) as raised:
        dialogue.heard(done(3, status))
    assert raised.value.metadata["provider_request_id"] == "sess_1"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        b"\xff",
        event("response.audio.delta", delta="%%%"),
        event("session.created", session=1),
    ],
)
def test_a_message_that_makes_no_sense_is_a_failure(dialogue, message):
    with pytest.raises(ProviderInternalError):
        dialogue.heard(message)


def test_events_that_nobody_knows_yet_change_nothing(dialogue):
    before = vars(dialogue).copy()
    assert dialogue.heard(event("response.audio_transcript.delta", text="abc", delta=None)) == b""
    assert vars(dialogue) == before
