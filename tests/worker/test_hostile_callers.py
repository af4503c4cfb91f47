"""Requests that are made to cost the worker more than they cost their sender."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import stat
import tracemalloc

import pytest
from PIL import Image
from serving_worker import draw, edit, picture, png, serve, wait_until
from speech_calls import SAY, busy, connect, metric, recording

from pixvox_worker import pictures, recordings
from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.routes import images
from pixvox_worker.settings import Settings

MULTIPART = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def worker():
    with serve() as client:
        yield client


def form(charset, value=b"a cat"):
    content = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + value + b"\r\n--b--\r\n"
    return {"content": content, "headers": {"Content-Type": f"{MULTIPART}; charset={charset}"}}


@pytest.mark.parametrize("path", ["/process", "/v1/images/edits", "/v1/audio/voices"])
@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "utf-16"])
def test_the_sender_does_not_choose_the_decoder_of_a_form(worker, path, charset):
    # Decoding punycode takes the square of its length: seconds for a fraction of a megabyte, in the event loop.
    answer = worker.post(path, **form(charset, b"a-" + b"9a" * 10_000))
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "UTF-8" in answer.json()["message"]


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "us-ascii", '"utf-8"'])
def test_a_form_in_utf_8_may_say_so(worker, charset):
    assert worker.post("/process", **form(charset)).status_code == 200


def test_more_pictures_than_the_model_takes_are_refused_before_any_is_decoded(worker, monkeypatch):
    decoded = []
    monkeypatch.setattr(pictures, "decode", lambda *_, **__: decoded.append(1))
    texts = [base64.b64encode(png()).decode()] * 5_000
    answer = worker.post("/v1/images/edits", json={"prompt": "x", "images": texts})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")
    assert decoded == []


def test_a_worker_that_is_full_decodes_no_picture(monkeypatch):
    decoded = []
    whole = pictures.decode

    def counted(*given, **named):
        decoded.append(1)
        return whole(*given, **named)

    monkeypatch.setattr(pictures, "decode", counted)
    with serve(fake_step_seconds=0.1, max_concurrent_requests=1) as client:
        job = client.post("/process", json={"prompt": "x", "options": {"async": True, "width": 64, "height": 64}})
        assert edit(client).status_code == 429
        assert decoded == []
        client.post(f"/job/{job.json()['job_id']}/cancel")


@pytest.mark.parametrize("read", [pictures.from_text, recordings.from_text])
def test_blanks_between_the_base64_cost_no_memory(read):
    text = "QUJD " * 200_000
    tracemalloc.start()
    try:
        assert read(text) == b"ABC" * 200_000
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_what_a_picture_says_of_its_camera_cannot_break_it(worker):
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, (1, 2)
    head = exif.tobytes()
    buffer = io.BytesIO()
    Image.new("RGB", (96, 32)).save(buffer, "PNG", exif=head)
    # The resolution becomes a text, which Pillow reads and cannot write again.
    place = head.index(b"\x01\x1a\x00\x05") + 3
    Image.new("RGB", (96, 32)).save(buffer := io.BytesIO(), "PNG", exif=head[:place] + b"\x02" + head[place + 1 :])
    answer = edit(worker, image=buffer.getvalue())
    assert answer.status_code == 200, answer.text
    assert picture(answer.json()["processed_image"]).size == (32, 96)


def test_a_picture_whose_palette_is_missing_is_damaged(worker):
    Image.new("P", (9, 9)).save(buffer := io.BytesIO(), "PNG")
    whole = buffer.getvalue()
    begin = whole.index(b"PLTE") - 4
    end = begin + 12 + int.from_bytes(whole[begin : begin + 4], "big")
    answer = edit(worker, image=whole[:begin] + whole[end:])
    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_way_of_holding_a_camera_is_turned_back(orientation):
    from PIL import ImageOps

    source = Image.frombytes("RGB", (3, 2), bytes(range(18)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source.save(buffer := io.BytesIO(), "PNG", exif=exif)
    with Image.open(io.BytesIO(buffer.getvalue())) as opened:
        expected = ImageOps.exif_transpose(opened)
    found = pictures.decode(buffer.getvalue(), max_pixels=100)
    assert (found.size, found.tobytes()) == (expected.size, expected.tobytes())


def upload(client, path="/process", length=1_000_000, sent=b'{"prompt": "'):
    """A connection that has begun a body and not ended it."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port))
    head = f"POST {path} HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    connection.settimeout(20)
    return connection


def test_an_upload_that_is_given_up_is_no_fault_of_the_worker(worker, caplog):
    upload(worker).close()
    wait_until(lambda: worker.worker.metrics.registry.get_sample_value("worker_requests_total", CUT_OFF) == 1)
    assert (
        worker.worker.metrics.registry.get_sample_value("worker_requests_total", {**CUT_OFF, "status": "500"}) is None
    )
    assert not [record for record in caplog.records if record.exc_info]


CUT_OFF = {"route": "/process", "status": "499"}


