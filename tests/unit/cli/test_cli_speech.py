"""`pixvox speak`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import wave

import pytest

from pixvox.errors import RateLimitedError
from pixvox.v1 import media_pb2


def test_a_streamed_wav_file_has_true_lengths_and_plays(pixvox):
    done = pixvox("speak", "Good morning.", "-o", "a.wav")
    assert done.code == 0
    with wave.open(str(pixvox.folder / "a.wav")) as opened:
        assert opened.getframerate() == 24_000
        assert opened.getnframes() == 13 * 480
        assert any(opened.readframes(opened.getnframes()))
    for fact in ("a.wav", "WAV", "24000 Hz", "0.26 s", "provider box", "model box-speech", "0.075 USD"):
        assert fact in done.out


@pytest.mark.parametrize(
    ("suffix", "encoding"),
    [
        ("wav", media_pb2.AUDIO_ENCODING_WAV),
        ("mp3", media_pb2.AUDIO_ENCODING_MP3),
        ("ogg", media_pb2.AUDIO_ENCODING_OGG_OPUS),
        ("opus", media_pb2.AUDIO_ENCODING_OGG_OPUS),
        ("FLAC", media_pb2.AUDIO_ENCODING_FLAC),
        ("pcm", media_pb2.AUDIO_ENCODING_PCM_S16LE),
        ("raw", media_pb2.AUDIO_ENCODING_PCM_S16LE),
        ("ulaw", media_pb2.AUDIO_ENCODING_MULAW),
    ],
)
def test_the_suffix_decides_on_the_encoding(pixvox, service, suffix, encoding):
    assert pixvox("speak", "x", "-o", f"a.{suffix}").code == 0
    assert service.requests[0].format.encoding == encoding


def test_every_option_reaches_the_config(pixvox, service):
    pixvox(
        *("speak", "x", "-o", "a.bin", "--encoding", "pcm", "--rate-hertz", "8000", "--voice", "anna"),
        *("--language", "zh-CN", "--speaking-rate", "1.5", "--pitch", "0.5", "--volume", "0"),
        *("--instructions", "softly", "--model", "m", "--provider", "box", "--request-id", "r-1", "--label", "a=b"),
    )
    config = service.requests[0]
    assert (config.format.encoding, config.format.sample_rate_hertz) == (media_pb2.AUDIO_ENCODING_PCM_S16LE, 8000)
    assert (config.voice, config.language_code, config.instructions) == ("anna", "zh-CN", "softly")
    assert (config.speaking_rate, config.pitch, config.volume) == (1.5, 0.5, 0.0)
    assert config.HasField("volume")
    assert (config.model, config.provider, config.request_id, dict(config.labels)) == ("m", "box", "r-1", {"a": "b"})


def test_prosody_that_is_left_out_stays_unset(pixvox, service):
    pixvox("speak", "x", "-o", "a.wav")
    assert [field.name for field, _ in service.requests[0].ListFields()] == ["format"]


def test_an_unknown_suffix_without_an_encoding_is_a_usage_error(pixvox, service):
    done = pixvox("speak", "x", "-o", "a.xyz")
    assert done.code == 2
    assert ".wav" in done.err
    assert service.requests == []


def test_json_is_one_document(pixvox):
    answer = json.loads(pixvox("speak", "Good morning.", "-o", "a.pcm", "--json").out)
    (file,) = answer["files"]
    assert (file["path"], file["encoding"], file["sample_rate_hertz"]) == ("a.pcm", "PCM_S16LE", 24_000)
    assert file["size_bytes"] == (pixvox.folder / "a.pcm").stat().st_size == 13 * 960
    assert answer["receipt"]["provider"] == "box"


def test_whole_asks_for_one_finished_audio(pixvox, service):
    done = pixvox("speak", "Good morning.", "-o", "a.wav", "--whole")
    assert done.code == 0
    assert service.requests[-1].text == "Good morning."
    assert (pixvox.folder / "a.wav").read_bytes().startswith(b"RIFF")


def test_audio_leaves_through_the_pipe_while_text_is_still_being_typed(start):
    process = start("speak", "-", "-o", "-", stdin=subprocess.PIPE)
    process.stdin.write("Good mörning. ".encode())
    process.stdin.flush()
    beginning = os.read(process.stdout.fileno(), 44)
    first_audio = os.read(process.stdout.fileno(), 65536)
    assert process.poll() is None
    process.stdin.write(b"Bye.")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert beginning.startswith(b"RIFF")
    assert len(first_audio) > 0
    assert len(beginning + first_audio + out) == 44 + (14 + 4) * 960
    assert b"provider box" in err


def test_a_character_that_is_cut_between_two_reads_arrives_whole(start, service):
    process = start("speak", "-", "-o", "a.pcm", stdin=subprocess.PIPE)
    process.stdin.write(b"m\xc3")
    process.stdin.flush()
    while len(service.requests) < 2:
        assert process.poll() is None
    process.stdin.write(b"\xb6rning")
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert "".join(message.text for message in service.requests[1:]) == "mörning"


def test_standard_input_that_is_not_text_is_a_usage_error(start, tmp_path):
    process = start("speak", "-", "-o", "a.wav", stdin=subprocess.PIPE)
    out, err = process.communicate(b"\xff\xfe\x00", timeout=20)
    assert process.returncode == 2
    assert b"not UTF-8" in err
    assert b"Traceback" not in err
    assert out == b""
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_breaks_off_leaves_a_partial_file_and_exits_with_7(pixvox, service):
    service.break_after = 1
    done = pixvox("speak", "Good morning.", "-o", "a.pcm")
    assert done.code == 7
    assert "PROVIDER_DISCONNECTED" in done.err
    assert "a.pcm.partial" in done.err
    assert [file.name for file in pixvox.folder.iterdir()] == ["a.pcm.partial"]
    assert (pixvox.folder / "a.pcm.partial").stat().st_size > 0


def test_a_broken_stream_leaves_the_older_file_of_that_name_alone(pixvox, service):
    (pixvox.folder / "a.pcm").write_bytes(b"older")
    service.break_after = 1
    assert pixvox("speak", "Good morning.", "-o", "a.pcm").code == 7
    assert (pixvox.folder / "a.pcm").read_bytes() == b"older"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("no summary", "without a summary"),
        ("checksum", "checksum"),
        ("gap", "chunk 2 came where chunk 1 was due"),
    ],
)
def test_a_stream_that_contradicts_itself_never_passes_for_finished(pixvox, service, bad, words):
    service.bad.add(bad)
    done = pixvox("speak", "Good morning.", "-o", "a.pcm")
    assert done.code == 7
    assert words in done.err
    assert not (pixvox.folder / "a.pcm").exists()


def test_a_call_that_fails_before_any_audio_leaves_no_file(pixvox, service):
    service.fault = RateLimitedError("Too many.", retry_after=3)
    done = pixvox("speak", "x", "-o", "a.wav")
    assert done.code == 6
    assert list(pixvox.folder.iterdir()) == []


def test_ctrl_c_while_typing_keeps_the_partial_file_and_exits_with_130(start, service, tmp_path):
    process = start("speak", "-", "-o", "a.pcm", stdin=subprocess.PIPE)
    process.stdin.write(b"Good morning. ")
    process.stdin.flush()
    partial = tmp_path / "a.pcm.partial"
    while not partial.exists() or partial.stat().st_size < 1000:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    assert b"Fatal" not in process.stderr.read()
    assert service.cancelled.wait(2)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pcm.partial"]


def test_a_reader_that_leaves_ends_the_call_quietly(start, service):
    process = start("speak", "-", "-o", "-", stdin=subprocess.PIPE)
    process.stdin.write(b"Good morning. ")
    process.stdin.flush()
    os.read(process.stdout.fileno(), 100)
    process.stdout.close()
    process.stdin.write(b"More. ")
    process.stdin.flush()
    assert process.wait(5) == 1
    assert b"Traceback" not in process.stderr.read()
    assert service.cancelled.wait(2)


def test_a_named_pipe_is_written_and_not_replaced(start, tmp_path):
    pipe = tmp_path / "pipe.pcm"
    os.mkfifo(pipe)
    process = start("speak", "Good morning.", "-o", "pipe.pcm")
    assert len(pipe.read_bytes()) == 13 * 960
    assert process.wait(5) == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)
