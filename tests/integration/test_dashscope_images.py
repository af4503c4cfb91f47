"""Pictures of the emulated DashScope, through the service."""

from __future__ import annotations

import asyncio
import datetime
import io
import math
import time

import aiohttp
import grpc
import pytest
from google.protobuf import struct_pb2
from PIL import Image

from calling import photo
from emulated import failure_of, serving
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator, Fault, Painting, Stalled, edited, painted
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest

INLINE = media_pb2.DELIVERY_INLINE
SMALL = media_pb2.Size(width=512, height=512)


@pytest.fixture
async def emulator():
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
async def stubs(emulator):
    async with serving(emulator) as reached:
        yield reached


def source(data: bytes) -> media_pb2.MediaInput:
    return media_pb2.MediaInput(data=data)


async def file_at(uri: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(uri) as response:
        return await response.read()


async def test_a_picture_comes_as_an_address_that_works_for_a_day(emulator, stubs):
    answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a red bicycle", seed=7, request_id="mine"))
    [image] = answer.images
    assert await file_at(image.uri) == painted(Painting("a red bicycle", (1664, 928), 7))
    assert image.mime_type == "image/png"
    assert (image.size.width, image.size.height) == (1664, 928)
    left = image.expire_time.ToDatetime(datetime.UTC) - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23, minutes=59) < left <= datetime.timedelta(hours=24)
    assert (answer.effective_size.width, answer.effective_size.height) == (1664, 928)
    assert not answer.warnings
    assert emulator.count() == 2


async def test_the_receipt_says_who_did_the_work_and_what_it_cost(emulator, stubs):
    answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a red bicycle", request_id="mine"))
    receipt = answer.receipt
    assert (receipt.request_id, receipt.provider, receipt.region) == ("mine", "qwen", "sg")
    assert receipt.model == "qwen-image-max"
    assert receipt.provider_request_id
    assert receipt.usage == media_pb2.Usage(images=1)
    assert receipt.cost == media_pb2.Cost(
        state=media_pb2.COST_STATE_PRICED, amount="0.075", currency="USD", price_table="2026-10"
    )
    assert emulator.requests[0].usage["image_count"] == 1


async def test_a_picture_comes_inline_if_asked(emulator, stubs):
    answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a red bicycle", delivery=INLINE))
    [image] = answer.images
    assert image.data == painted(Painting("a red bicycle", (1664, 928)))
    assert image.size_bytes == len(image.data)
    assert not image.HasField("expire_time")
    assert "authorization" not in emulator.requests[-1].headers


async def test_several_pictures_of_the_second_generation_differ_and_keep_their_order(stubs):
    request = GenerateImageRequest(prompt="a cat", model="qwen-image-2.0", n=3, size=SMALL, delivery=INLINE)
    answer = await stubs.images.GenerateImage(request)
    assert [image.data for image in answer.images] == [painted(Painting("a cat", (512, 512), 0, n)) for n in range(3)]
    assert answer.receipt.usage.images == 3
    assert answer.receipt.cost.amount == "0.105"


@pytest.mark.parametrize("model", ["wan2.6-t2i", "wan2.5-t2i-preview", "wan2.2-t2i-plus", "z-image-turbo"])
async def test_models_that_make_four_by_default_make_the_one_that_was_asked_for(stubs, model):
    answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", model=model))
    assert len(answer.images) == answer.receipt.usage.images == 1


async def test_a_misprinted_size_is_taken_for_the_right_one(stubs):
    request = GenerateImageRequest(prompt="a cat", size=media_pb2.Size(width=1472, height=1140))
    answer = await stubs.images.GenerateImage(request)
    assert (answer.effective_size.width, answer.effective_size.height) == (1472, 1104)


