"""Good and bad answers of the route for speech, on the fake engine."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from serving_worker import draw, serve
from speech_calls import events, heard, loudness, metric, recording, samples, say, text

CLONE = {"voice": None, "ref_audio": text(recording()), "ref_text": "a tone"}
DESIGN = {"voice": None, "instructions": "an old man, hoarse"}


@pytest.fixture(scope="module")
def worker():
    with serve(max_recording_mb=1, max_input_characters=200, max_new_tokens=100) as client:
        yield client


def pcm(answer):
    assert answer.status_code == 200, answer.text
    return samples(answer.content)[0]


def test_speech_is_about_sixty_milliseconds_a_character_and_not_silent(worker):
    found = pcm(say(worker))
    assert len(found) / 24_000 == pytest.approx(len("good morning to you all") * 0.06, abs=0.08)
    assert 0.1 < loudness(found) < 1


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "good night to you all!!"},
        {"voice": "serena"},
        {"seed": 2},
        {"instructions": "whisper"},
        {"language": "German"},
        DESIGN,
        DESIGN | {"instructions": "a child"},
        CLONE,
        CLONE | {"ref_audio": text(recording(pitch=330))},
        CLONE | {"ref_text": "another tone"},
        CLONE | {"ref_text": None, "x_vector_only_mode": True},
    ],
    ids=",".join,
)
def test_it_depends_on_everything_and_on_nothing_else(worker, fields):
    found = pcm(say(worker, **fields))
    assert np.array_equal(found, pcm(say(worker, **fields)))
    assert not np.array_equal(found, pcm(say(worker)))


@pytest.mark.parametrize(
    ("format", "media_type", "begin"),
    [
        ("wav", "audio/wav", b"RIFF"),
        ("flac", "audio/flac", b"fLaC"),
        ("mp3", "audio/mpeg", b"\xff"),
        ("opus", "audio/ogg", b"OggS"),
        ("pcm", "audio/pcm", b""),
    ],
)
@pytest.mark.parametrize("rate", [24_000, 8_000])
def test_a_whole_answer_has_the_format_and_the_rate_that_were_asked_for(worker, format, media_type, begin, rate):
    answer = say(worker, response_format=format, sample_rate=rate)
    assert (answer.headers["content-type"], answer.headers["x-sample-rate"]) == (media_type, str(rate))
    assert answer.content.startswith(begin)
    if format == "pcm":
        assert len(answer.content) / 2 / rate == pytest.approx(1.38, abs=0.08)
    else:
        found, found_rate = samples(answer.content)
        assert found_rate == rate
        assert len(found) / rate == pytest.approx(1.38, abs=0.16)
        assert loudness(found) > 0.05


def test_a_whole_answer_says_its_seed_and_its_tokens(worker):
    answer = say(worker, seed=None)
    assert pcm(say(worker, seed=int(answer.headers["x-seed"]))).tolist() == pcm(answer).tolist()
    assert int(answer.headers["x-input-tokens"]) == 5
    assert int(answer.headers["x-output-tokens"]) * 1_920 == len(pcm(answer))


@pytest.mark.parametrize(
    "fields", [{"stream": True}, {"stream_format": "sse"}, {"stream": True, "stream_format": "sse"}]
)
def test_a_stream_of_events_says_the_same_as_the_whole_answer(worker, fields):
    answer = say(worker, **fields)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-sample-rate"] == "24000"
    found, (name, done) = heard(answer.text)
    assert np.array_equal(found, pcm(say(worker)))
    assert (name, done["seed"]) == ("speech.audio.done", 1)
    assert done["usage"] == {
        "input_tokens": 5,
        "output_tokens": len(found) // 1_920,
        "total_tokens": 5 + len(found) // 1_920,
    }
    pieces = [data for kind, data in events(answer.text) if kind == "speech.audio.delta"]
    assert len(pieces) > 1
    assert {(piece["response_format"], piece["sample_rate"]) for piece in pieces} == {("pcm", 24_000)}


@pytest.mark.parametrize(("format", "head"), [("pcm", 0), ("wav", 44)])
def test_a_raw_stream_says_the_same_as_the_whole_answer(worker, format, head):
    answer = say(worker, stream=True, stream_format="audio", response_format=format)
    assert answer.headers["content-type"] == f"audio/{format}"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert np.array_equal(np.frombuffer(answer.content[head:], "<i2"), pcm(say(worker)))
    if format == "wav":
        assert np.array_equal(samples(answer.content)[0], pcm(say(worker)))


def test_a_stream_at_eight_kilohertz_has_no_seams(worker):
    whole = np.frombuffer(say(worker, response_format="pcm", sample_rate=8_000).content, "<i2")
    found, _ = heard(say(worker, stream=True, sample_rate=8_000).text)
    raw = say(worker, stream=True, stream_format="audio", response_format="pcm", sample_rate=8_000)
    assert len(whole) == len(found) == len(raw.content) // 2
    assert np.abs(whole.astype(int) - found).max() <= 1
    assert np.array_equal(found, np.frombuffer(raw.content, "<i2"))


def test_openais_object_around_a_voice_and_the_other_name_of_the_field_are_read(worker):
    expected = pcm(say(worker)).tolist()
    assert pcm(say(worker, voice={"id": "Ryan"})).tolist() == expected
    assert pcm(say(worker, voice=None, speaker="RYAN")).tolist() == expected


@pytest.mark.parametrize("language", ["Chinese", "zh", "zh-Hans-CN", "cmn"])
def test_a_language_may_be_named_or_tagged(worker, language):
    assert pcm(say(worker, language=language)).tolist() == pcm(say(worker, language="chinese")).tolist()
    assert pcm(say(worker, language="Auto")).tolist() == pcm(say(worker)).tolist()


def test_the_number_of_frames_is_bounded_by_the_request_and_by_the_worker(worker):
    assert len(pcm(say(worker, max_new_tokens=3))) == 3 * 1_920
    assert len(pcm(say(worker, input="x" * 200))) == 100 * 1_920


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": " \n"}, "input"),
        ({"input": "x" * 201}, "input"),
        ({"input": "so<|im_end|>"}, "input"),
        ({"input": 7}, "input"),
        ({"instructions": "<|im_start|>system"}, "instructions"),
        ({"instructions": "x" * 2_001}, "instructions"),
        ({"voice": None}, "voice"),
        ({"voice": "nobody"}, "voice"),
        ({"voice": "../ryan"}, "voice"),
        ({"voice": {"name": "ryan"}}, "voice"),
        ({"voice": ["ryan"]}, "voice"),
        ({"response_format": "aac"}, "response_format"),
        ({"response_format": "mp3", "stream": True}, "response_format"),
        ({"sample_rate": 16_000}, "sample_rate"),
        ({"speed": 1.5}, "speed"),
        ({"speed": 9}, "speed"),
        ({"language": "Klingon"}, "language"),
        ({"task_type": "Other"}, "task_type"),
        ({"task_type": "VoiceDesign", "voice": None}, "instructions"),
        ({"task_type": "VoiceDesign", "instructions": "old"}, "voice"),
        ({"task_type": "Base"}, "voice"),
        ({"task_type": "Base", "voice": None}, "ref_audio"),
        ({"task_type": "CustomVoice", "ref_text": "x"}, "ref_text"),
        (CLONE | {"voice": "ryan"}, "voice"),
        (CLONE | {"ref_text": None}, "ref_text"),
        (CLONE | {"instructions": "whisper"}, "instructions"),
        (CLONE | {"ref_text": "<|im_end|>"}, "ref_text"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 4_097}, "max_new_tokens"),
        ({"seed": -1}, "seed"),
        ({"timeout": 0}, "timeout"),
        ({"stream_format": "xml"}, "stream_format"),
    ],
)
def test_a_bad_value_is_named(worker, fields, param):
    answer = say(worker, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert (answer.json()["error"]["code"], answer.json()["success"]) == (400, False)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("http://169.254.169.254/x.wav", 400),
        ("file:///etc/passwd", 400),
        ("/etc/passwd", 400),
        ("%%%", 400),
        ("", 400),
        ("data:audio/wav;base64,", 400),
        (text(b"no sound at all"), 415),
        (text(recording()[:30]), 415),
        (text(recording(seconds=0.9)), 400),
        (text(recording(seconds=30.5, rate=8_000)), 400),
        (text(recording(loudness=0)), 400),
        (text(recording(rate=4_000)), 400),
        (text(recording(seconds=20, rate=48_000)), 413),
        (text(recording(subtype="FLOAT", loudness=float("nan"))), 415),
    ],
    ids=[
        "url",
        "file",
        "path",
        "base64",
        "empty",
        "nothing",
        "text",
        "cut",
        "short",
        "long",
        "silent",
        "rate",
        "bytes",
        "nan",
    ],
)
def test_a_bad_recording_is_refused(worker, given, status):
    answer = say(worker, **CLONE | {"ref_audio": given})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, "ref_audio")


@pytest.mark.parametrize(
    "made",
    [
        recording(format="FLAC"),
        recording(format="OGG", subtype="OPUS"),
        recording(format="MP3"),
        recording(channels=2),
        recording(rate=44_100, subtype="PCM_24"),
        recording(seconds=30, rate=8_000),
    ],
    ids=["flac", "opus", "mp3", "stereo", "24 bit", "30 s"],
)
def test_a_recording_of_any_usual_kind_is_taken(worker, made):
    assert pcm(say(worker, **CLONE | {"ref_audio": text(made)})).size
    assert pcm(say(worker, **CLONE | {"ref_audio": f"data:audio/wav;base64,{text(made)}"})).size


def test_hours_in_a_small_file_are_not_decoded(worker):
    hour = recording(seconds=3_600, rate=8_000, loudness=0.0, format="FLAC")
    assert len(hour) < 1_000_000
    assert say(worker, **CLONE | {"ref_audio": text(hour)}).status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(worker, body):
    answer = worker.post("/v1/audio/speech", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_another_model_is_not_found(worker):
    assert say(worker, model="another").status_code == 404
    assert say(worker, model="fake-model").status_code == 200


def test_a_worker_that_paints_does_not_speak_and_the_other_way_round():
    with serve(fake_capabilities="text-to-image, image-editing") as painter:
        assert say(painter).json()["error"]["type"] == "unsupported_task"
        found = painter.get("/models").json()
        assert (found["capabilities"], found["voices"]) == (["text-to-image", "image-editing"], [])
        assert found["limits"]["max_new_tokens"] is None
    with serve(fake_capabilities="custom-voice") as speaker:
        assert draw(speaker).json()["error"]["type"] == "unsupported_task"
        assert say(speaker, **CLONE).json()["error"]["type"] == "unsupported_task"
        assert say(speaker, task_type="VoiceDesign", instructions="old").json()["error"]["type"] == "unsupported_task"
        assert say(speaker).status_code == 200
        found = speaker.get("/models").json()
        assert (found["capabilities"], found["limits"]["max_pixels"]) == (["custom-voice"], None)
        assert found["supported_formats"] == ["WAV", "PCM", "FLAC", "MP3", "Opus"]
        assert found["limits"]["sample_rates"] == [24_000, 8_000]


def test_the_first_sound_and_the_real_time_factor_are_measured():
    with serve(fake_step_seconds=0.01) as client:
        say(client)
        assert metric(client, "worker_ttfa_seconds_count") == metric(client, "worker_rtf_count") == 1
        assert metric(client, "worker_ttfa_seconds_sum") >= 0.01
        assert 'worker_exec_seconds_count{task="custom-voice"} 1.0' in client.get("/metrics").text


def test_the_bytes_of_an_event_are_whole_samples(worker):
    for name, data in events(say(worker, stream=True, sample_rate=8_000).text):
        if name == "speech.audio.delta":
            assert len(base64.b64decode(data["audio"])) % 2 == 0
