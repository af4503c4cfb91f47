"""Voices that callers leave with the worker: kept with consent, under clean names, within bounds, and forgotten."""

from __future__ import annotations

import json

import numpy as np
import pytest
from serving_worker import serve
from speech_calls import recording, samples, say, text

from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.settings import Settings


@pytest.fixture
def worker():
    with serve(max_recording_mb=1, max_voices=3) as client:
        yield client


def leave(client, name="Anna", consent="in writing, 2026-11-21", sample=None, **fields):
    files = {} if sample == b"" else {"audio_sample": ("a.wav", sample or recording())}
    # With a boundary also where there is no file.
    fields = {"name": name, "consent": consent, **fields}
    parts = {key: (None, value) for key, value in fields.items() if value is not None}
    return client.post("/v1/audio/voices", files={**parts, **files})


def names(client):
    return [voice["name"] for voice in client.get("/v1/audio/voices").json()["uploaded_voices"]]


def test_a_voice_is_listed_spoken_with_and_forgotten(worker):
    answer = leave(worker, ref_text="a tone", speaker_description="high")
    assert answer.status_code == 200, answer.text
    listed = worker.get("/v1/audio/voices").json()
    assert {"ryan", "anna"} <= set(listed["voices"])
    shown = listed["uploaded_voices"][0]
    assert (shown["name"], shown["consent"], shown["mime_type"]) == ("anna", "in writing, 2026-11-21", "audio/wav")
    assert (shown["file_size"], shown["ref_text"]) == (len(recording()), "a tone")
    assert shown["created_at"] > 0
    by_name = say(worker, voice="ANNA")
    sent = say(worker, voice=None, ref_audio=text(recording()), ref_text="a tone")
    assert by_name.status_code == 200, by_name.text
    assert np.array_equal(samples(by_name.content)[0], samples(sent.content)[0])
    assert worker.delete("/v1/audio/voices/Anna").json() == {"success": True, "name": "anna"}
    assert names(worker) == []
    assert say(worker, voice="anna", task_type="Base").status_code == 400
    assert worker.delete("/v1/audio/voices/Anna").status_code == 404


def test_a_voice_without_a_transcript_is_copied_without_its_manner(worker):
    leave(worker)
    alone = say(worker, voice="anna")
    same = say(worker, voice=None, ref_audio=text(recording()), x_vector_only_mode=True)
    assert alone.content == same.content


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"consent": None}, 400, "consent"),
        ({"consent": " "}, 400, "consent"),
        ({"consent": "false"}, 400, "consent"),
        ({"name": None}, 400, "name"),
        ({"name": "../anna"}, 400, "name"),
        ({"name": "/etc/passwd"}, 400, "name"),
        ({"name": "a.b"}, 400, "name"),
        ({"name": ".hidden"}, 400, "name"),
        ({"name": "anna\n"}, None, None),
        ({"name": "x" * 65}, 400, "name"),
        ({"name": "ännä"}, 400, "name"),
        ({"name": "Ryan"}, 400, "name"),
        ({"ref_text": "x" * 2_001}, 400, "ref_text"),
        ({"speaker_embedding": "[0.1]"}, 400, "speaker_embedding"),
        ({"sample": b""}, 400, "audio_sample"),
        ({"sample": b"no sound"}, 415, "audio_sample"),
        ({"sample": recording(seconds=0.5)}, 400, "audio_sample"),
        ({"sample": recording(seconds=31, rate=8_000)}, 400, "audio_sample"),
        ({"sample": recording(seconds=29, rate=48_000)}, 413, "audio_sample"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value),
)
def test_a_bad_voice_is_refused(worker, fields, status, param):
    answer = leave(worker, **fields)
    if status is None:
        # Blanks around a name are none of it.
        assert answer.json()["voice"]["name"] == "anna"
        return
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert names(worker) == []


def test_json_is_no_form(worker):
    assert worker.post("/v1/audio/voices", json={"name": "anna"}).status_code == 400


def test_a_name_is_taken_once_and_there_is_room_for_so_many(worker):
    assert leave(worker).status_code == 200
    assert leave(worker, name="anna").status_code == 409
    assert leave(worker, name="b").status_code == leave(worker, name="c").status_code == 200
    assert leave(worker, name="d").status_code == 409
    worker.delete("/v1/audio/voices/b")
    assert leave(worker, name="d").status_code == 200


def test_all_voices_together_have_so_many_bytes():
    with serve(max_voices_mb=1) as client:
        assert leave(client, sample=recording(seconds=30, rate=16_000)).status_code == 200
        assert leave(client, name="b", sample=recording(seconds=30, rate=16_000)).status_code == 409


def test_voices_in_a_folder_outlive_the_worker_and_one_damaged_file_costs_no_other(tmp_path):
    with serve(voices_dir=str(tmp_path / "voices")) as client:
        leave(client, ref_text="a tone")
        leave(client, name="bert")
        expected = say(client, voice="anna").content
    for damaged in ("{", "[]", json.dumps({"name": "../../x"})):
        (tmp_path / "voices" / "damaged.json").write_text(damaged)
        with serve(voices_dir=str(tmp_path / "voices")) as client:
            assert names(client) == ["anna", "bert"]
            assert say(client, voice="anna").content == expected
    with serve(voices_dir=str(tmp_path / "voices")) as client:
        client.delete("/v1/audio/voices/anna")
    left = {file.suffix for file in (tmp_path / "voices").iterdir() if file.name != "damaged.json"}
    assert left == {".json", ".sound"}
    assert "anna" not in " ".join(str(file) for file in tmp_path.rglob("*"))


def test_what_the_model_made_of_a_recording_goes_with_it():
    forgotten = []

    class Remembering(FakeEngine):
        def forget(self, digest):
            forgotten.append(digest)

    with serve(engine=Remembering(Settings())) as client:
        leave(client)
        client.delete("/v1/audio/voices/anna")
    assert len(forgotten) == 1


def test_a_model_that_clones_nothing_keeps_no_voices():
    with serve(fake_capabilities="custom-voice") as client:
        assert leave(client).json()["error"]["type"] == "unsupported_task"
        assert "ryan" in client.get("/v1/audio/voices").json()["voices"]
    with serve(fake_capabilities="voice-clone") as client:
        assert client.get("/v1/audio/voices").json() == {"voices": [], "uploaded_voices": []}
        assert leave(client, name="ryan").status_code == 200
