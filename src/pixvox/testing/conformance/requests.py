"""The kit's requests: lawful for a model by its capability table, small unless they are to be large, and harmless."""

from __future__ import annotations

import functools
import io
import math
import uuid
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from pixvox import limits
from pixvox.errors import PixvoxError
from pixvox.media.headers import BMP, GIF, JPEG, PNG, TIFF, WEBP
from pixvox.provider import Blob
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2, speech_service_pb2

if TYPE_CHECKING:
    from pixvox.testing.conformance.hints import Rehearsal

PROMPT = "A red lighthouse on a green hill beside the sea"
INSTRUCTION = "Make the picture black and white"
# A word that nobody writes by chance, so that it is found where it should not be.
MARK = "quorvelith"
MODEST_SIDE = 512

_PILLOW_NAMES = {JPEG: "JPEG", PNG: "PNG", WEBP: "WEBP", BMP: "BMP", TIFF: "TIFF", GIF: "GIF"}

Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest


def generating(
    model: model_service_pb2.Model,
    prompt: str = PROMPT,
    **fields: Any,  # noqa: ANN401
) -> image_service_pb2.GenerateImageRequest:
    """Return a request for one small picture, whose bytes come with the answer where the model can; `fields` are its own."""
    output = model.generate_image.output
    common = _common(output) | {"size": modest_size(output.size)} | fields
    return image_service_pb2.GenerateImageRequest(
        prompt=prompt[: output.max_prompt_characters], model=model.id, request_id=uuid.uuid4().hex, **common
    )


def editing(
    model: model_service_pb2.Model,
    *images: Blob,
    mask: Blob | None = None,
    prompt: str = INSTRUCTION,
    **fields: Any,  # noqa: ANN401
) -> image_service_pb2.EditImageRequest:
    """Return a request to edit `images` into one picture; `fields` are its own."""
    output = model.edit_image.output
    return image_service_pb2.EditImageRequest(
        prompt=prompt[: output.max_prompt_characters],
        images=[media_pb2.MediaInput(data=image.data) for image in images],
        mask=None if mask is None else media_pb2.MediaInput(data=mask.data),
        model=model.id,
        request_id=uuid.uuid4().hex,
        **(_common(output) | fields),
    )


def speech(model: model_service_pb2.Model, **fields: Any) -> speech_service_pb2.SpeechConfig:  # noqa: ANN401
    """Return how to speak, by default in the provider's own way; `fields` are those that differ."""
    return speech_service_pb2.SpeechConfig(model=model.id, request_id=uuid.uuid4().hex, **fields)


def flush(identifier: str = "") -> speech_service_pb2.Flush:
    """Return a flush."""
    return speech_service_pb2.Flush(id=identifier)


def arranged(kind: str, rehearsal: Rehearsal | None) -> dict[str, Any]:
    """Return the fields of a request that has what is rehearsed happen, and order it."""
    if rehearsal is None:
        return {}
    if rehearsal.order is not None:
        rehearsal.order()
    return {"provider_options": {kind: dict(rehearsal.options)}} if rehearsal.options else {}


