"""Qwen3-TTS that is not let to its end: the model is left at its next frame, and speaks again as before."""

from __future__ import annotations

import httpx
import pytest
import torch
from serving_worker import serve, wait_until
from speech_calls import SAY, busy, connect, events, hang_up_while_it_runs, heard, metric, say

from pixvox_worker.engines.qwen_tts import QwenTtsEngine
from pixvox_worker.settings import Device, Settings

PATH = "/v1/audio/speech"
RAW = {"stream": True, "stream_format": "audio", "response_format": "pcm"}
EVENTS = {"stream": True}
WHOLE = {}
SHORT = {"max_new_tokens": 20}
SHAPES = pytest.mark.parametrize("shape", [WHOLE, RAW, EVENTS], ids=["whole", "raw", "events"])


class Endless(QwenTtsEngine):
    """Never samples the end, so that a speech is as long as it may be: half a minute of work here."""

    def load(self):
        super().load()
        talker = self.package.model.talker
        talker.codec_head.weight.data[talker.config.codec_eos_token_id] = 0
        talker.register_forward_hook(self._never_end)

    @staticmethod
    def _never_end(talker, arguments, output):
        output.logits[..., talker.config.codec_eos_token_id] = -1e9


@pytest.fixture
def endless(tiny):
    folder = tiny / "qwen3-tts-custom-voice"
    with serve(
        folder, engine=Endless(Settings(model_name=str(folder), device=Device.CPU)), max_concurrent_requests=2
    ) as client:
        yield client


LONG = {"max_new_tokens": 4_096}


@SHAPES
def test_hanging_up_leaves_the_model_at_its_next_frame(endless, shape):
    expected = say(endless, **SHORT).content
    hang_up_while_it_runs(endless, PATH, {**SAY, **LONG, **shape})
    assert metric(endless, "worker_cancelled_total") == 1
    assert metric(endless, "worker_step_seconds_count") < 4_000
    assert say(endless, **SHORT).content == expected


@pytest.mark.parametrize("shape", [RAW, EVENTS], ids=["raw", "events"])
def test_hanging_up_while_it_is_heard_leaves_the_model(endless, shape):
    expected = say(endless, **SHORT).content
    with endless.stream("POST", PATH, json={**SAY, **LONG, **shape}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        assert busy(endless) == 1
    wait_until(lambda: busy(endless) == 0, seconds=10)
    assert say(endless, **SHORT).content == expected


def test_a_cancel_by_number_breaks_a_stream_off_in_the_middle_of_a_frame(endless):
    with endless.stream("POST", PATH, json={**SAY, **LONG, **RAW}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        assert endless.post(f"/job/{answer.headers['x-job-id']}/cancel").json()["status"] == "cancelled"
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    wait_until(lambda: busy(endless) == 0, seconds=10)
    assert say(endless, **SHORT).status_code == 200


@SHAPES
def test_what_waits_is_taken_back_at_once_and_one_more_is_too_many(endless, shape):
    with endless.stream("POST", PATH, json={**SAY, **LONG, **RAW}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        with connect(endless, PATH, {**SAY, **shape}):
            wait_until(lambda: busy(endless) == 2)
            assert say(endless).status_code == 429
        wait_until(lambda: busy(endless) == 1, seconds=5)


@SHAPES
def test_a_deadline_ends_what_runs(endless, shape):
    answer = None
    if shape is RAW:
        with pytest.raises(httpx.RemoteProtocolError):
            say(endless, **LONG, **shape, headers={"X-Request-Timeout": "1"})
    else:
        answer = say(endless, **LONG, **shape, headers={"X-Request-Timeout": "1"})
    if shape is WHOLE:
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
    if shape is EVENTS:
        name, last = events(answer.text)[-1]
        assert (name, last["error"]["code"], last["partial_audio"]) == ("speech.audio.error", 504, True)
    wait_until(lambda: busy(endless) == 0, seconds=10)
    assert say(endless, **SHORT).status_code == 200


@SHAPES
def test_a_deadline_ends_what_waits(endless, shape):
    with endless.stream("POST", PATH, json={**SAY, **LONG, **RAW}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        assert say(endless, **shape, timeout=0.3).status_code == 504


def broken(error, *, after):
    """A hook on the talker that fails after so many steps."""
    steps = []

    def fail(*_):
        steps.append(1)
        if len(steps) > after:
            raise error

    return fail


@SHAPES
@pytest.mark.parametrize(
    ("error", "status"),
    [(torch.OutOfMemoryError(), 503), (RuntimeError("can't allocate memory"), 503), (RuntimeError("/secret"), 500)],
    ids=["gpu", "cpu", "broken"],
)
def test_a_model_that_fails_before_the_first_sound_costs_one_request(endless, shape, error, status):
    expected = say(endless, **SHORT).content
    hook = endless.worker.engine.package.model.talker.register_forward_pre_hook(broken(error, after=2))
    answer = say(endless, **LONG, **shape)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == ("out_of_memory" if status == 503 else "internal_error")
    assert "secret" not in answer.text
    hook.remove()
    assert say(endless, **SHORT).content == expected


def test_a_model_that_fails_after_the_first_sound_breaks_off(endless):
    talker = endless.worker.engine.package.model.talker
    hook = talker.register_forward_pre_hook(broken(torch.OutOfMemoryError(), after=150))
    with pytest.raises(httpx.RemoteProtocolError):
        say(endless, **LONG, **RAW)
    hook.remove()
    hook = talker.register_forward_pre_hook(broken(torch.OutOfMemoryError(), after=150))
    found, (name, last) = heard(say(endless, **LONG, **EVENTS).text)
    hook.remove()
    assert found.size
    assert (name, last["error"]["type"], last["partial_audio"]) == ("speech.audio.error", "out_of_memory", True)
    assert metric(endless, "worker_out_of_memory_total") == 2
    assert say(endless, **SHORT).status_code == 200


def test_a_listener_that_does_not_read_slows_nobody(endless):
    with connect(endless, PATH, {**SAY, "max_new_tokens": 300, **RAW}, receive_buffer=4_096):
        wait_until(lambda: metric(endless, "worker_ttfa_seconds_count") == 1)
        assert say(endless, **SHORT).status_code == 200
