"""Requests for pictures as bytes, and answers read, without any network."""

from __future__ import annotations

import base64
import datetime
import json

import msgspec
import pytest
from google.protobuf import struct_pb2

from pixvox.errors import InvalidRequestError
from pixvox.provider import Blob
from pixvox.providers.dashscope.image_wire import decoded, encoded_messages, encoded_task, size_asked
from pixvox.providers.dashscope.images import expire_time
from pixvox.providers.dashscope.models import IMAGE_MODELS
from pixvox.providers.dashscope.refusals import Complaint
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest

NOW = datetime.datetime(2026, 10, 1, 12, tzinfo=datetime.UTC)


def generation(model: str = "qwen-image-max", **fields: object) -> dict:
    request, known = GenerateImageRequest(prompt="a cat", **fields), IMAGE_MODELS[model]
    size = size_asked(request, known.message.generate_image.output)
    encode = encoded_task if known.has_tasks else encoded_messages
    return json.loads(encode(request, known, size))


def edit(model: str, *images: Blob, prompt: str = "swap", **fields: object) -> dict:
    request, known = EditImageRequest(prompt=prompt, **fields), IMAGE_MODELS[model]
    size = size_asked(request, known.message.edit_image.output)
    return json.loads(encoded_messages(request, known, size, images))


def options(**fields: object) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(fields)
    return made


def answer(**members: object) -> bytes:
    return json.dumps({"request_id": "r-1"} | members).encode()


def choice(*parts: object) -> dict:
    return {"finish_reason": "stop", "message": {"role": "assistant", "content": list(parts)}}


def test_defaults_are_sent():
    assert generation()["parameters"] == {"size": "1664*928", "n": 1, "prompt_extend": True, "watermark": False}
    assert generation("wan2.6-t2i")["parameters"] == {
        "size": "1280*1280",
        "n": 1,
        "prompt_extend": True,
        "watermark": False,
    }
    assert generation("qwen-image-2.0")["parameters"]["size"] == "2048*2048"


def test_an_edit_without_a_size_leaves_it_to_the_vendor():
    assert edit("qwen-image-edit-max")["parameters"] == {"n": 1, "prompt_extend": True, "watermark": False}
    assert "size" not in edit("qwen-image-2.0")["parameters"]


def test_the_first_editing_model_is_not_asked_to_extend_the_prompt():
    assert edit("qwen-image-edit", prompt_extend=True)["parameters"] == {"n": 1, "watermark": False}


def test_wan_is_told_not_to_interleave_text():
    assert edit("wan2.6-image")["parameters"]["enable_interleave"] is False


def test_what_the_caller_set_is_sent():
    parameters = generation(
        size=media_pb2.Size(width=928, height=1664),
        seed=0,
        negative_prompt="blur",
        prompt_extend=False,
        watermark=True,
    )["parameters"]
    assert parameters == {
        "size": "928*1664",
        "n": 1,
        "prompt_extend": False,
        "watermark": True,
        "seed": 0,
        "negative_prompt": "blur",
    }


@pytest.mark.parametrize(
    ("asked", "sent"), [((1472, 1140), "1472*1104"), ((1140, 1472), "1104*1472"), ((1472, 1104), "1472*1104")]
)
def test_a_misprinted_size_of_old_clients_becomes_the_right_one(asked, sent):
    size = media_pb2.Size(width=asked[0], height=asked[1])
    assert generation(size=size)["parameters"]["size"] == sent


def test_an_edits_size_is_rounded_to_sixteen():
    size = media_pb2.Size(width=1033, height=1032)
    assert edit("qwen-image-edit-max", size=size)["parameters"]["size"] == "1040*1024"


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_negative_prompt_is_not_sent(blank):
    assert "negative_prompt" not in generation(negative_prompt=blank)["parameters"]
    assert "negative_prompt" not in generation("qwen-image", negative_prompt=blank)["input"]


def test_a_task_has_its_prompts_in_the_input():
    body = generation("qwen-image-plus", negative_prompt="dog")
    assert body["input"] == {"prompt": "a cat", "negative_prompt": "dog"}
    assert "negative_prompt" not in body["parameters"]


def test_inputs_come_first_in_their_order_as_data_uris():
    blobs = [Blob("image/jpeg", b"one"), Blob("image/png", bytes(range(256)) * 4096)]
    body = edit("qwen-image-edit-max", *blobs, prompt='{"image":""} "image":""')
    [message] = body["input"]["messages"]
    first, second, text = message["content"]
    assert message["role"] == "user"
    assert first == {"image": f"data:image/jpeg;base64,{base64.b64encode(b'one').decode()}"}
    assert second == {"image": f"data:image/png;base64,{base64.b64encode(blobs[1].data).decode()}"}
    assert text == {"text": '{"image":""} "image":""'}


def test_a_prompt_in_any_script_arrives_as_it_is():
    prompt = 'Ein "Käfer", 猫, 🐈 \\ \n\t\x01'
    assert edit("qwen-image-2.0", prompt=prompt)["input"]["messages"][0]["content"] == [{"text": prompt}]


