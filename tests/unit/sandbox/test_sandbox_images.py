"""The sandbox as a provider of pictures: files, seeds, warnings, receipts and cancelled calls."""

from __future__ import annotations

import asyncio
import io
import time

import pytest
from PIL import ExifTags, Image

from pixvox.errors import InvalidMediaError
from pixvox.media.images import checked_input, upright
from pixvox.provider import Blob, ImageEditor, ImageGenerator
from pixvox.providers.sandbox.backdrop import painted
from pixvox.providers.sandbox.images import SandboxImages, image_models
from pixvox.v1 import image_service_pb2, media_pb2

(MODEL,) = image_models()
PHOTO = painted("sea", (120, 90), 3)
FORMATS = {
    media_pb2.IMAGE_FORMAT_UNSPECIFIED: "image/png",
    media_pb2.IMAGE_FORMAT_PNG: "image/png",
    media_pb2.IMAGE_FORMAT_JPEG: "image/jpeg",
    media_pb2.IMAGE_FORMAT_WEBP: "image/webp",
}


@pytest.fixture
async def sandbox():
    images = SandboxImages()
    yield images
    await images.aclose()


def generate(prompt="A red fox", width=96, height=64, **fields):
    return image_service_pb2.GenerateImageRequest(
        prompt=prompt, size=media_pb2.Size(width=width, height=height), **fields
    )


def edit(prompt="make it sepia", **fields):
    return image_service_pb2.EditImageRequest(prompt=prompt, **fields)


