"""The tiny checkpoints of all three kinds behind real routes: what is heard depends on what was asked, and on no more."""

from __future__ import annotations

import hashlib
import sys
import time

import numpy as np
import pytest
from serving_worker import serve
from speech_calls import heard, loudness, metric, recording, samples, say, text

import pixvox_worker.engines
from pixvox_worker.engines.qwen_tts import QwenTtsEngine
from pixvox_worker.engines.stand_ins import import_qwen_tts
from pixvox_worker.settings import Device, EngineKind, Settings

DESIGN = {"voice": None, "instructions": "an old man, hoarse"}
CLONE = {"voice": None, "ref_audio": text(recording()), "ref_text": "a tone"}
SHORT = {"max_new_tokens": 20}


def pcm(answer):
    assert answer.status_code == 200, answer.text
    return samples(answer.content)[0]


def differ(client, first, *others):
    """Whether each of the others is heard otherwise than the first, and the first again as it was."""
    expected = heard_with(client, first)
    assert heard_with(client, first) == expected
    assert all(loudness(samples(found)[0]) > 0.01 for found in expected)
    for other in others:
        assert heard_with(client, first | other) != expected, other


def heard_with(client, fields):
    """What several seeds say: one alone may say the same whatever it was asked, as the model is random."""
    answers = [say(client, **{"seed": seed, "max_new_tokens": 60, **fields}) for seed in (1, 3, 4)]
    assert all(answer.status_code == 200 for answer in answers), answers[0].text
    return [answer.content for answer in answers]


def test_a_voice_of_the_model_speaks(speaker):
    others = (
        {"input": "good night"},
        {"voice": "vivian"},
        {"seed": 2},
        {"instructions": "whisper"},
        {"language": "de"},
    )
    differ(speaker, {}, *others)


def test_a_voice_that_is_described_speaks(designer):
    others = ({"input": "good night"}, {"instructions": "a child"}, {"seed": 2}, {"language": "English"})
    differ(designer, DESIGN, *others)


def test_a_voice_that_was_recorded_speaks(cloner):
    other = text(recording(pitch=500))
    others = (
        {"ref_audio": other},
        {"ref_text": "no tone"},
        {"seed": 2},
        {"ref_text": None, "x_vector_only_mode": True},
    )
    differ(cloner, CLONE, *others)


def test_a_voice_that_was_left_here_is_the_recording_itself_and_leaves_no_trace(cloner):
    form = {"name": "anna", "consent": "in writing", "ref_text": "a tone"}
    assert cloner.post("/v1/audio/voices", data=form, files={"audio_sample": recording()}).status_code == 200
    assert say(cloner, voice="anna", **SHORT).content == say(cloner, **CLONE, **SHORT).content
    assert cloner.worker.engine._prompts
    cloner.delete("/v1/audio/voices/anna")
    assert hashlib.sha256(recording()).hexdigest() not in {digest for digest, _ in cloner.worker.engine._prompts}
    assert say(cloner, voice="anna").status_code == 400


def test_what_was_heard_in_a_recording_is_kept_for_the_next_request(tiny):
    with serve(tiny / "qwen3-tts-base", max_kept_prompts=2) as client:
        calls = []
        package = client.worker.engine.package
        make = package.create_voice_clone_prompt
        package.create_voice_clone_prompt = lambda **given: calls.append(type(given["ref_audio"])) or make(**given)
        first = say(client, **CLONE, **SHORT)
        assert say(client, **CLONE, **SHORT).content == first.content
        # Never a string, which the package would open as a path or fetch as a URL.
        assert calls == [tuple]
        for pitch in (300, 400):
            say(client, **CLONE | {"ref_audio": text(recording(pitch=pitch))}, **SHORT)
        assert (len(calls), len(client.worker.engine._prompts)) == (3, 2)
        assert say(client, **CLONE, **SHORT).content == first.content
        assert len(calls) == 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "fields"), [("speaker", {}), ("designer", DESIGN), ("cloner", CLONE)])