def test_an_upload_that_stands_still_is_ended():
    with serve(request_timeout=0.3) as client, upload(client) as connection:
        assert b" 504 " in connection.recv(1_000).partition(b"\r\n")[0]
        # And the connection with it.
        while connection.recv(1_000):
            pass


def test_uploads_together_have_a_bound():
    with serve(max_upload_mb=1, max_uploads_mb=2) as client:
        megabyte = 1024 * 1024
        begun = [upload(client, length=megabyte, sent=b" " * (megabyte - 1)) for _ in range(2)]
        wait_until(lambda: client.worker.uploads.held >= 2 * (megabyte - 1), seconds=10)
        answer = draw(client, negative_prompt="x" * 5_000)
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "overloaded_error")
        assert int(answer.headers["retry-after"]) >= 1
        for connection in begun:
            connection.close()
        wait_until(lambda: client.worker.uploads.held == 0, seconds=10)
        assert draw(client).status_code == 200


def test_a_viewer_that_does_not_read_is_let_go_after_its_deadline(monkeypatch):
    monkeypatch.setattr(images, "_TO_READ_SECONDS", 1.0)

    class Noisy(FakeEngine):
        def make(self, tasks, watch):
            return [[Image.effect_noise((2048, 2048), 100).convert("RGB")] * task.count for task in tasks]

    with serve(engine=Noisy(Settings())) as client:
        body = {"prompt": "x", "size": "2048x2048", "n": 10, "num_inference_steps": 1, "stream": True, "timeout": 3}
        content = json.dumps(body).encode()
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect((client.base_url.host, client.base_url.port))
        with connection:
            head = "POST /v1/images/generations HTTP/1.1\r\nHost: w\r\nContent-Type: application/json\r\n"
            connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
            wait_until(lambda: client.worker.jobs._jobs, seconds=5)
            wait_until(lambda: not client.worker.jobs._jobs, seconds=15)


def test_the_model_leaves_a_speech_that_its_listener_has_lost():
    with serve(max_unread_mb=1, fake_step_seconds=0.001) as client:
        body = {**SAY, "input": "so " * 1_600, "stream": True, "stream_format": "audio", "response_format": "pcm"}
        with connect(client, "/v1/audio/speech", body, receive_buffer=4_096):
            wait_until(lambda: metric(client, "worker_queue_wait_seconds_count") == 1)
            wait_until(lambda: busy(client) == 0)
        sample = client.worker.metrics.registry.get_sample_value
        assert not sample("worker_exec_seconds_count", {"task": "custom-voice"})


@pytest.mark.parametrize("name", ["default", "Auto"])
def test_nobody_can_leave_the_voice_that_is_meant_when_none_is_named(worker, name):
    files = {"audio_sample": ("a.wav", recording()), "name": (None, name), "consent": (None, "yes, in writing")}
    answer = worker.post("/v1/audio/voices", files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")


def leave(client, name):
    files = {"audio_sample": ("a.wav", recording()), "name": (None, name), "consent": (None, "yes, in writing")}
    return client.post("/v1/audio/voices", files=files)


def test_recordings_are_for_the_worker_alone_and_none_is_left_without_its_voice(tmp_path):
    before = os.umask(0o022)
    try:
        with serve(voices_dir=str(tmp_path)) as client:
            assert leave(client, "anna").status_code == 200
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    facts = next(tmp_path.glob("*.json"))
    # As if it had died between the two files of a voice that was to be forgotten.
    facts.rename(tmp_path / "away")
    orphan = next(tmp_path.glob("*.sound"))
    (tmp_path / "notes.sound").write_text("not ours")
    with serve(voices_dir=str(tmp_path)):
        assert not orphan.exists()
        assert (tmp_path / "notes.sound").exists()


@pytest.mark.parametrize("changed", [{"name": 5}, {"name": None}, {"file_size": "much"}, {"consent": None}])
def test_a_voice_whose_facts_are_of_the_wrong_kind_is_passed_over(tmp_path, changed):
    with serve(voices_dir=str(tmp_path)) as client:
        leave(client, "anna")
        leave(client, "bert")
    facts = next(file for file in tmp_path.glob("*.json") if json.loads(file.read_text())["name"] == "anna")
    facts.write_text(json.dumps({**json.loads(facts.read_text()), **changed}))
    with serve(voices_dir=str(tmp_path)) as client:
        assert [voice["name"] for voice in client.get("/v1/audio/voices").json()["uploaded_voices"]] == ["bert"]
        assert leave(client, "carl").status_code == 200


def test_digits_of_a_size_are_those_of_ascii(worker):
    assert draw(worker, size="٦٤x64").status_code == 400


def test_a_job_that_is_over_lets_go_of_the_pictures_that_it_was_given(worker):
    accepted = worker.post(
        "/process",
        data={"prompt": "x", "options": json.dumps({"async": True, "steps": 2})},
        files={"image": png()},
    )
    job = worker.worker.jobs.get(accepted.json()["job_id"])
    wait_until(lambda: job.over)
    assert job.task.images == ()
    assert worker.get(f"/job/{job.job_id}/status").json()["step"] == 2
    assert worker.get(f"/job/{job.job_id}/result").status_code == 200
