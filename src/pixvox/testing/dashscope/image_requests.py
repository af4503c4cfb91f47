"""Reads requests for pictures, and refuses them where the vendor does.

Source: dashscope reference 2.2 to 2.5 and 3.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.testing.dashscope import fields, pictures
from pixvox.testing.dashscope.envelope import RefusedError, invalid
from pixvox.testing.dashscope.models import ImageModel, image_model, speech_model
from pixvox.testing.dashscope.reach import FetchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.testing.dashscope.fields import JsonObject
    from pixvox.testing.dashscope.vendor import Call

_MOST_NEGATIVE_CHARACTERS = 500
_MOST_SEED = 2147483647
_MOST_ENCODED_BYTES = 10_485_760
_EDIT_PIXELS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request that can be done.

    Attributes:
        name: Of the model.
        model: What it is like.
        prompt: Cut to the model's length.
        negative_prompt: Cut to what the vendor reads; may be empty.
        count: Pictures.
        size: Of each, in pixels.
        seed: 0 if none was sent.
        extends: Whether the vendor rewrites the prompt.
        watermark: Whether the pictures are stamped.
        inputs: Pictures to edit, which can be decoded.
    """

    name: str
    model: ImageModel
    prompt: str
    negative_prompt: str
    count: int
    size: tuple[int, int]
    seed: int
    extends: bool
    watermark: bool
    inputs: tuple[bytes, ...] = ()

    def painting(self, index: int) -> pictures.Painting:
        """Return what picture `index` shows."""
        stamp = ""
        if self.watermark:
            # The vendor stamps "AI生成" on pictures of wan models; the built-in font has no such letters.
            stamp = "AI" if self.name.startswith("wan") else "Qwen-Image"
        words = f"{self.prompt} (without {self.negative_prompt})" if self.negative_prompt.strip() else self.prompt
        return pictures.Painting(words, self.size, self.seed, index, stamp)


@dataclass(frozen=True, slots=True)
class _Input:
    data: bytes
    size: tuple[int, int]


async def of_messages(call: Call, *, asynchronous: bool) -> ImageRequest:
    """Return the request of a body with ``input.messages``.

    Raises:
        RefusedError: As the vendor refuses it.
    """
    name, model = _model(call.body)
    if asynchronous and model.task != "image-generation":
        raise _asynchronous_refused()
    if not model.sync:
        raise _wrong_endpoint()
    prompt, images = _content(fields.input_at(call.body))
    _check_parts(model, prompt, len(images))
    inputs = [await _input(call, image) for image in images]
    parameters = fields.object_at(call.body, "parameters")
    return _request(name, model, prompt, _negative(parameters), parameters, inputs)


def of_prompt(call: Call) -> ImageRequest:
    """Return the request of a body with ``input.prompt``, as text2image has it.

    Raises:
        RefusedError: As the vendor refuses it.
    """
    name, model = _model(call.body)
    if model.task is None:
        raise _asynchronous_refused()
    if model.task != "text2image":
        raise _wrong_endpoint()
    given = fields.input_at(call.body)
    prompt = fields.text_at(given, "prompt")
    parameters = fields.object_at(call.body, "parameters")
    # The table of fields has it in the input, one sample in the parameters.
    return _request(name, model, prompt, _negative(given) or _negative(parameters), parameters, [])


def has_images(body: JsonObject) -> bool:
    """Return whether a body that may be anything names an input picture."""
    given = body.get("input")
    messages = given.get("messages") if isinstance(given, dict) else None
    for message in messages if isinstance(messages, list) else ():
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list) and any(isinstance(part, dict) and "image" in part for part in parts):
            return True
    return False


def _model(body: JsonObject) -> tuple[str, ImageModel]:
    name = fields.model_at(body)
    model = image_model(name)
    if model is not None:
        return name, model
    if speech_model(name) is not None:
        raise _wrong_endpoint()
    # 404 ModelNotFound has been seen too; which one comes when is not known. [guess]
    raise invalid("Model not exist.")


def _wrong_endpoint() -> RefusedError:
    return invalid("url error, please check url")


def _asynchronous_refused() -> RefusedError:
    return RefusedError(403, "AccessDenied", "The model does not support asynchronous calls.")


def _content(given: JsonObject) -> tuple[str | None, list[str]]:
    """Return the text and the pictures of the only message."""
    messages = fields.list_at(given, "messages")
    if not messages:
        raise invalid("No messages found in input")
    if len(messages) != 1:
        raise invalid("messages length only support 1")
    message = messages[0]
    if not isinstance(message, dict) or message.get("role") != "user":
        raise invalid("The role of the message must be user.")
    parts = fields.list_at(message, "content")
    texts = [fields.text_at(part, "text") for part in _objects(parts) if "text" in part]
    images = [fields.text_at(part, "image") for part in _objects(parts) if "image" in part]
    if len(texts) > 1:
        raise invalid("The content must have one text.")
    return (texts[0] if texts else None), images