def blob(picture=PHOTO, file_format="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return Blob(f"image/{file_format.lower()}", buffer.getvalue(), width=picture.width, height=picture.height)


def checked(data):
    return checked_input(data, field="x", mime_types=list(FORMATS.values()), max_bytes=0, max_pixels=0)


def reasons(result):
    return [(warning.reason, warning.field) for warning in result.warnings]


def test_it_has_both_verbs_and_says_what_it_can_do():
    assert issubclass(SandboxImages, ImageGenerator)
    assert issubclass(SandboxImages, ImageEditor)
    assert MODEL.id == "sandbox-image"
    assert MODEL.generate_image.output.size.max_side == 4096
    assert MODEL.edit_image.max_images == 16
    assert len(MODEL.edit_image.input_mime_types) == 6


@pytest.mark.parametrize(("image_format", "mime_type"), FORMATS.items())
async def test_the_file_is_what_was_asked_for(sandbox, image_format, mime_type):
    (image,) = (await sandbox.generate_image(generate(format=image_format), MODEL)).images
    assert image.mime_type == mime_type
    assert checked(image.data).mime_type == mime_type
    assert upright(image.data).size == (image.width, image.height) == (96, 64)
    assert b"pixvox sandbox" in image.data


async def test_everything_unset_gives_one_png_of_the_default_size(sandbox):
    result = await sandbox.generate_image(image_service_pb2.GenerateImageRequest(prompt="fox"), MODEL)
    (image,) = result.images
    assert (image.mime_type, image.width, image.height) == ("image/png", 1024, 1024)
    assert result.effective_size == (1024, 1024)
    assert 0 <= image.seed < 2**31


async def test_equal_seeds_give_identical_bytes_and_others_do_not(sandbox):
    one, two, other = [(await sandbox.generate_image(generate(seed=seed), MODEL)).images[0] for seed in (7, 7, 8)]
    assert one.data == two.data != other.data


async def test_each_of_several_pictures_comes_again_from_its_own_seed(sandbox):
    images = (await sandbox.generate_image(generate(seed=2**31 - 2, n=4), MODEL)).images
    assert [image.seed for image in images] == [2**31 - 2, 2**31 - 1, 0, 1]
    assert len({image.data for image in images}) == 4
    again = await sandbox.generate_image(generate(seed=images[3].seed), MODEL)
    assert again.images[0].data == images[3].data


async def test_unset_seeds_differ_from_call_to_call(sandbox):
    seeds = {(await sandbox.generate_image(generate(width=8, height=8), MODEL)).images[0].seed for _ in range(4)}
    assert len(seeds) == 4


async def test_the_receipt_says_what_it_took(sandbox):
    receipt = (await sandbox.generate_image(generate(n=3), MODEL)).receipt
    assert receipt.usage.images == 3
    assert len(receipt.provider_request_id) == 32
    assert (receipt.cost.state, receipt.cost.amount, receipt.cost.currency) == (media_pb2.COST_STATE_PRICED, "0", "USD")
    assert receipt.cost.price_table == "sandbox"


async def test_options_that_make_no_difference_are_told(sandbox):
    ignored = media_pb2.WARNING_REASON_FIELD_IGNORED
    result = await sandbox.generate_image(generate(watermark=False, prompt_extend=True), MODEL)
    assert reasons(result) == [(ignored, "watermark"), (ignored, "prompt_extend")]
    assert reasons(await sandbox.generate_image(generate(watermark=True, prompt_extend=False), MODEL)) == []


async def test_characters_that_no_font_has_are_told(sandbox):
    result = await sandbox.generate_image(generate("\U0010fffd"), MODEL)
    assert reasons(result) == [(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "prompt")]
    assert "U+10FFFD" in result.warnings[0].message


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
async def test_every_input_format_is_edited(sandbox, file_format):
    result = await sandbox.edit_image(edit("resize to 50%"), [blob(file_format=file_format)], None, MODEL)
    (image,) = result.images
    assert upright(image.data).size == (60, 45)
    assert image.mime_type == "image/png"
    assert result.effective_size is None


async def test_only_the_first_frame_of_an_animation_is_used_and_that_is_told(sandbox):
    animation = blob(file_format="GIF", save_all=True, append_images=[Image.new("RGB", PHOTO.size, "red")])
    result = await sandbox.edit_image(edit(), [animation], None, MODEL)
    assert reasons(result) == [(media_pb2.WARNING_REASON_INPUT_REDUCED, "images[0]")]


async def test_metadata_is_left_behind_and_orientation_applied(sandbox):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "Somebody"
    result = await sandbox.edit_image(
        edit("grayscale", format=media_pb2.IMAGE_FORMAT_JPEG), [blob(file_format="JPEG", exif=exif)], None, MODEL
    )
    assert (result.images[0].width, result.images[0].height) == (90, 120)
    assert b"Somebody" not in result.images[0].data


async def test_a_mask_of_another_size_is_refused(sandbox):
    with pytest.raises(InvalidMediaError) as error:
        await sandbox.edit_image(edit(), [blob()], blob(Image.new("L", (5, 5))), MODEL)
    assert error.value.violations[0].field == "mask"


async def test_several_results_are_equal_and_that_is_told(sandbox):
    result = await sandbox.edit_image(edit(n=3, seed=5), [blob()], None, MODEL)
    assert len({image.data for image in result.images}) == 1
    assert [image.seed for image in result.images] == [5, 5, 5]
    assert reasons(result) == [(media_pb2.WARNING_REASON_FIELD_IGNORED, "n")]
    assert result.receipt.usage.images == 3


async def test_a_negative_prompt_makes_no_difference_to_an_edit_and_that_is_told(sandbox):
    result = await sandbox.edit_image(edit(negative_prompt="sepia"), [blob()], None, MODEL)
    assert reasons(result) == [(media_pb2.WARNING_REASON_FIELD_IGNORED, "negative_prompt")]


async def test_equal_edits_give_identical_bytes(sandbox):
    request = edit("watercolor", size=media_pb2.Size(width=64, height=64))
    one, two = [await sandbox.edit_image(request, [blob()], None, MODEL) for _ in range(2)]
    assert one.images[0].data == two.images[0].data
    assert one.effective_size == (64, 64)


async def test_a_cancelled_call_frees_its_thread_and_makes_no_more_pictures():
    sandbox = SandboxImages(threads=1)
    started = time.perf_counter()
    await sandbox.generate_image(generate(width=4096, height=4096), MODEL)
    one_picture = time.perf_counter() - started
    call = asyncio.create_task(sandbox.generate_image(generate(width=4096, height=4096, n=4), MODEL))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    started = time.perf_counter()
    await sandbox.generate_image(generate(width=8, height=8), MODEL)
    assert time.perf_counter() - started < 2 * one_picture
    await sandbox.aclose()


async def test_the_event_loop_runs_on_while_a_large_picture_is_edited(sandbox):
    large = blob(painted("x", (2048, 2048), 1))
    call = asyncio.create_task(
        sandbox.edit_image(edit("watercolor, vignette, add a border, brighten"), [large], None, MODEL)
    )
    worst, last = 0.0, time.perf_counter()
    while not call.done():
        await asyncio.sleep(0.002)
        worst, last = max(worst, time.perf_counter() - last), time.perf_counter()
    assert (await call).images
    assert worst < 0.25


async def test_after_closing_no_thread_is_left():
    sandbox = SandboxImages(threads=2)
    await sandbox.generate_image(generate(), MODEL)
    await sandbox.aclose()
    with pytest.raises(RuntimeError):
        await sandbox.generate_image(generate(), MODEL)
