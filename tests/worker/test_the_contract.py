"""Every route's good and bad answers, on the fake engine."""

from __future__ import annotations

import base64
import io
import os
import struct
import threading
import zlib

import pytest
from PIL import Image
from serving_worker import draw, edit, picture, png, serve, wait_until

from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.settings import Settings, SettingsError, from_environment


@pytest.fixture(scope="module")
def worker():
    with serve(max_upload_mb=1, max_input_pixels=10_000, max_pixels=65_536) as client:
        yield client


def chunk(name, data):
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb():
    """A PNG that says it is 30000 pixels square, and is a few bytes long."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": None}, 400, "prompt"),
        ({"size": "abc"}, 400, "size"),
        ({"size": "0x64"}, 400, "size"),
        ({"size": "-64x64"}, 400, "size"),
        ({"size": "1024x1024"}, 413, "size"),
        ({"n": 0}, 400, "n"),
        ({"n": 11}, 400, "n"),
        ({"num_inference_steps": 0}, 400, "num_inference_steps"),
        ({"num_inference_steps": 201}, 400, "num_inference_steps"),
        ({"true_cfg_scale": 21}, 400, "true_cfg_scale"),
        ({"seed": -1}, 400, "seed"),
        ({"response_format": "url"}, 400, "response_format"),
        ({"output_format": "gif"}, 400, "output_format"),
        ({"partial_images": 4}, 400, "partial_images"),
        ({"timeout": 0}, 400, "timeout"),
        ({"model": "another"}, 404, "model"),
    ],
)
def test_a_bad_value_is_named(worker, fields, status, param):
    answer = draw(worker, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert answer.json()["error"]["code"] == status
    assert answer.json()["success"] is False


@pytest.mark.parametrize(
    ("image", "status"),
    [
        (b"no picture", 415),
        (png()[:60], 415),
        (png(format="GIF"), 415),
        (png(size=(101, 100)), 413),
        (bomb(), 413),
        (png(size=(2010, 4)), 400),
        (b"x" * 1_100_000, 413),
    ],
    ids=["text", "cut", "gif", "pixels", "bomb", "ratio", "bytes"],
)
def test_a_bad_picture_is_refused(worker, image, status):
    answer = edit(worker, image=image)
    assert (answer.status_code, answer.json()["success"]) == (status, False)


@pytest.mark.parametrize(
    "body",
    [
        {"image_url": "http://169.254.169.254/"},
        {"image": "http://localhost/x.png"},
        {"image": "file:///etc/passwd"},
        {"image": "%%%"},
        {"image": 7},
        {"options": "fast"},
        {"options": {"width": 64}},
    ],
)
def test_nothing_is_fetched_and_nothing_is_guessed(worker, body):
    assert worker.post("/process", json={"prompt": "x", **body}).status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(worker, body):
    answer = worker.post("/process", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_broken_form_is_refused(worker):
    answer = worker.post("/process", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert (answer.status_code, answer.json()["success"]) == (400, False)


def test_a_form_may_carry_its_picture_as_text():
    with serve() as client:
        buffer = io.BytesIO()
        Image.frombytes("RGB", (700, 700), os.urandom(700 * 700 * 3)).save(buffer, "PNG")
        form = {"prompt": "x", "image": base64.b64encode(buffer.getvalue()).decode()}
        assert len(form["image"]) > 1_048_576
        # A boundary makes it multipart, whatever the client would do with a form without files.
        answer = client.post("/process", files={name: (None, value) for name, value in form.items()})
        assert answer.status_code == 200, answer.text


def test_a_mask_is_refused_and_not_dropped(worker):
    files = {"image": png(), "mask": png()}
    assert worker.post("/v1/images/edits", data={"prompt": "x"}, files=files).status_code == 400


def test_an_edit_without_a_picture_is_refused(worker):
    assert worker.post("/v1/images/edits", json={"prompt": "x"}).json()["error"]["param"] == "image"


def test_a_body_without_a_length_is_counted_while_it_comes(worker):
    answer = worker.post(
        "/process", content=(b"x" * 100_000 for _ in range(20)), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_the_size_of_an_edit_is_that_of_its_picture_floored(worker):
    answer = edit(worker, image=png(size=(70, 50)))
    assert picture(answer.json()["processed_image"]).size == (64, 48)


def test_a_picture_is_turned_as_it_says(worker):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 32)).save(buffer, "JPEG", exif=exif)
    assert picture(edit(worker, image=buffer.getvalue()).json()["processed_image"]).size == (32, 96)


@pytest.mark.parametrize(("wanted", "found"), [("png", "PNG"), ("jpeg", "JPEG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_the_picture_has_the_format_that_was_asked_for(worker, wanted, found):
    assert picture(draw(worker, output_format=wanted).json()["data"][0]["b64_json"]).format == found


def test_openais_list_of_data_urls_is_read(worker):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    answer = worker.post("/v1/images/edits", json={"prompt": "x", "images": [{"image_url": url}]})
    assert answer.status_code == 200


def test_unknown_fields_are_passed_over(worker):
    assert draw(worker, moderation="low", user="me").status_code == 200


def test_quality_chooses_the_steps(worker):
    job = worker.post(
        "/process",
        json={"prompt": "x", "options": {"quality": "low", "width": 64, "height": 64}},
        headers={"Prefer": "respond-async"},
    )
    assert worker.get(job.headers["location"]).json()["steps"] == 8


def test_a_seed_that_was_not_given_is_told(worker):
    answer = draw(worker, seed=None).json()
    assert draw(worker, seed=answer["seed"]).json()["data"] == answer["data"]


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(worker):
    assert worker.get("/nowhere").json()["error"]["code"] == 404
    assert worker.get("/process").json()["error"]["code"] == 405


def test_the_key_is_asked_for_everywhere_but_at_the_probes():
    with serve(api_key="one, two") as client:
        assert draw(client).status_code == 401
        assert draw(client).json()["error"]["type"] == "authentication_error"
        for path in ("/livez", "/health", "/metrics"):
            assert client.get(path).status_code == 200
        client.headers["Authorization"] = "Bearer three"
        assert client.get("/v1/models").status_code == 401
        client.headers["Authorization"] = "Bearer two"
        assert draw(client).status_code == 200


def test_the_request_id_comes_back(worker):
    assert worker.get("/livez", headers={"X-Request-Id": "abc"}).headers["x-request-id"] == "abc"
    assert len(worker.get("/livez", headers={"X-Request-Id": "a b"}).headers["x-request-id"]) == 32


def test_while_the_model_loads_only_the_probes_answer():
    class Slow(FakeEngine):
        may = threading.Event()

        def load(self):
            self.may.wait()

    with serve(engine=Slow(Settings()), ready=False) as client:
        assert (client.get("/livez").status_code, client.get("/health").status_code) == (200, 503)
        assert client.get("/health").json()["status"] == "loading"
        assert (draw(client).status_code, client.get("/models").status_code) == (503, 503)
        Slow.may.set()
        wait_until(lambda: client.get("/health").status_code == 200)


def test_a_model_that_cannot_be_loaded_leaves_an_unhealthy_worker(tmp_path):
    with serve(tmp_path, ready=False) as client:
        wait_until(lambda: client.get("/health").json()["status"] == "unhealthy")
        assert client.get("/health").status_code == 503
        assert str(tmp_path) not in client.get("/health").json()["message"]
        assert client.get("/livez").status_code == 200


def test_the_metrics_count_what_happened(worker):
    draw(worker)
    text = worker.get("/metrics").text
    assert 'worker_requests_total{route="/v1/images/generations",status="200"}' in text
    for name in ("queue_depth", "running", "queue_wait_seconds", "exec_seconds", "batch_size", "model_loaded"):
        assert f"worker_{name}" in text


def test_the_environment_is_checked():
    assert from_environment({"DEVICE": "CPU", "MAX_BATCH_SIZE": "4", "WARM_UP": "true"}).max_batch_size == 4
    for name, value in (("DEVICE", "tpu"), ("MAX_PIXELS", "0"), ("REQUEST_TIMEOUT", "nan"), ("WARM_UP", "maybe")):
        with pytest.raises(SettingsError, match=name):
            from_environment({name: value})