def _objects(parts: Sequence[object]) -> list[dict[str, object]]:
    if not all(isinstance(part, dict) for part in parts):
        raise invalid("Each part of the content must be an object.")
    return [part for part in parts if isinstance(part, dict)]


def _check_parts(model: ImageModel, prompt: str | None, images: int) -> None:
    if prompt is None or (images == 0 and not model.generates):
        raise invalid("lack of image or text")
    if images == 0:
        return
    # The vendor's words are known for an older editing model only, "content length only support 2". [guess]
    if model.inputs is None:
        raise invalid("content length only support 1")
    if not model.inputs[0] <= images <= model.inputs[1]:
        raise invalid(f"content length only support {model.inputs[1] + 1}")


async def _input(call: Call, image: str) -> _Input:
    """Return an input picture that was sent as a URL or as a data URI."""
    data = _decoded(image) if image.startswith("data:") else await _fetched(call, image)
    size = await asyncio.to_thread(pictures.size_of, data)
    if size is None:
        raise invalid("Invalid image format or corrupted file")
    return _Input(data, size)


def _decoded(image: str) -> bytes:
    head, comma, encoded = image.partition(",")
    if not comma or not re.fullmatch(r"data:image/[a-zA-Z0-9.+-]+;base64", head):
        raise invalid("image format error")
    if len(encoded) > _MOST_ENCODED_BYTES:
        raise RefusedError(400, "BadRequest.TooLarge", "The encoded image is larger than 10485760 bytes.")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise invalid("image format error") from None


async def _fetched(call: Call, url: str) -> bytes:
    try:
        return await call.vendor.reach.fetch(url, call.headers)
    except FetchError:
        raise invalid("download image failed") from None


def _negative(parent: JsonObject) -> str:
    """Return the negative prompt; a longer one is cut off silently."""
    return (fields.optional_text_at(parent, "negative_prompt") or "")[:_MOST_NEGATIVE_CHARACTERS]


def _request(
    name: str,
    model: ImageModel,
    prompt: str | None,
    negative_prompt: str,
    parameters: JsonObject,
    inputs: Sequence[_Input],
) -> ImageRequest:
    low, high = model.counts
    count = fields.whole_at(parameters, "n", model.default_count, (-(10**9), 10**9))
    if not low <= count <= high:
        raise invalid("num_images_per_prompt must be 1" if high == 1 else f"n must be from {low} to {high}")
    _refuse_unsupported(name, model, parameters)
    return ImageRequest(
        name=name,
        model=model,
        # Whether the limit counts characters or tokens is not certain. [guess]
        prompt=(prompt or "")[: model.prompt_characters],
        negative_prompt=negative_prompt,
        count=count,
        size=_size(model, parameters, inputs[-1].size if inputs else None),
        seed=fields.whole_at(parameters, "seed", 0, (0, _MOST_SEED)),
        extends=fields.truth_at(parameters, "prompt_extend", default=True),
        watermark=fields.truth_at(parameters, "watermark", default=False),
        inputs=tuple(picture.data for picture in inputs),
    )


def _refuse_unsupported(name: str, model: ImageModel, parameters: JsonObject) -> None:
    # Whether the vendor refuses or ignores what a model does not have is not documented. [guess]
    if model.sizes is None and parameters.get("size") is not None:
        raise invalid(f"size is not supported by {name}.")
    if not model.extends and parameters.get("prompt_extend") is not None:
        raise invalid(f"prompt_extend is not supported by {name}.")
    if parameters.get("enable_interleave") is True:
        raise RefusedError(400, "UnsupportedOperation", "Interleaved output is not emulated.")


def _size(model: ImageModel, parameters: JsonObject, last: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size to make; `last` is that of the last input picture."""
    text = fields.optional_text_at(parameters, "size")
    if text is None:
        return _default_size(model, last)
    match = re.fullmatch(r"(\d{1,5})\*(\d{1,5})", text)
    if match is None:
        raise invalid("size must have the form W*H.")
    width, height = int(match[1]), int(match[2])
    sizes = model.sizes
    problem = sizes.problem(width, height) if sizes is not None else None
    if problem is not None or width * height == 0:
        raise invalid(f"size {problem or 'must not be empty'}.")
    return sizes.rounded(width, height) if sizes is not None else (width, height)


def _default_size(model: ImageModel, last: tuple[int, int] | None) -> tuple[int, int]:
    if last is None:
        return model.default_size or (1024, 1024)
    width, height = last
    pixels = width * height
    if model.keeps_pixels and model.sizes is not None and model.sizes.area is not None:
        pixels = min(max(pixels, model.sizes.area[0]), model.sizes.area[1])
    else:
        pixels = _EDIT_PIXELS
    scale = (pixels / (width * height)) ** 0.5
    # That default sizes are rounded like given ones is a guess. [guess]
    return max(16, round(width * scale / 16) * 16), max(16, round(height * scale / 16) * 16)