async def test_two_pictures_are_edited_into_two(stubs):
    first, second = photo(640, 480), photo(600, 400, "JPEG")
    request = EditImageRequest(prompt="swap", images=[source(first), source(second)], n=2, delivery=INLINE)
    answer = await stubs.images.EditImage(request)
    size = (answer.images[0].size.width, answer.images[0].size.height)
    assert [image.data for image in answer.images] == [
        edited((first, second), Painting("swap", size, 0, index)) for index in range(2)
    ]
    assert not answer.HasField("effective_size")
    assert answer.receipt.model == "qwen-image-edit-max"
    assert answer.receipt.cost.amount == "0.15"


@pytest.mark.parametrize("model", ["qwen-image-edit", "qwen-image-edit-plus", "qwen-image-2.0-pro", "wan2.6-image"])
async def test_every_kind_of_editing_model_edits(stubs, model):
    answer = await stubs.images.EditImage(EditImageRequest(prompt="night", images=[source(photo())], model=model))
    assert len(answer.images) == 1


async def test_an_edit_has_the_size_that_was_asked_for_in_steps_of_sixteen(stubs):
    size = media_pb2.Size(width=1033, height=1032)
    answer = await stubs.images.EditImage(EditImageRequest(prompt="night", images=[source(photo())], size=size))
    assert (answer.effective_size.width, answer.effective_size.height) == (1040, 1024)
    assert (answer.images[0].size.width, answer.images[0].size.height) == (1040, 1024)


async def test_a_gif_is_edited_by_its_first_frame_and_the_caller_is_told(stubs):
    file = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    answer = await stubs.images.EditImage(EditImageRequest(prompt="night", images=[source(file.getvalue())]))
    [warning] = answer.warnings
    assert (warning.reason, warning.field) == (media_pb2.WARNING_REASON_INPUT_REDUCED, "images[0]")


async def test_an_option_that_the_model_lacks_is_said_to_be_ignored(stubs):
    request = EditImageRequest(prompt="night", images=[source(photo())], model="qwen-image-edit", prompt_extend=True)
    answer = await stubs.images.EditImage(request)
    assert [warning.field for warning in answer.warnings] == ["prompt_extend"]


async def test_an_input_that_is_too_large_is_refused_before_anything_is_sent(emulator, stubs):
    noise = Image.effect_noise((3000, 3000), 100)
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    failed = await failure_of(stubs.images.EditImage(EditImageRequest(prompt="x", images=[source(file.getvalue())])))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MEDIA_TOO_LARGE")
    assert [violation.field for violation in failed.violations] == ["images[0]"]
    assert emulator.count() == 0


async def test_an_input_that_is_too_large_is_scaled_down_if_the_caller_allows_it(emulator, stubs):
    noise = Image.effect_noise((3000, 3000), 100)
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)
    request = EditImageRequest(prompt="x", images=[source(file.getvalue())], scale_inputs_down=True)
    answer = await stubs.images.EditImage(request)
    assert [warning.field for warning in answer.warnings] == ["images[0]"]
    assert emulator.requests[0].status == 200


async def test_a_model_with_tasks_is_asked_until_it_has_finished(emulator, stubs):
    request = GenerateImageRequest(prompt="a cat", model="qwen-image-plus", negative_prompt="dog", delivery=INLINE)
    answer = await stubs.images.GenerateImage(request)
    assert answer.images[0].data == painted(Painting("a cat (without dog)", (1664, 928)))
    assert [record.operation for record in emulator.requests] == [
        "task_create",
        "task_get",
        "task_get",
        "task_get",
        "download",
    ]
    assert answer.receipt.usage.images == 1
    assert answer.receipt.cost.amount == "0.03"


async def test_parameters_of_the_vendor_reach_it_through_the_options(emulator, stubs):
    options = struct_pb2.Struct()
    options.update({"dashscope": {"result_format": "message", "steps": 4}})
    await stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", provider_options=options))
    parameters = emulator.requests[0].json["parameters"]
    assert (parameters["result_format"], parameters["steps"]) == ("message", 4)