def test_parameters_that_the_contract_lacks_can_be_given():
    given = options(
        dashscope={"enable_thinking": True, "steps": 7, "scale": 7.5, "style": "ink", "list": [1, None], "image": ""},
        sandbox={"fault": {}},
    )
    parameters = edit("qwen-image-edit-max", Blob("image/png", b"x"), provider_options=given)["parameters"]
    assert parameters | {"n": 1} == parameters
    extra = {name: parameters[name] for name in ("enable_thinking", "steps", "scale", "style", "list", "image")}
    assert extra == {
        "enable_thinking": True,
        "steps": 7,
        "scale": 7.5,
        "style": "ink",
        "list": [1, None],
        "image": "",
    }
    assert isinstance(extra["steps"], int)


@pytest.mark.parametrize("name", ["n", "size", "seed", "prompt_extend", "watermark", "negative_prompt"])
def test_a_parameter_that_has_a_field_is_refused_rather_than_dropped(name):
    with pytest.raises(InvalidRequestError) as raised:
        generation(provider_options=options(dashscope={name: 1}))
    assert [violation.field for violation in raised.value.violations] == [f"provider_options.dashscope.{name}"]


@pytest.mark.parametrize("value", ["text", 1, True, [1], None])
def test_options_that_are_no_object_are_refused(value):
    with pytest.raises(InvalidRequestError) as raised:
        generation(provider_options=options(dashscope=value))
    assert [violation.field for violation in raised.value.violations] == ["provider_options.dashscope"]


def test_every_picture_of_every_choice_is_taken():
    output = {
        "choices": [
            choice({"image": "http://h/1"}, {"text": "then"}, {"image": "http://h/2"}),
            choice({"image": "https://h/3"}),
        ]
    }
    read = decoded(answer(output=output, usage={"image_count": 3, "width": 1328, "height": 1328}))
    assert read.urls == ("http://h/1", "http://h/2", "https://h/3")
    assert (read.request_id, read.billed, read.size, read.complaint) == ("r-1", 3, (1328, 1328), None)


def test_the_size_of_wan_is_read_from_its_own_form():
    output = {"choices": [choice({"type": "image", "image": "http://h/1"})]}
    read = decoded(answer(output=output, usage={"image_count": 1, "size": "1280*960", "input_tokens": 0}))
    assert read.size == (1280, 960)


def test_a_task_tells_which_pictures_failed():
    results = [{"orig_prompt": "a", "url": "http://h/1"}, {"code": "InternalError.Timeout", "message": "took too long"}]
    read = decoded(answer(output={"task_status": "SUCCEEDED", "results": results}, usage={"image_count": 1}))
    assert read.urls == ("http://h/1",)
    assert read.complaint == Complaint(code="InternalError.Timeout", message="took too long", request_id="r-1")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"output":null,"usage":null,"request_id":null,"code":null,"message":null}',
        b'{"output":{"choices":null}}',
        b'{"output":{"choices":[]}}',
        b'{"output":{"choices":[{"message":null}]}}',
        b'{"output":{"choices":[{"message":{"content":null}}]}}',
        b'{"output":{"choices":[{"message":{"content":[{"image":null},{"text":"no"},{"image":""}]}}]}}',
        b'{"output":{"choices":[{"message":{"content":[{"image":"ftp://h/1"},{"image":"/etc/passwd"}]}}]}}',
        b'{"output":{"results":[]}}',
    ],
)
def test_an_answer_without_a_picture_has_none(body):
    read = decoded(body)
    assert read.urls == ()
    assert read.billed is None
    assert read.complaint is None


@pytest.mark.parametrize(
    "usage", [None, {}, {"image_count": "1", "width": "x"}, {"width": 0, "height": 5}, {"size": "1*b"}]
)
def test_usage_that_is_no_number_is_not_believed(usage):
    read = decoded(answer(output={"choices": [choice({"image": "http://h/1"})]}, usage=usage))
    assert (read.billed, read.size) == (None, None)


def test_a_success_with_a_code_is_a_failure():
    read = decoded(
        answer(code="DataInspectionFailed", message="Output data", output={"choices": [choice({"image": "http://h"})]})
    )
    assert read == Complaint(code="DataInspectionFailed", message="Output data", request_id="r-1")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"output":[]}', b'{"output":{"choices":{}}}', b"\xff"])
def test_what_is_no_answer_of_the_vendor_is_not_read(body):
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        decoded(body)


@pytest.mark.parametrize(
    ("query", "hours"),
    [
        ("", 24),
        ("?Expires=abc", 24),
        ("?Expires=", 24),
        (f"?Expires={'9' * 30}", 24),
        (f"?Expires={int(NOW.timestamp()) + 3600}&Signature=s", 1),
        (f"?Expires={int(NOW.timestamp()) + 30 * 3600}", 24),
        (f"?Expires={int(NOW.timestamp()) - 3600}", -1),
    ],
)
def test_an_address_works_for_a_day_or_as_long_as_it_says(query, hours):
    assert expire_time(f"https://h/1.png{query}", NOW) == NOW + datetime.timedelta(hours=hours)
