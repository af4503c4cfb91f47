"""The capability table of the vendor's pictures, against its documentation."""

from __future__ import annotations

import base64

import pytest

from pixvox import limits
from pixvox.errors import UnsupportedError
from pixvox.providers.dashscope.models import IMAGE_MODELS, MAX_INPUT_BYTES
from pixvox.testing.dashscope.models import image_model
from pixvox.v1 import image_service_pb2, media_pb2

MAKES = sorted(name for name, model in IMAGE_MODELS.items() if model.message.HasField("generate_image"))
EDITS = sorted(name for name, model in IMAGE_MODELS.items() if model.message.HasField("edit_image"))


def generation(model: str, width: int = 0, height: int = 0, **fields: object) -> image_service_pb2.GenerateImageRequest:
    request = image_service_pb2.GenerateImageRequest(**({"prompt": "a cat"} | fields))
    if width:
        request.size.width, request.size.height = width, height
    limits.check_generate_image(request, IMAGE_MODELS[model].message)
    return request


def edit(model: str, width: int = 0, height: int = 0, **fields: object) -> image_service_pb2.EditImageRequest:
    images = [media_pb2.MediaInput(data=b"x")]
    request = image_service_pb2.EditImageRequest(**({"prompt": "a cat", "images": images} | fields))
    if width:
        request.size.width, request.size.height = width, height
    limits.check_edit_image(request, IMAGE_MODELS[model].message)
    return request


@pytest.mark.parametrize(
    ("model", "width", "height"),
    [
        ("qwen-image-max", 1664, 928),
        ("qwen-image-max", 928, 1664),
        ("qwen-image-max", 1472, 1140),
        ("qwen-image-plus", 1328, 1328),
        ("qwen-image-2.0", 512, 512),
        ("qwen-image-2.0-pro", 2688, 1536),
        ("wan2.6-t2i", 768, 2700),
        ("wan2.5-t2i-preview", 1280, 1280),
        ("wan2.2-t2i-plus", 512, 1440),
    ],
)
def test_a_size_of_the_documentation_is_taken(model, width, height):
    generation(model, width, height)


@pytest.mark.parametrize(
    ("model", "width", "height"),
    [
        ("qwen-image-max", 1024, 1024),
        ("qwen-image-2.0", 512, 511),
        ("qwen-image-2.0", 2049, 2048),
        ("wan2.6-t2i", 1279, 1280),
        ("wan2.6-t2i", 600, 2800),
        ("wan2.2-t2i-plus", 511, 1024),
        ("wan2.2-t2i-plus", 1024, 1441),
        ("z-image-turbo", 1024, 1024),
    ],
)
def test_another_size_is_refused_and_the_allowed_ones_are_named(model, width, height):
    with pytest.raises(UnsupportedError) as raised:
        generation(model, width, height)
    assert [violation.field for violation in raised.value.violations] == ["size"]
    assert "allowed" in raised.value.violations[0].description


@pytest.mark.parametrize(
    ("model", "width", "height", "fits"),
    [
        ("qwen-image-edit-max", 512, 2048, True),
        ("qwen-image-edit-plus", 1000, 1000, True),
        ("qwen-image-edit-max", 511, 1024, False),
        ("qwen-image-edit-max", 1024, 2049, False),
        ("qwen-image-edit", 1024, 1024, False),
        ("qwen-image-2.0", 2688, 1536, True),
        ("wan2.6-image", 1280, 1280, True),
        ("wan2.6-image", 1440, 1440, False),
    ],
)
def test_an_edits_size_follows_its_models_rule(model, width, height, fits):
    if fits:
        edit(model, width, height)
        return
    with pytest.raises(UnsupportedError):
        edit(model, width, height)


@pytest.mark.parametrize(("model", "most"), [("qwen-image-max", 1), ("qwen-image-2.0", 6), ("wan2.6-t2i", 4)])
def test_the_number_of_pictures_is_limited(model, most):
    generation(model, n=most)
    with pytest.raises(UnsupportedError):
        generation(model, n=most + 1)


@pytest.mark.parametrize(("model", "most"), [("qwen-image-edit-max", 3), ("qwen-image-edit", 3), ("wan2.6-image", 4)])
def test_the_number_of_inputs_is_limited(model, most):
    one = media_pb2.MediaInput(data=b"x")
    edit(model, images=[one] * most)
    with pytest.raises(UnsupportedError):
        edit(model, images=[one] * (most + 1))


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("qwen-image-max", 800),
        ("qwen-image-2.0", 1300),
        ("wan2.6-t2i", 2100),
        ("wan2.5-t2i-preview", 2000),
        ("wan2.2-t2i-flash", 800),
    ],
)
def test_a_prompt_that_the_vendor_would_cut_off_is_refused(model, most):
    generation(model, prompt="ä" * most)
    with pytest.raises(UnsupportedError):
        generation(model, prompt="ä" * (most + 1))


def test_a_negative_prompt_that_the_vendor_would_cut_off_is_refused():
    generation("qwen-image-max", negative_prompt="x" * 500)
    with pytest.raises(UnsupportedError):
        generation("qwen-image-max", negative_prompt="x" * 501)


def test_files_are_png_behind_an_address_or_inline():
    for model in IMAGE_MODELS.values():
        for capability in (model.message.generate_image, model.message.edit_image):
            if capability.HasField("output"):
                assert list(capability.output.formats) == [media_pb2.IMAGE_FORMAT_PNG]
                assert list(capability.output.deliveries) == [media_pb2.DELIVERY_URI, media_pb2.DELIVERY_INLINE]


def test_the_largest_input_fits_into_the_longest_data_uri():
    encoded = base64.b64encode(bytes(MAX_INPUT_BYTES)).decode()
    assert len(f"data:image/jpeg;base64,{encoded}") <= 10_485_760
    assert len(base64.b64encode(bytes(MAX_INPUT_BYTES + 1))) + 23 > 10_485_760


@pytest.mark.parametrize("name", sorted(IMAGE_MODELS))
def test_the_emulated_vendor_has_the_model_and_agrees_with_the_table(name):
    known, emulated = IMAGE_MODELS[name].message, image_model(name)
    assert emulated is not None
    assert known.HasField("generate_image") == emulated.generates
    assert known.HasField("edit_image") == (emulated.inputs is not None)
    assert IMAGE_MODELS[name].has_tasks == (emulated.task == "text2image")
    if known.HasField("edit_image"):
        assert known.edit_image.max_images == emulated.inputs[1]
    for capability in (known.generate_image, known.edit_image):
        if capability.HasField("output"):
            assert capability.output.max_n == emulated.counts[1]
            assert capability.output.max_prompt_characters == emulated.prompt_characters


@pytest.mark.parametrize("name", MAKES + EDITS)
def test_every_model_has_a_description_and_its_own_id(name):
    message = IMAGE_MODELS[name].message
    assert message.id == name
    assert message.description.endswith(".")
