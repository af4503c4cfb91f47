"""GenerateImage and EditImage through the service, made by the worker's real pipelines."""

from __future__ import annotations

import asyncio
import io

import aiohttp
import grpc
import numpy as np
import pytest
from PIL import Image

from calling import photo
from pixvox.v1 import image_service_pb2, media_pb2

SIZE = media_pb2.Size(width=64, height=64)


async def test_a_picture_is_made_and_its_seed_makes_it_again(stubs):
    answers = [await stubs.images.GenerateImage(generating(seed=seed)) for seed in (7, 7, 8)]

    first, again, other = (pixels(one.images[0].data) for one in answers)
    assert first.shape == (64, 64, 3)
    assert first.std() > 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert answers[0].images[0].seed == 7
    assert answers[0].receipt.provider == "gpu"


async def test_a_picture_is_edited_and_the_edit_depends_on_it(stubs):
    answers = [
        await stubs.images.EditImage(editing(photo(64, 64))),
        await stubs.images.EditImage(editing(photo(64, 64))),
        await stubs.images.EditImage(editing(picture_of(np.zeros((64, 64, 3), np.uint8)))),
    ]

    first, again, other = (pixels(one.images[0].data) for one in answers)
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


async def test_a_caller_who_leaves_takes_the_edit_out_of_the_model(stubs, fleet):
    call = stubs.images.EditImage(editing(photo(64, 64), steps=200))
    async with aiohttp.ClientSession(fleet.edits) as worker:
        await state_of(worker, lambda health: health["running"] == 1)
        call.cancel()
        health = await state_of(worker, lambda health: health["running"] == 0)

    assert health["queue_depth"] == 0
    # The next one finds the worker free.
    assert (await stubs.images.EditImage(editing(photo(64, 64)))).images


async def test_a_deadline_ends_the_edit_in_the_worker_as_well(stubs, fleet):
    with pytest.raises(grpc.RpcError) as failed:
        await stubs.images.EditImage(editing(photo(64, 64), steps=200), timeout=3)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with aiohttp.ClientSession(fleet.edits) as worker:
        await state_of(worker, lambda health: health["running"] == 0)


async def test_several_edits_at_once_are_all_made_or_refused(stubs):
    calls = [stubs.images.EditImage(editing(photo(64, 64), seed=number)) for number in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    made = [one for one in answers if isinstance(one, image_service_pb2.EditImageResponse)]
    refused = [one.code() for one in answers if isinstance(one, grpc.RpcError)]
    assert len(made) + len(refused) == 10
    assert len(made) >= 8
    assert set(refused) <= {grpc.StatusCode.RESOURCE_EXHAUSTED}


def generating(seed: int) -> image_service_pb2.GenerateImageRequest:
    return image_service_pb2.GenerateImageRequest(model="tiny-draw", prompt="a cat", size=SIZE, seed=seed)


def editing(image: bytes, *, seed: int = 1, steps: int = 0) -> image_service_pb2.EditImageRequest:
    request = image_service_pb2.EditImageRequest(
        model="tiny-edit", prompt="make it blue", size=SIZE, seed=seed, images=[media_pb2.MediaInput(data=image)]
    )
    if steps:
        request.provider_options.update({"worker": {"steps": steps}})
    return request


async def state_of(worker: aiohttp.ClientSession, wanted) -> dict[str, object]:
    """What `/health` says, as soon as it says what is wanted."""
    seen: list[dict[str, object]] = []

    async def look() -> None:
        while not seen or not wanted(seen[-1]):
            async with worker.get("/health") as answer:
                seen.append(await answer.json())
            await asyncio.sleep(0.05)

    async with asyncio.timeout(60):
        await look()
    return seen[-1]


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)


def picture_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()