async def test_the_workspace_is_named_in_every_request(emulator):
    async with serving(emulator, workspace="llm-ws1") as stubs:
        await stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", model="qwen-image"))
    assert {record.headers["x-dashscope-workspace"] for record in emulator.requests} == {"llm-ws1"}


async def test_the_preferred_models_serve_and_their_region_is_named(emulator):
    async with serving(emulator, region="cn", image_model="qwen-image-2.0") as stubs:
        made = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", size=SMALL))
        changed = await stubs.images.EditImage(EditImageRequest(prompt="night", images=[source(photo())]))
        listed = await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())
    assert (made.receipt.model, changed.receipt.model) == ("qwen-image-2.0", "qwen-image-edit-max")
    assert made.receipt.region == "bj"
    assert (made.receipt.cost.amount, made.receipt.cost.currency) == ("0.2", "CNY")
    assert listed.providers[0].ready


async def test_a_picture_for_a_caller_who_has_left_is_not_waited_for(emulator, stubs):
    emulator.faults.add(Fault("generate", Stalled(30)))
    call = stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat"))
    await emulator.until(lambda: emulator.count("generate"))
    left_at = time.monotonic()
    call.cancel()
    await emulator.until(lambda: emulator.requests[0].cancelled)
    assert emulator.requests[0].client_closed_at - left_at < 1
    assert emulator.count() == 1


async def test_a_task_for_a_caller_who_has_left_is_called_off(emulator, stubs):
    emulator.behaviour = Behaviour(task_pending=math.inf)
    call = stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", model="qwen-image"))
    await emulator.until(lambda: emulator.count("task_get"))
    left_at = time.monotonic()
    call.cancel()
    await emulator.until(lambda: emulator.count("task_cancel"))
    assert time.monotonic() - left_at < 1
    await emulator.until(lambda: emulator.requests[-1].finished)
    assert [task.status for task in emulator.tasks] == ["CANCELED"]


async def test_a_task_whose_caller_leaves_while_it_is_begun_is_called_off_too(emulator, stubs):
    emulator.behaviour = Behaviour(task_pending=math.inf)
    emulator.faults.add(Fault("task_create", Stalled(0.3, after=0)))
    call = stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", model="qwen-image"))
    await emulator.until(lambda: emulator.count("task_create"))
    call.cancel()
    await emulator.until(lambda: emulator.count("task_cancel"))
    await emulator.until(lambda: emulator.requests[-1].finished)
    assert [task.status for task in emulator.tasks] == ["CANCELED"]


async def test_a_task_that_runs_when_its_caller_leaves_is_left_alone(emulator, stubs):
    emulator.behaviour = Behaviour(task_pending=0, task_running=math.inf)
    call = stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", model="qwen-image"))
    await emulator.until(lambda: emulator.count("task_get"))
    call.cancel()
    await emulator.until(lambda: emulator.count("task_cancel") and emulator.requests[-1].finished)
    polls = emulator.count("task_get")
    await asyncio.sleep(0.1)
    assert emulator.count("task_get") == polls
    assert [task.status for task in emulator.tasks] == ["RUNNING"]


async def test_the_deadline_calls_a_task_off(emulator, stubs):
    emulator.behaviour = Behaviour(task_pending=math.inf)
    call = stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", model="qwen-image"), timeout=0.3)
    failed = await failure_of(call)
    assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
    await emulator.until(lambda: emulator.count("task_cancel"))


async def test_without_a_key_every_call_fails_and_the_operator_is_told(emulator):
    async with serving(emulator, api_key="") as stubs:
        made = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat")))
        edit = await failure_of(stubs.images.EditImage(EditImageRequest(prompt="x", images=[source(photo())])))
        listed = await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())
    for failed in (made, edit):
        assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")
        assert failed.metadata["region"] == "sg"
    assert not listed.providers[0].ready
    assert "QWEN_API_KEY" in listed.providers[0].unready_reason
    assert emulator.count() == 0
