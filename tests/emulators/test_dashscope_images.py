"""The emulator checks requests for pictures as the vendor does, and makes what it was asked for."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from pixvox.testing.dashscope import Painting, painted

GENERATION = "/services/aigc/multimodal-generation/generation"
SMALL = f"data:image/png;base64,{base64.b64encode(painted(Painting('cat', (400, 200)))).decode()}"


def body(model: str, *parts: dict, **parameters: object) -> dict:
    return {
        "model": model,
        "input": {"messages": [{"role": "user", "content": list(parts)}]},
        "parameters": parameters,
    }


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        (body("qwen-image-max", {"text": "cat"}, size="1024*1024"), "size must be one of 1664*928"),
        (body("qwen-image-max", {"text": "cat"}, size="1664x928"), "W*H"),
        (body("qwen-image-max", {"text": "cat"}, n=2), "num_images_per_prompt must be 1"),
        (body("qwen-image-max", {"text": "cat"}, seed=2**31), "seed"),
        (body("qwen-image-max", {"text": "cat"}, watermark="no"), "watermark"),
        (body("qwen-image-2.0", {"text": "cat"}, n=7), "n must be from 1 to 6"),
        (body("qwen-image-2.0", {"text": "cat"}, size="256*256"), "pixels"),
        (body("qwen-image-max", {"text": "cat"}, {"text": "dog"}), "one text"),
        (body("qwen-image-max", {"text": " "}), "text"),
        (body("qwen-image-max", {"text": "cat"}, {"image": SMALL}), "content length only support 1"),
        (body("qwen-image-edit-max", {"text": "cat"}), "lack of image or text"),
        (body("qwen-image-edit-max", {"image": SMALL}), "lack of image or text"),
        (body("qwen-image-edit-max", *[{"image": SMALL}] * 4, {"text": "mix"}), "content length only support 4"),
        (body("qwen-image-edit-max", {"image": SMALL}, {"text": "mix"}, size="100*600"), "sides"),
        (body("qwen-image-edit", {"image": SMALL}, {"text": "mix"}, size="1024*1024"), "size is not supported"),
        (body("qwen-image-edit", {"image": SMALL}, {"text": "mix"}, n=2), "must be 1"),
        (body("qwen-image-edit-max", {"image": "data:image/png;base64,AAAA"}, {"text": "mix"}), "corrupted"),
        (body("qwen-image-edit-max", {"image": "data:text/plain,cat"}, {"text": "mix"}), "image format error"),
        (
            body("qwen-image-edit-max", {"image": "https://example.com/no.png"}, {"text": "mix"}),
            "download image failed",
        ),
        (body("qwen-image-maximal", {"text": "cat"}), "Model not exist."),
        (body("wan2.5-t2i-preview", {"text": "cat"}), "url error, please check url"),
        ({"model": "qwen-image-max", "input": {"messages": []}, "parameters": {}}, "No messages found in input"),
        (
            {"model": "qwen-image-max", "input": {"messages": [{}, {}]}, "parameters": {}},
            "messages length only support 1",
        ),
    ],
)
async def test_a_request_that_the_vendor_refuses_is_refused(ask, request_body, message):
    answered = await ask(GENERATION, request_body)
    assert (answered.status, answered.json["code"]) == (400, "InvalidParameter")
    assert message in answered.json["message"]
    assert answered.json["request_id"] == answered.headers["x-request-id"]


async def test_unknown_parameters_and_any_order_of_parts_are_tolerated(ask):
    request = body("qwen-image-edit-plus", {"text": "mix"}, {"image": SMALL}, result_format="message", stream=True)
    answered = await ask(GENERATION, request)
    assert answered.status == 200


async def test_parameters_may_be_absent(ask):
    request = body("qwen-image-plus", {"text": "cat"})
    del request["parameters"]
    answered = await ask(GENERATION, request)
    assert answered.json["usage"] == {"image_count": 1, "width": 1664, "height": 928}


async def test_several_pictures_are_contents_of_one_choice_and_all_differ(ask, session):
    answered = await ask(GENERATION, body("qwen-image-2.0", {"text": "cat"}, n=3, size="512*512"))
    (choice,) = answered.json["output"]["choices"]
    assert "task_metric" not in answered.json["output"]
    pictures = set()
    for part in choice["message"]["content"]:
        async with session.get(part["image"]) as download:
            pictures.add(await download.read())
    assert len(pictures) == 3
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(512, 512)}


async def test_an_edit_without_a_size_keeps_the_aspect_of_the_last_picture(ask):
    answered = await ask(GENERATION, body("qwen-image-edit-max", {"image": SMALL}, {"text": "mix"}))
    assert answered.json["usage"] == {"image_count": 1, "width": 1456, "height": 720}


async def test_a_picture_is_fetched_from_this_machine(ask, dashscope_emulator):
    made = await ask(GENERATION, body("qwen-image-max", {"text": "cat"}))
    url = made.json["output"]["choices"][0]["message"]["content"][0]["image"]
    answered = await ask(GENERATION, body("qwen-image-edit-max", {"image": url}, {"text": "mix"}))
    assert answered.status == 200
    assert dashscope_emulator.count("download") == 1


@pytest.mark.parametrize(
    ("key", "message"),
    [("sk-unknown", "Invalid API-key provided."), ("sk-beijing", "Incorrect API key"), ("", "No API-key provided.")],
)
async def test_a_key_that_is_not_good_is_refused(ask, dashscope_emulator, key, message):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, foreign_keys=frozenset({"sk-beijing"}))
    answered = await ask(GENERATION, body("qwen-image-max", {"text": "cat"}), key=key)
    assert (answered.status, answered.json["code"]) == (401, "InvalidApiKey")
    assert message in answered.json["message"]
    assert "sk-" not in str(dashscope_emulator.requests)


async def test_an_unknown_workspace_is_not_found(ask, dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, workspaces=frozenset({"llm-1"}))
    request = body("qwen-image-max", {"text": "cat"})
    assert (await ask(GENERATION, request, **{"x-dashscope-workspace": "llm-1"})).status == 200
    answered = await ask(GENERATION, request, **{"X-DashScope-WorkSpace": "llm-2"})
    assert (answered.status, answered.json["code"]) == (404, "WorkSpaceNotFound")


async def test_a_synchronous_model_refuses_to_be_asked_asynchronously(ask):
    answered = await ask(GENERATION, body("qwen-image-max", {"text": "cat"}), X_DashScope_Async="enable")
    assert (answered.status, answered.json["code"]) == (403, "AccessDenied")
    assert "does not support asynchronous calls" in answered.json["message"]


async def test_the_third_request_in_a_minute_is_refused_where_the_limit_is_two(ask, dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, rate_limits=True)
    answers = [await ask(GENERATION, body("qwen-image-max", {"text": "cat"})) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].json["code"] == "Throttling.RateQuota"
    other = await ask(GENERATION, body("qwen-image-edit-max", {"image": SMALL}, {"text": "mix"}))
    assert other.status == 200


async def test_a_link_that_was_changed_or_has_run_out_is_refused(ask, dashscope_emulator, session):
    answered = await ask(GENERATION, body("qwen-image-max", {"text": "cat"}))
    url = answered.json["output"]["choices"][0]["message"]["content"][0]["image"]
    async with session.get(url.replace("Signature=", "Signature=0")) as download:
        assert (download.status, download.content_type) == (403, "application/xml")
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, result_seconds=-1)
    answered = await ask(GENERATION, body("qwen-image-max", {"text": "cat"}))
    async with session.get(answered.json["output"]["choices"][0]["message"]["content"][0]["image"]) as download:
        assert download.status == 403
        assert "expired" in await download.text()


async def test_a_path_that_is_not_emulated_is_not_found(ask):
    answered = await ask("/services/aigc/video-generation/generation", {"model": "x"})
    assert (answered.status, answered.json["code"]) == (404, "NotFound")


async def test_a_body_that_is_no_json_object_is_refused(dashscope_emulator, session):
    for data in (b"{", b"[]", b""):
        url = f"{dashscope_emulator.http_base}{GENERATION}"
        async with session.post(url, data=data, headers={"Authorization": "Bearer sk-test"}) as answered:
            assert answered.status == 400
