"""Speech that does not come to its end: callers that leave, that do not read, that are too many, engines that break."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving_worker import serve, wait_until
from speech_calls import SAY, busy, connect, events, hang_up_while_it_runs, heard, metric, say

from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.failures import OutOfMemory
from pixvox_worker.routes import speech
from pixvox_worker.settings import Settings

SLOW = {"fake_step_seconds": 0.05}
# Four minutes: it takes ten seconds at the pace above.
LONG = {"input": "so " * 1_300}
EVENTS = {"stream": True}
RAW = {"stream": True, "stream_format": "audio", "response_format": "pcm"}
WHOLE = {}
PATH = "/v1/audio/speech"


class Breaking(FakeEngine):
    """Fails after so many pieces, once, and takes a moment for each."""

    def __init__(self, pieces, error, pause=0.0):
        super().__init__(Settings(fake_step_seconds=pause))
        self.left, self.error = pieces, error

    def speak(self, task, listener):
        engine = self

        class Counting:
            frame = listener.frame

            def piece(self, pcm):
                if engine.left == 0:
                    engine.left = -1
                    raise engine.error
                engine.left -= 1
                listener.piece(pcm)

        return super().speak(task, Counting())


@contextlib.contextmanager
def streaming(client, **fields):
    """The beginning of an answer, and the pieces that are still to come."""
    with client.stream("POST", PATH, json={**SAY, **fields}) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        yield answer, pieces


@pytest.mark.parametrize("shape", [WHOLE, RAW, EVENTS], ids=["whole", "raw", "events"])
def test_hanging_up_takes_the_speech_back(shape):
    with serve(**SLOW) as client:
        hang_up_while_it_runs(client, PATH, {**SAY, **LONG, **shape})
        assert metric(client, "worker_cancelled_total") == 1
        assert say(client).status_code == 200


@pytest.mark.parametrize("shape", [RAW, EVENTS], ids=["raw", "events"])
def test_hanging_up_in_the_middle_stops_the_model(shape):
    with serve(**SLOW) as client:
        with streaming(client, **LONG, **shape):
            assert busy(client) == 1
        wait_until(lambda: busy(client) == 0, seconds=5)
        assert metric(client, "worker_cancelled_total") == 1
        assert say(client).status_code == 200


@pytest.mark.parametrize("shape", [WHOLE, RAW, EVENTS], ids=["whole", "raw", "events"])
def test_hanging_up_in_the_queue_frees_the_place_at_once(shape):
    with serve(**SLOW, max_concurrent_requests=2) as client, streaming(client, **LONG, **RAW):
        with connect(client, PATH, {**SAY, **shape}):
            wait_until(lambda: busy(client) == 2)
            assert say(client).status_code == 429
        wait_until(lambda: busy(client) == 1, seconds=5)
        with connect(client, PATH, SAY):
            wait_until(lambda: busy(client) == 2)


def test_a_stream_that_is_cancelled_by_its_number_breaks_off():
    with serve(**SLOW) as client:
        with streaming(client, **LONG, **RAW) as (answer, pieces):
            job = answer.headers["x-job-id"]
            assert client.get(f"/job/{job}/status").json()["status"] == "running"
            assert client.post(f"/job/{job}/cancel").json()["status"] == "cancelled"
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        with streaming(client, **LONG, **EVENTS) as (answer, pieces):
            client.post(f"/job/{answer.headers['x-job-id']}/cancel")
            name, last = events(b"".join(pieces).decode())[-1]
            assert (name, last["error"]["type"]) == ("speech.audio.error", "cancelled")
        wait_until(lambda: busy(client) == 0, seconds=5)


def test_the_result_of_speech_is_not_kept_for_others():
    with serve(**SLOW) as client, streaming(client, **LONG, **RAW) as (answer, _):
        assert client.get(f"/job/{answer.headers['x-job-id']}/result").status_code == 202


@pytest.mark.parametrize("shape", [WHOLE, RAW, EVENTS], ids=["whole", "raw", "events"])
def test_what_is_too_much_is_refused_with_a_guess_when_to_come_again(shape):
    with serve(**SLOW, max_concurrent_requests=1) as client, streaming(client, **LONG, **RAW):
        answer = say(client, **shape)
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "overloaded_error")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("how", ["body", "header"])
@pytest.mark.parametrize("shape", [WHOLE, RAW, EVENTS], ids=["whole", "raw", "events"])
def test_a_deadline_in_the_queue_is_a_504(shape, how):
    with serve(**SLOW) as client, streaming(client, **LONG, **RAW):
        given = {"timeout": 0.3} if how == "body" else {"headers": {"X-Request-Timeout": "0.3"}}
        answer = say(client, **shape, **given)
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
        assert busy(client) == 1


def test_a_deadline_in_the_model_ends_each_shape_in_its_way():
    with serve(**SLOW) as client:
        whole = say(client, **LONG, timeout=0.4)
        assert (whole.status_code, whole.json()["error"]["type"]) == (504, "timeout_error")
        found, (name, last) = heard(say(client, **LONG, **EVENTS, timeout=0.6).text)
        assert found.size
        assert (name, last["partial_audio"], last["action"]) == ("speech.audio.error", True, "discard")
        assert last["error"] == {
            "message": last["error"]["message"],
            "type": "timeout_error",
            "param": None,
            "code": 504,
        }
        with pytest.raises(httpx.RemoteProtocolError):
            say(client, **LONG, **RAW, timeout=0.6)
        wait_until(lambda: busy(client) == 0, seconds=5)
        assert say(client).status_code == 200


@pytest.mark.parametrize("shape", [WHOLE, RAW, EVENTS], ids=["whole", "raw", "events"])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [(RuntimeError("/secret/path"), 500, "internal_error"), (OutOfMemory("No room."), 503, "out_of_memory")],
    ids=["broken", "memory"],
)
def test_an_engine_that_dies_before_the_first_sound_gives_a_status(shape, error, status, kind):
    with serve(engine=Breaking(0, error)) as client:
        answer = say(client, **shape)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert "secret" not in answer.text
        assert say(client, **shape).status_code == 200


def test_an_engine_that_dies_after_the_first_sound_breaks_a_raw_stream_off():
    with serve(engine=Breaking(1, RuntimeError("/secret/path"), pause=0.3)) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            say(client, **RAW)
        assert say(client, **RAW).status_code == 200


def test_an_engine_that_dies_after_the_first_sound_says_so_in_events():
    with serve(engine=Breaking(1, RuntimeError("/secret/path"), pause=0.3)) as client:
        found, (name, last) = heard(say(client, **EVENTS).text)
        assert found.size
        assert (name, last["error"]["type"], last["action"]) == ("speech.audio.error", "internal_error", "discard")
        assert (last["partial_audio"], "secret" in str(last)) == (True, False)
        assert heard(say(client, **EVENTS).text)[1][0] == "speech.audio.done"


def test_a_listener_that_does_not_read_slows_nobody():
    with serve() as client, connect(client, PATH, {**SAY, **LONG, **RAW}, receive_buffer=4_096):
        assert say(client).status_code == 200
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda seed: say(client, seed=seed).status_code == 200, range(8)))


def test_listeners_that_do_not_read_lose_the_speech_once_there_is_too_much_of_it():
    with serve(max_unread_mb=1) as client:
        with connect(client, PATH, {**SAY, **LONG, **RAW}, receive_buffer=4_096) as connection:
            wait_until(lambda: metric(client, "worker_ttfa_seconds_count") == 1)
            # Whoever reads is not touched by it.
            assert say(client, **LONG, **RAW).status_code == 200
            connection.settimeout(20)
            received = 0
            while piece := connection.recv(1_000_000):
                received += len(piece)
                ended_well = piece.endswith(b"0\r\n\r\n")
            assert not ended_well
            assert 0 < received < 12_000_000
        wait_until(lambda: busy(client) == 0, seconds=5)


def test_a_listener_that_does_not_read_is_let_go_at_its_deadline():
    with (
        serve() as client,
        connect(client, PATH, {**SAY, **LONG, **RAW, "timeout": 1}, receive_buffer=4_096) as connection,
    ):
        wait_until(lambda: client.worker.jobs._jobs, seconds=5)
        wait_until(lambda: not client.worker.jobs._jobs, seconds=10)
        connection.settimeout(20)
        while piece := connection.recv(1_000_000):
            ended_well = piece.endswith(b"0\r\n\r\n")
        assert not ended_well


def test_events_that_wait_keep_the_connection_alive(monkeypatch):
    monkeypatch.setattr(speech, "_QUIET_SECONDS", 0.05)
    may = threading.Event()

    class Waiting(FakeEngine):
        def speak(self, task, listener):
            assert may.wait(30)
            return super().speak(task, listener)

    with serve(engine=Waiting(Settings())) as client:
        with client.stream("POST", PATH, json={**SAY, **EVENTS}) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith(": encoding")
            may.set()
            assert "event: speech.audio.done" in list(lines)
        with ThreadPoolExecutor(1) as pool:
            may.clear()
            waiting = pool.submit(say, client, **EVENTS, timeout=0.5)
            name, last = events(waiting.result().text)[-1]
            assert (name, last["partial_audio"], last["error"]["code"]) == ("speech.audio.error", False, 504)
            may.set()