def modest_size(rule: model_service_pb2.SizeRule) -> media_pb2.Size | None:
    """Return a small size that is allowed, None where the default has to do."""
    if rule.fixed:
        return None
    if rule.sizes:
        return min(rule.sizes, key=lambda size: size.width * size.height)
    lowest, highest = _squares(rule)
    side = max(lowest, min(MODEST_SIDE, highest or MODEST_SIDE))
    step = max(rule.multiple_of, 1)
    # A side that needs no rounding, if there is one.
    even = next(
        (one for one in (side // step * step, -(-side // step) * step) if lowest <= one <= (highest or one)), side
    )
    return media_pb2.Size(width=even, height=even)


def extreme_sizes(rule: model_service_pb2.SizeRule) -> dict[str, tuple[int, int]]:
    """Return the sizes at the ends of a rule by what they are, each in pixels; none where no size can be chosen."""
    if rule.fixed:
        return {}
    if rule.sizes:
        ordered = sorted(((size.width, size.height) for size in rule.sizes), key=math.prod)
        found = {"the smallest": ordered[0], "the largest": ordered[-1]}
        if rule.aliases:
            found["an alias"] = (rule.aliases[0].size.width, rule.aliases[0].size.height)
        return found
    lowest, highest = _squares(rule)
    found = {"the smallest": (lowest, lowest)}
    if highest:
        found["the largest"] = (highest, highest)
        found |= _widest(rule, highest)
    if rule.multiple_of > 1 and (highest or lowest + rule.multiple_of) >= lowest + rule.multiple_of:
        odd = lowest + rule.multiple_of // 2 + 1
        found["one to be rounded"] = (odd, odd)
    return found


@functools.cache
def picture(width: int = MODEST_SIDE, height: int = MODEST_SIDE, mime_type: str = PNG, hue: str = "orange") -> Blob:
    """Return an input: a scene of plain shapes, in colour."""
    image = Image.new("RGB", (width, height), "lightblue")
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((0, height * 2 // 3, width, height), fill="green")
    pencil.ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=hue)
    return _blob(image, mime_type)


def input_for(model: model_service_pb2.Model, mime_type: str = "", hue: str = "orange") -> Blob:
    """Return a picture that a model takes, PNG if it can be and nothing else is asked for."""
    capability = model.edit_image
    readable = list(capability.input_mime_types)
    side = MODEST_SIDE
    while side * side > capability.max_input_pixels > 0:
        side //= 2
    return picture(side, side, mime_type or (PNG if PNG in readable else readable[0]), hue)


@functools.cache
def left_half_mask(width: int = MODEST_SIDE, height: int = MODEST_SIDE) -> Blob:
    """Return a mask by which the left half may change, and the right half may not."""
    image = Image.new("L", (width, height), 0)
    image.paste(255, (0, 0, width // 2, height))
    return _blob(image, PNG)


def is_lawful_size(size: media_pb2.Size, model: model_service_pb2.Model, verb: str) -> bool:
    """Tell whether a request for the verb may ask for a size, by the check that the service makes."""
    try:
        if verb == "generate_image":
            limits.check_generate_image(generating(model, size=size), model)
        else:
            limits.check_edit_image(editing(model, picture(), size=size), model)
    except PixvoxError as error:
        return not any(violation.field == "size" for violation in error.violations)
    return True


def _common(output: model_service_pb2.ImageOutput) -> dict[str, Any]:
    inline = media_pb2.DELIVERY_INLINE in output.deliveries
    return {"delivery": media_pb2.DELIVERY_INLINE} if inline else {}


def _squares(rule: model_service_pb2.SizeRule) -> tuple[int, int]:
    """Return the sides of the smallest and of the largest square, 0 for no limit."""
    lowest = max(rule.min_side, math.isqrt(max(rule.min_area - 1, 0)) + 1 if rule.min_area else 1, 1)
    sides = [side for side in (rule.max_side, math.isqrt(rule.max_area)) if side]
    return lowest, min(sides, default=0)


def _widest(rule: model_service_pb2.SizeRule, highest: int) -> dict[str, tuple[int, int]]:
    """Return the widest picture of a rule that limits the aspect, nothing where rounding leaves none."""
    if rule.max_aspect <= 1:
        return {}
    area = rule.max_area or highest * highest
    height = max(math.isqrt(int(area / rule.max_aspect)), rule.min_side, 1)
    width = min(int(height * rule.max_aspect), area // height, rule.max_side or area)
    fits = max(height, rule.min_side) <= width and width * height >= rule.min_area
    return {"the widest": (width, height)} if fits else {}


def _blob(image: Image.Image, mime_type: str) -> Blob:
    file = io.BytesIO()
    image.save(file, _PILLOW_NAMES[mime_type])
    return Blob(mime_type, file.getvalue(), width=image.width, height=image.height)