def test_a_stream_is_what_the_whole_answer_is(request, kind, fields, seed):
    client = request.getfixturevalue(kind)
    given = {**fields, "seed": seed, "max_new_tokens": 90}
    whole = pcm(say(client, **given))
    events, (name, done) = heard(say(client, **given, stream=True).text)
    raw = say(client, **given, stream=True, stream_format="audio", response_format="pcm").content
    assert (name, done["usage"]["output_tokens"] * 1_920) == ("speech.audio.done", len(whole))
    assert np.array_equal(events, np.frombuffer(raw, "<i2"))
    assert len(events) == len(whole)
    assert np.abs(events.astype(int) - whole).max() / 32_768 < 1e-4


@pytest.mark.parametrize(("kind", "fields"), [("speaker", {}), ("designer", DESIGN), ("cloner", CLONE)])
def test_the_whole_answer_is_what_the_package_itself_says(request, kind, fields):
    """Without the hook, and with its own decoder over everything at once."""
    import torch

    client = request.getfixturevalue(kind)
    whole = pcm(say(client, **fields, seed=5, max_new_tokens=60))
    engine = client.worker.engine
    package, stand_in = engine.package, engine.package.model.speech_tokenizer
    task = {"language": "auto", "max_new_tokens": 61}
    said = "good morning to you all"
    package.model.speech_tokenizer = engine._codec
    try:
        if kind == "cloner":
            prompt = engine._prompts[hashlib.sha256(recording()).hexdigest(), "a tone"]
            torch.manual_seed(5)
            expected = package.generate_voice_clone(said, voice_clone_prompt=[prompt], **task)
        elif kind == "designer":
            torch.manual_seed(5)
            expected = package.generate_voice_design(said, instruct=DESIGN["instructions"], **task)
        else:
            torch.manual_seed(5)
            expected = package.generate_custom_voice(said, speaker="ryan", **task)
    finally:
        package.model.speech_tokenizer = stand_in
    assert len(expected[0][0]) == len(whole)
    assert np.abs(expected[0][0] - whole / 32_767).max() < 1e-4


def test_speech_has_as_many_frames_as_were_asked_for_at_most(speaker):
    for frames in (1, 2, 3, 24):
        assert len(pcm(say(speaker, seed=0, max_new_tokens=frames))) == frames * 1_920


def test_the_end_is_where_the_model_ends(speaker):
    lengths = [len(pcm(say(speaker, seed=seed, max_new_tokens=200))) for seed in range(4)]
    assert min(lengths) < 200 * 1_920


def test_the_models_answers_come_from_the_loaded_checkpoint(speaker, designer, cloner):
    for client, kind in ((speaker, "custom-voice"), (designer, "voice-design"), (cloner, "voice-clone")):
        found = client.get("/models").json()
        assert (found["capabilities"], found["supported_formats"][0]) == ([kind], "WAV")
        assert found["languages"] == ["auto", "chinese", "english", "german"]
        assert found["limits"]["max_pixels"] is None
        assert client.get("/health").json()["engine"] == "qwen_tts"
        assert client.get("/v1/models").json()["data"][0]["id"].startswith("qwen3-tts-")
    assert (
        speaker.get("/models").json()["voices"]
        == speaker.get("/v1/audio/voices").json()["voices"]
        == ["ryan", "vivian"]
    )


def test_a_checkpoint_does_its_own_kind_alone(speaker, designer, cloner):
    for client, own in ((speaker, "CustomVoice"), (designer, "VoiceDesign"), (cloner, "Base")):
        for kind in ("CustomVoice", "VoiceDesign", "Base"):
            fields = {"CustomVoice": {}, "VoiceDesign": DESIGN, "Base": CLONE}[kind]
            answer = say(client, **fields, **SHORT, task_type=kind)
            assert answer.status_code == (200 if kind == own else 400), answer.text
    assert say(speaker, language="fr").status_code == 400
    assert say(cloner, **CLONE, instructions="whisper").status_code == 400
    assert speaker.post("/v1/images/generations", json={"prompt": "x"}).json()["error"]["type"] == "unsupported_task"


