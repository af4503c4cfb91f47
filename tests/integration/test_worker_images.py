"""Pictures of emulated workers, through the service."""

from __future__ import annotations

import asyncio
import io

import grpc
import pytest
from google.protobuf import struct_pb2
from PIL import Image

from calling import photo
from emulated import failure_of
from pixvox.testing.dashscope import Painting, edited, painted
from pixvox.testing.worker import LOADING, Cut, Failing, NoEnd, Nonsense, NoResult, Page, Refused, Slow, WorkerEmulator
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from workers import EDITOR, PAINTER, service

PROMPT = "a red bicycle by the sea"
SMALL = media_pb2.Size(width=512, height=256)


def options(**members):
    found = struct_pb2.Struct()
    found.update({"worker": members})
    return found


def drawing(**fields):
    return GenerateImageRequest(**({"prompt": PROMPT, "size": SMALL} | fields))


def editing(*pictures, **fields):
    inputs = [media_pb2.MediaInput(data=data) for data in pictures or (photo(),)]
    return EditImageRequest(prompt="at night", images=inputs, **fields)


async def test_a_picture_is_asked_for_as_events_with_its_seed_and_its_caller_is_told_all_of_it():
    async with WorkerEmulator(api_keys=("key",)) as worker, service(worker, api_key="key") as stubs:
        answer = await stubs.images.GenerateImage(drawing(seed=7, negative_prompt="people", n=2), timeout=30)
    [asked] = worker.of("generate")
    assert asked.body == {
        "model": PAINTER,
        "prompt": PROMPT,
        "n": 2,
        "size": "512x256",
        "seed": 7,
        "negative_prompt": "people",
        "output_format": "png",
        "num_inference_steps": 4,
        "stream": True,
    }
    assert asked.headers["authorization"] == "Bearer ***"
    # The time that the caller has left goes along.
    assert 0 < float(asked.headers["x-request-timeout"]) <= 31
    assert [image.data for image in answer.images] == [
        painted(Painting(PROMPT, (512, 256), 7 + index, index)) for index in range(2)
    ]
    assert [image.seed for image in answer.images] == [7, 8]
    assert answer.receipt.usage.images == 2
    assert answer.receipt.provider_request_id
    assert not answer.warnings


async def test_an_edit_is_a_form_with_all_its_pictures():
    first, second = photo(), photo(32, 32, "JPEG")
    async with WorkerEmulator() as worker, service(worker) as stubs:
        answer = await stubs.images.EditImage(editing(first, second, seed=3))
    [asked] = worker.of("edit")
    assert [(file.part, file.mime_type, file.data) for file in asked.files] == [
        ("image", "image/png", first),
        ("image", "image/jpeg", second),
    ]
    assert asked.body["stream"] == "true"
    assert (asked.body["model"], asked.body["seed"]) == (EDITOR, "3")
    # Without a size it keeps that of the first picture.
    assert "size" not in asked.body
    assert answer.images[0].data == edited((first, second), Painting("at night", (64, 48), 3))


async def test_callers_and_the_settings_say_how_many_steps_and_a_callers_word_wins():
    asks = [{}, {"steps": 9}, {"quality": "low"}, {"true_cfg_scale": 2.5}]
    async with WorkerEmulator() as worker, service(worker) as stubs:
        for ask in asks:
            await stubs.images.GenerateImage(drawing(provider_options=options(**ask)))
        for wrong in ({"steps": 0}, {"steps": 1.5}, {"depth": 3}, {"quality": "best"}):
            failed = await failure_of(stubs.images.GenerateImage(drawing(provider_options=options(**wrong))))
            assert failed.reason == "INVALID_REQUEST"
    bodies = [asked.body for asked in worker.of("generate")]
    assert [body.get("num_inference_steps") for body in bodies] == [4, 9, None, 4]
    assert [body.get("quality") for body in bodies] == [None, None, "low", None]
    assert bodies[3]["true_cfg_scale"] == 2.5
    assert type(bodies[1]["num_inference_steps"]) is int


@pytest.mark.parametrize(
    ("wanted", "name"), [(media_pb2.IMAGE_FORMAT_JPEG, "JPEG"), (media_pb2.IMAGE_FORMAT_WEBP, "WEBP")]
)
async def test_a_picture_comes_in_the_format_that_was_asked_for(wanted, name):
    async with WorkerEmulator() as worker, service(worker) as stubs:
        answer = await stubs.images.GenerateImage(drawing(format=wanted))
    assert worker.of("generate")[0].body["output_format"] == name.lower()
    assert Image.open(io.BytesIO(answer.images[0].data)).format == name


async def test_what_the_worker_does_not_know_is_said_in_warnings():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        answer = await stubs.images.GenerateImage(drawing(prompt_extend=True, watermark=True))
    assert [warning.field for warning in answer.warnings] == ["prompt_extend", "watermark"]


async def test_a_picture_of_noise_with_four_megapixels_fits_into_an_event():
    size = media_pb2.Size(width=2048, height=2048)
    noise = Image.effect_noise((2048, 2048), 200).convert("RGB")
    file = io.BytesIO()
    Image.merge("RGB", [noise.getchannel(0).rotate(angle) for angle in (0, 90, 180)]).save(
        file, "PNG", compress_level=1
    )
    async with WorkerEmulator() as worker, service(worker) as stubs:
        request = editing(file.getvalue(), size=size)
        answer = await stubs.images.EditImage(request, timeout=60)
    assert len(answer.images[0].data) > 8 * 1024 * 1024


