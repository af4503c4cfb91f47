"""The tiny pipelines behind real routes: what comes out depends on what went in, and on nothing else."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_worker import draw, edit, events, picture, png, serve


def test_a_picture_from_text_is_the_same_for_the_same_seed(painter):
    first, again, other = draw(painter, seed=1), draw(painter, seed=1), draw(painter, seed=2)
    assert first.json()["data"] == again.json()["data"]
    assert first.json()["data"][0]["b64_json"] != other.json()["data"][0]["b64_json"]
    assert picture(first.json()["data"][0]["b64_json"]).size == (64, 64)
    assert (first.json()["seed"], first.json()["size"], first.json()["output_format"]) == (1, "64x64", "png")


def test_the_prompt_and_the_negative_prompt_are_seen(painter):
    answers = [draw(painter), draw(painter, prompt="a dog"), draw(painter, negative_prompt="blur")]
    assert len({answer.json()["data"][0]["b64_json"] for answer in answers}) == 3


def test_each_further_picture_has_the_next_seed(painter):
    both = draw(painter, n=2, seed=4).json()["data"]
    assert [item["seed"] for item in both] == [4, 5]
    assert both[1]["b64_json"] == draw(painter, seed=5).json()["data"][0]["b64_json"]


def test_an_edit_depends_on_the_picture_and_is_repeatable(editor):
    red, again, blue = edit(editor), edit(editor), edit(editor, image=png("blue"))
    assert red.status_code == 200
    assert red.json()["processed_image"] == again.json()["processed_image"] != blue.json()["processed_image"]
    assert red.json()["processed_image"] == red.json()["processed_image_base64"]
    assert red.json()["processing_time"] > 0
    assert picture(red.json()["processed_image"]).size == (64, 64)


@pytest.mark.parametrize(
    "image",
    [
        png((9, 9, 9, 0), mode="RGBA"),
        png(7, mode="L"),
        png(7, mode="P"),
        png((1, 2, 3, 4), format="JPEG", mode="CMYK"),
    ],
    ids=["RGBA", "L", "P", "CMYK"],
)
def test_a_picture_of_any_mode_is_edited(editor, image):
    assert edit(editor, image=image).status_code == 200


def test_a_single_step_is_refused_as_it_would_be_no_picture(editor):
    answer = edit(editor, steps=1)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "num_inference_steps")
    assert editor.get("/models").json()["limits"]["min_steps"] == 2


def test_json_and_form_mean_the_same(editor):
    body = {"prompt": "make it blue", "image": base64.b64encode(png()).decode(), "options": {"steps": 2, "seed": 1}}
    assert editor.post("/process", json=body).json()["processed_image"] == edit(editor).json()["processed_image"]


def test_the_bare_picture_is_sent_to_those_who_accept_one(editor):
    answer = edit(editor, headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == base64.b64decode(edit(editor).json()["processed_image"])


def test_the_openai_route_edits_too(editor):
    form = {"prompt": "make it blue", "num_inference_steps": 2, "seed": 1}
    answer = editor.post("/v1/images/edits", data=form, files={"image[]": png()})
    assert answer.json()["data"][0]["b64_json"] == edit(editor).json()["processed_image"]


def test_the_plus_model_takes_two_pictures(tiny):
    with serve(tiny / "qwen-image-edit-plus") as client:
        files = [("image", png("red")), ("image", png("blue"))]
        form = {"prompt": "join them", "num_inference_steps": 2, "seed": 1}
        answer = client.post("/v1/images/edits", data=form, files=files)
        assert answer.status_code == 200, answer.text
        assert client.post("/v1/images/edits", data=form, files=files * 3).status_code == 400


def test_a_stream_shows_progress_previews_and_the_same_picture(painter):
    heard = events(draw(painter, stream=True, partial_images=2, num_inference_steps=6).text)
    names = [name for name, _ in heard]
    assert names.count("x.progress") == 6
    assert names.count("image_generation.partial_image") == 2
    assert names[-1] == "image_generation.completed"
    partial = next(data for name, data in heard if name == "image_generation.partial_image")
    assert picture(partial["b64_json"]).size == (64, 64)
    alone = draw(painter, num_inference_steps=6).json()["data"][0]
    assert heard[-1][1]["b64_json"] == alone["b64_json"] != partial["b64_json"]


def test_an_edit_can_be_watched_too(editor):
    form = {"prompt": "x", "num_inference_steps": 3, "seed": 1, "stream": "true", "partial_images": 1}
    heard = events(editor.post("/v1/images/edits", data=form, files={"image": png()}).text)
    assert [name for name, _ in heard if name != "x.progress"] == ["image_edit.partial_image", "image_edit.completed"]


def test_a_batch_gives_what_each_would_have_got_alone(tiny):
    sizes = ["64x64", "96x64"] * 4
    with serve(tiny / "qwen-image") as alone:
        expected = [draw(alone, size=size, seed=seed).json()["data"] for seed, size in enumerate(sizes)]
    together = {"max_batch_size": 4, "batch_wait_ms": 500, "max_concurrent_requests": 8}
    with serve(tiny / "qwen-image", **together) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pair: draw(client, size=pair[1], seed=pair[0]), enumerate(sizes)))
        batches = client.worker.metrics.registry.get_sample_value("worker_batch_size_count")
    assert [answer.json()["data"] for answer in answers] == expected
    assert batches < 8


def test_the_models_answer_comes_from_the_loaded_class(editor, painter):
    assert editor.get("/models").json()["capabilities"] == ["image-editing"]
    assert painter.get("/models").json()["capabilities"] == ["text-to-image"]
    assert editor.get("/v1/models").json()["data"][0]["id"] == "qwen-image-edit"
    assert json.loads(draw(editor).text)["error"]["type"] == "unsupported_task"
    assert edit(painter).json()["error"]["type"] == "unsupported_task"
