"""Qwen-Image-2.1, which draws and edits, with transparency, and Qwen-Image-Layered, which takes pictures apart."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image
from serving_worker import draw, edit, events, picture, png, serve

SMALL = {"resolution": 64, "size": "64x64", "num_inference_steps": 2, "seed": 1}


@pytest.fixture(scope="module")
def newest(tiny):
    """A worker with the tiny Qwen-Image-2.1."""
    with serve(tiny / "qwen-image-2.1") as client:
        yield client


@pytest.fixture(scope="module")
def layerer(tiny):
    """A worker with the tiny Qwen-Image-Layered."""
    with serve(tiny / "qwen-image-layered") as client:
        yield client


def change(client, files, **fields):
    """An edit by the OpenAI route."""
    form = {"prompt": "join them", **SMALL, **fields}
    form = {name: str(value) for name, value in form.items() if value is not None}
    return client.post("/v1/images/edits", data=form, files=[("image", file) for file in files])


def image_of(answer, number=0):
    assert answer.status_code == 200, answer.text
    return picture(answer.json()["data"][number]["b64_json"])


def texts(answer):
    assert answer.status_code == 200, answer.text
    return [item["b64_json"] for item in answer.json()["data"]]


def test_one_model_draws_and_edits(newest):
    assert newest.get("/models").json()["capabilities"] == ["text-to-image", "image-editing"]
    assert image_of(draw(newest)).size == (64, 64)
    assert image_of(change(newest, [png()])).size == (64, 64)


def test_its_pictures_keep_their_transparency_where_the_format_has_any(newest):
    found = {name: image_of(draw(newest, output_format=name)) for name in ("png", "webp", "jpeg")}
    assert {name: image.mode for name, image in found.items()} == {"png": "RGBA", "webp": "RGBA", "jpeg": "RGB"}
    assert found["png"].getchannel("A").getextrema()[0] < 255
    assert found["png"].getchannel("A").getextrema() == found["webp"].getchannel("A").getextrema()


def test_a_stream_says_what_is_transparent(newest):
    heard = events(draw(newest, stream=True, partial_images=1, num_inference_steps=4).text)
    said = {name: data["background"] for name, data in heard if "background" in data}
    assert said == {"image_generation.partial_image": "transparent", "image_generation.completed": "transparent"}
    partial = next(data for name, data in heard if name.endswith("partial_image"))
    assert picture(partial["b64_json"]).mode == "RGBA"


def test_what_it_makes_depends_on_seed_prompt_and_pictures(newest):
    pictures = [[png("red")], [png("blue")], [png("red"), png("blue")], [png((255, 0, 0, 40), mode="RGBA")]]
    edits = [texts(change(newest, files))[0] for files in pictures]
    draws = [texts(draw(newest, **fields))[0] for fields in ({}, {"seed": 2}, {"prompt": "a dog"})]
    assert len({*edits, *draws}) == 7
    assert texts(change(newest, pictures[2]))[0] == edits[2]
    assert texts(draw(newest))[0] == draws[0]


def test_it_takes_ten_pictures_and_no_more(newest):
    assert change(newest, [png()] * 10).status_code == 200
    refused = change(newest, [png()] * 11)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "image")


def test_the_resolution_says_how_large_it_looks_and_makes(newest):
    assert image_of(change(newest, [png(size=(64, 128))], size=None)).size == (32, 96)
    coarse, fine = texts(change(newest, [png()])), texts(change(newest, [png()], resolution=128))
    assert coarse != fine
    refused = change(newest, [png()], resolution=4096)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "resolution")


def test_a_picture_too_thin_to_be_looked_at_is_refused(newest):
    refused = change(newest, [png(size=(1900, 10))])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "resolution")


def test_a_batch_of_it_gives_what_each_would_have_got_alone(newest):
    both = draw(newest, n=2, seed=4).json()["data"]
    assert both[1]["b64_json"] == texts(draw(newest, seed=5))[0]


def test_its_defaults_are_those_of_its_class(newest, painter):
    def steps(client):
        body = {"prompt": "x", "options": {"async": True, "width": 64, "height": 64}}
        job = client.post("/process", json=body)
        client.post(f"/job/{job.json()['job_id']}/cancel")
        return client.get(job.headers["location"]).json()["steps"]

    assert (steps(newest), steps(painter)) == (40, 50)
    # Without guidance a negative prompt means nothing.
    assert texts(draw(newest)) == texts(draw(newest, negative_prompt="blur"))
    assert texts(draw(newest)) == texts(draw(newest, true_cfg_scale=1))
    guided = {"true_cfg_scale": 4}
    assert texts(draw(newest, **guided)) != texts(draw(newest, **guided, negative_prompt="blur"))


def test_the_older_route_edits_with_it_too(newest):
    answer = edit(newest, image=png(size=(64, 32)))
    assert picture(answer.json()["processed_image"]).size == (64, 32)


def test_a_distilled_schedule_says_its_own_number_of_steps(tiny, tmp_path):
    import shutil

    folder = tmp_path / "distilled"
    shutil.copytree(tiny / "qwen-image-2.1", folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "sample_sigmas": [1.0, 0.7, 0.4]}))
    with serve(folder) as client:
        own = events(draw(client, num_inference_steps=None, stream=True).text)
        assert [data["steps"] for name, data in own if name == "x.progress"] == [3, 3, 3]
        other = events(draw(client, num_inference_steps=5, stream=True).text)
        assert [data["step"] for name, data in other if name == "x.progress"] == [1, 2, 3, 4, 5]


def test_a_picture_is_taken_apart(layerer):
    assert layerer.get("/models").json()["capabilities"] == ["image-layering"]
    answer = change(layerer, [png((255, 0, 0, 100), size=(64, 96), mode="RGBA")], size=None, resolution=640, layers=2)
    made = [image_of(answer, number) for number in range(2)]
    assert [(image.mode, image.size) for image in made] == [("RGBA", (512, 768))] * 2
    assert answer.json()["size"] == "512x768"
    assert len(answer.json()["data"]) == 2
    assert {item["seed"] for item in answer.json()["data"]} == {1}
    assert len(set(texts(answer))) == 2


def test_layers_come_in_a_stream_as_well(layerer):
    fields = {"size": None, "resolution": None, "layers": 2, "stream": "true", "partial_images": 1}
    heard = events(change(layerer, [png()], **fields, num_inference_steps=3).text)
    names = [name for name, _ in heard if name != "x.progress"]
    assert names == ["image_edit.partial_image", "image_edit.completed", "image_edit.completed"]
    assert [data["index"] for name, data in heard if name == "image_edit.completed"] == [0, 1]
    assert picture(heard[-1][1]["b64_json"]).size == (640, 640)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "64x64", "layers": 2}, "size"),
        ({"resolution": 512, "layers": 2}, "resolution"),
        ({"layers": 1}, "layers"),
        ({"layers": 11}, "layers"),
        ({"layers": 2, "n": 2}, "n"),
    ],
)
def test_a_bad_value_for_layers_is_named(layerer, fields, param):
    answer = change(layerer, [png()], **{"size": None, "resolution": None, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_layers_are_refused_by_a_model_that_makes_none(newest, layerer):
    refused = change(newest, [png()], layers=2)
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "unsupported_task")
    assert draw(layerer).json()["error"]["type"] == "unsupported_task"
    assert edit(layerer).json()["error"]["type"] == "unsupported_task"


def test_a_model_that_only_takes_apart_needs_no_number():
    with serve(fake_capabilities="image-layering") as client:
        url = "data:image/png;base64," + base64.b64encode(png()).decode()
        answer = client.post("/v1/images/edits", json={"prompt": "x", "image": url, "num_inference_steps": 2})
        assert [picture(text).size for text in texts(answer)] == [(64, 64)] * 4


def test_a_transparent_picture_is_white_to_a_model_that_has_no_transparency(editor):
    clear = Image.new("RGBA", (64, 64), (9, 9, 9, 0))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    assert (
        edit(editor, image=buffer.getvalue()).json()["processed_image"]
        == (edit(editor, image=png("white")).json()["processed_image"])
    )