FAULTS = [
    (Refused(400, "invalid_request_error", "prompt"), "INVALID_PARAMETER"),
    (Refused(400, "unsupported_task"), "PROVIDER_CONFIG"),
    (Refused(401, "authentication_error"), "PROVIDER_CREDENTIALS"),
    (Refused(403), "PROVIDER_ACCESS_DENIED"),
    (Refused(404, "not_found_error", "model"), "PROVIDER_CONFIG"),
    (Refused(409, "conflict_error"), "CONFLICT"),
    (Refused(413, "payload_too_large"), "INVALID_INPUT"),
    (Refused(415, "unsupported_media_type"), "INVALID_INPUT"),
    (Refused(422), "INVALID_PARAMETER"),
    (Refused(429, "overloaded_error", retry_after=60), "RATE_LIMITED"),
    (Refused(500), "PROVIDER_INTERNAL"),
    (LOADING, "PROVIDER_UNAVAILABLE"),
    (Refused(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
    (Refused(504, "timeout_error"), "PROVIDER_TIMEOUT"),
    (Page(502), "OUTCOME_UNKNOWN"),
    (Page(200), "PROVIDER_INTERNAL"),
    (Page(302, b"", "text/plain"), "PROVIDER_CONFIG"),
    (Failing(500, after=2), "PROVIDER_INTERNAL"),
    (Failing(503, "out_of_memory", after=1), "PROVIDER_UNAVAILABLE"),
    (Failing(504, "timeout_error", after=1), "PROVIDER_TIMEOUT"),
    (Failing(499, "cancelled", after=1), "PROVIDER_DISCONNECTED"),
    (Nonsense(), "PROVIDER_INTERNAL"),
    (NoResult(), "PROVIDER_INTERNAL"),
    (NoEnd(), "PROVIDER_DISCONNECTED"),
    (Cut(), "OUTCOME_UNKNOWN"),
    (Cut(after=0), "PROVIDER_DISCONNECTED"),
    (Cut(after=2), "PROVIDER_DISCONNECTED"),
]


@pytest.mark.parametrize(("effect", "reason"), FAULTS)
async def test_every_fault_of_a_picture_has_its_reason_and_nothing_is_asked_twice(effect, reason):
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("generate", effect)
        failed = await failure_of(stubs.images.GenerateImage(drawing()))
    assert failed.reason == reason
    assert {"provider_code", "provider_request_id"} <= failed.metadata.keys()
    assert worker.count() == 1
    assert PROMPT not in str(failed)


async def test_a_worker_that_is_full_is_waited_for_as_it_asks():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("generate", Refused(429, "overloaded_error", retry_after=1))
        answer = await stubs.images.GenerateImage(drawing())
    assert answer.receipt.usage.images == 1
    assert worker.count() == 2


async def test_how_long_a_full_worker_asks_to_wait_is_told_to_the_caller():
    async with WorkerEmulator() as worker, service(worker) as stubs:
        worker.faults.add("generate", Refused(429, "overloaded_error", retry_after=40))
        failed = await failure_of(stubs.images.GenerateImage(drawing()))
    assert failed.retry_after == 40
    assert failed.metadata["provider_code"] == "overloaded_error"


async def test_a_picture_that_makes_no_further_step_is_given_up_and_called_off():
    async with WorkerEmulator() as worker, service(worker, stall_seconds=0.3) as stubs:
        worker.faults.add("generate", Slow(30, after=2))
        failed = await failure_of(stubs.images.GenerateImage(drawing()))
        assert failed.reason == "PROVIDER_TIMEOUT"
        async with asyncio.timeout(5):
            await worker.until(lambda: worker.of("generate")[0].cancelled)
    assert worker.count("job") == 1


async def test_a_picture_that_waits_for_its_first_step_is_not_given_up():
    async with WorkerEmulator() as worker, service(worker, stall_seconds=0.2) as stubs:
        worker.faults.add("generate", Slow(0.6, after=0))
        answer = await stubs.images.GenerateImage(drawing())
    assert answer.receipt.usage.images == 1


async def test_a_worker_that_sends_nothing_at_all_is_given_up():
    async with WorkerEmulator() as worker, service(worker, read_seconds=0.3) as stubs:
        worker.faults.add("generate", Slow(30, after=0))
        failed = await failure_of(stubs.images.GenerateImage(drawing()))
    assert failed.reason == "PROVIDER_DISCONNECTED"
    assert worker.count() == 1


async def test_a_caller_that_leaves_has_the_picture_called_off():
    async with WorkerEmulator(step_seconds=0.2) as worker, service(worker) as stubs:
        call = stubs.images.GenerateImage(drawing(provider_options=options(steps=150)))
        async with asyncio.timeout(10):
            await worker.until(lambda: worker.count() and worker.of("generate")[0].events >= 1)
            call.cancel()
            await worker.until(lambda: worker.cancelled)
            # By its number, and by the end of the connection.
            await worker.until(lambda: worker.of("job") and worker.of("job")[0].status == 202)
    assert worker.of("job")[0].path.endswith("/cancel")


async def test_a_deadline_ends_the_picture_and_the_worker_knows_it_beforehand():
    async with WorkerEmulator(step_seconds=0.2) as worker, service(worker) as stubs:
        call = stubs.images.GenerateImage(drawing(provider_options=options(steps=150)), timeout=1.0)
        failed = await failure_of(call)
        assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await worker.until(lambda: worker.cancelled)
    assert float(worker.of("generate")[0].headers["x-request-timeout"]) <= 2


async def test_a_provider_without_an_address_says_so_and_asks_nobody():
    async with service(url="") as stubs:
        failed = await failure_of(stubs.images.GenerateImage(drawing(provider="gpu")))
    assert failed.reason == "PROVIDER_NOT_CONFIGURED"