def test_the_small_checkpoint_follows_no_instructions_and_says_so(tiny):
    engine = QwenTtsEngine(Settings(model_name=str(tiny / "qwen3-tts-custom-voice"), device=Device.CPU))
    with serve(tiny / "qwen3-tts-custom-voice", engine=engine) as client:
        engine.package.model.tts_model_size = "0b6"
        assert say(client, instructions="whisper").json()["error"]["param"] == "instructions"
        assert say(client, **SHORT).status_code == 200


def test_the_engine_is_chosen_by_the_files_of_the_model(tiny, tmp_path):
    def chosen(folder, engine=EngineKind.AUTO):
        return type(pixvox_worker.engines.choose(Settings(model_name=str(folder), engine=engine))).__name__

    assert chosen(tiny / "qwen3-tts-base") == "QwenTtsEngine"
    assert chosen(tmp_path, EngineKind.QWEN_TTS) == chosen("Qwen/Not-Fetched-Yet") == "QwenTtsEngine"
    (tmp_path / "config.json").write_text('{"architectures": ["Other"]}')
    # The engine of pictures is not in this environment.
    with pytest.raises(ImportError):
        chosen(tmp_path)


def test_a_folder_that_holds_no_such_checkpoint_leaves_an_unhealthy_worker(tmp_path):
    from serving_worker import wait_until

    (tmp_path / "config.json").write_text('{"tts_model_type": "song", "tokenizer_type": "qwen3_tts_tokenizer_25hz"}')
    with serve(tmp_path, ready=False, engine=QwenTtsEngine(Settings(model_name=str(tmp_path)))) as client:
        wait_until(lambda: client.get("/health").json()["status"] == "unhealthy")
        assert (say(client).status_code, client.get("/livez").status_code) == (503, 200)


def test_what_stands_in_for_missing_modules_is_gone_after_the_import():
    import_qwen_tts()
    for name in ("sox", "onnxruntime", "torchaudio"):
        assert type(sys.modules.get(name)).__name__ != "_StandIn"


def test_a_module_that_is_there_is_not_hidden(tmp_path, monkeypatch):
    from pixvox_worker.engines import stand_ins

    (tmp_path / "sox.py").write_text("REAL = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with stand_ins._filled(name for name in ("sox", "onnxruntime") if not stand_ins._works(name)):
            assert sys.modules["sox"].REAL
            assert type(sys.modules["onnxruntime"]).__name__ == "_StandIn"
            with pytest.raises(ImportError, match="onnxruntime"):
                sys.modules["onnxruntime"].InferenceSession()
    finally:
        sys.modules.pop("sox", None)


def test_the_model_is_warmed_up_when_it_is_asked_for(tiny):
    for kind in ("qwen3-tts-custom-voice", "qwen3-tts-voice-design", "qwen3-tts-base"):
        with serve(tiny / kind, warm_up=True) as client:
            assert client.get("/health").json()["status"] == "ready"


def test_the_first_sound_comes_long_before_the_last(tiny):
    with serve(tiny / "qwen3-tts-custom-voice") as client:
        say(client, **SHORT)
        begun, arrived = time.monotonic(), []
        body = {"input": "good morning", "voice": "ryan", "seed": 0, "max_new_tokens": 200, "stream": True}
        with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            deltas = (line for line in answer.iter_lines() if line == "event: speech.audio.delta")
            arrived.extend(time.monotonic() - begun for _ in deltas)
        print(f"first piece after {arrived[0]:.3f} s of {arrived[-1]:.3f} s, {len(arrived)} pieces")
        assert arrived[0] < arrived[-1] / 2
        assert metric(client, "worker_ttfa_seconds_count") == 2
