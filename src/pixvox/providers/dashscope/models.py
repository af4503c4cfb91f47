"""The vendor's image models: what each can do, and how it is asked.

Source: "Qwen - text-to-image", "Qwen - image editing", "Wan text-to-image V2", "Wan 2.6 image generation and editing" and
"Rate limits" of Alibaba Cloud Model Studio. Not in the table, because their parameters are not documented well enough:
qwen-image-2.1, qwen-image-3.0, wan2.7; `Config.extra_models` lets an operator add them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_NEGATIVE_CHARACTERS = 500
INPUT_MIME_TYPES = ("image/jpeg", "image/png", "image/bmp", "image/tiff", "image/webp", "image/gif")
# Inputs go out as data URIs, which may have 10,485,760 characters; the longest beginning is "data:image/jpeg;base64,".
MAX_INPUT_BYTES = (10 * 1024 * 1024 - 23) // 4 * 3
# The vendor recommends sides of 384 to 3072 pixels and states no limit; this is the service's own.
MAX_INPUT_PIXELS = 100_000_000

_MINUTE = 60.0
_LISTED = ((1664, 928), (1472, 1104), (1328, 1328), (1104, 1472), (928, 1664))
# Misprinted in older tools of the plans' authors, and still sent by their clients.
_MISPRINTED = {(1472, 1140): (1472, 1104), (1140, 1472): (1104, 1472)}


@dataclass(frozen=True, slots=True)
class ImageModel:
    """A model, and what asking it takes beyond what its capabilities say.

    Attributes:
        message: Its capabilities.
        has_tasks: Whether it is asked by text2image tasks, which can be polled and cancelled; else at once.
        extends: Whether ``prompt_extend`` may be sent.
        fixed: Parameters that are always sent, so that the vendor's default does not matter.
        pause: Seconds between two requests by the vendor's rate limit.
        limited: Whether that limit is documented; else `pause` is a guess, made for models like it.
        running: Tasks that the vendor runs at once for an account.
    """

    message: model_service_pb2.Model
    has_tasks: bool = False
    extends: bool = True
    fixed: Mapping[str, bool] = field(default_factory=dict)
    pause: float = 0.5
    limited: bool = True
    running: int = 2

    def __post_init__(self) -> None:
        """State the documented limits among the capabilities."""
        if self.limited:
            self.message.requests_per_minute = _MINUTE / self.pause
        if self.has_tasks:
            self.message.max_in_flight = self.running


def preferred(image_model: str, image_edit_model: str, extra: Mapping[str, str]) -> dict[str, ImageModel]:
    """Return the table with the operator's models added, and those that they prefer in front.

    The first model of each verb is the one that serves requests which name none.

    Args:
        image_model: Id of a model that makes pictures.
        image_edit_model: Id of a model that edits pictures.
        extra: Further ids, each with that of the model that it is like.

    Raises:
        ValueError: There is no such model, it lacks the verb, or both have both verbs and differ.
    """
    for like in extra.values():
        if like not in IMAGE_MODELS:
            message = f"extra_models: {like!r} is not one of {', '.join(IMAGE_MODELS)}"
            raise ValueError(message)
    table = IMAGE_MODELS | {name: _renamed(IMAGE_MODELS[like], name) for name, like in extra.items()}
    makes = [name for name, model in table.items() if model.message.HasField("generate_image")]
    edits = [name for name, model in table.items() if model.message.HasField("edit_image")]
    for setting, name, able in (("image_model", image_model, makes), ("image_edit_model", image_edit_model, edits)):
        if name not in able:
            message = f"{setting}: {name!r} is not one of {', '.join(able)}"
            raise ValueError(message)
    if image_edit_model not in makes:
        first: Sequence[str] = (image_edit_model, image_model)
    elif image_model not in edits or image_model == image_edit_model:
        first = (image_model, image_edit_model)
    else:
        message = (
            f"image_edit_model: {image_edit_model!r} and image_model {image_model!r} both make and edit pictures; give both"
            " the same value, and name the other one under [defaults] of the settings"
        )
        raise ValueError(message)
    return {name: table[name] for name in (*first, *table)}


def _renamed(model: ImageModel, name: str) -> ImageModel:
    message = model_service_pb2.Model()
    message.CopyFrom(model.message)
    message.id = name
    return dataclasses.replace(model, message=message)


def _size(width: int, height: int) -> media_pb2.Size:
    return media_pb2.Size(width=width, height=height)


def _output(
    size: model_service_pb2.SizeRule, *, n: int = 1, prompt: int = 800, seed: bool = True, negative: bool = True
) -> model_service_pb2.ImageOutput:
    return model_service_pb2.ImageOutput(
        size=size,
        max_n=n,
        formats=[media_pb2.IMAGE_FORMAT_PNG],
        deliveries=[media_pb2.DELIVERY_URI, media_pb2.DELIVERY_INLINE],
        max_prompt_characters=prompt,
        max_negative_prompt_characters=MAX_NEGATIVE_CHARACTERS if negative else 0,
        takes_seed=seed,
    )


def _edit(
    output: model_service_pb2.ImageOutput, *, images: int = 3, pixels: int = MAX_INPUT_PIXELS
) -> model_service_pb2.EditImageCapability:
    return model_service_pb2.EditImageCapability(
        output=output,
        max_images=images,
        input_mime_types=INPUT_MIME_TYPES,
        max_input_bytes=MAX_INPUT_BYTES,
        max_input_pixels=pixels,
    )


def _make(output: model_service_pb2.ImageOutput) -> model_service_pb2.GenerateImageCapability:
    return model_service_pb2.GenerateImageCapability(output=output)


def _listed() -> model_service_pb2.SizeRule:
    return model_service_pb2.SizeRule(
        default_size=_size(*_LISTED[0]),
        sizes=[_size(*one) for one in _LISTED],
        aliases=[
            model_service_pb2.SizeAlias(size=_size(*wrong), effective_size=_size(*right))
            for wrong, right in _MISPRINTED.items()
        ],
    )


def _area(
    least: int, most: int, *, default: int | None = None, aspect: float = 0, side: int = 0
) -> model_service_pb2.SizeRule:
    """Return a rule by areas, given as the side of the square that has it."""
    return model_service_pb2.SizeRule(
        default_size=None if default is None else _size(default, default),
        min_area=least * least,
        max_area=most * most,
        max_aspect=aspect,
        min_side=side,
    )


def _one(
    name: str,
    description: str,
    *,
    make: model_service_pb2.ImageOutput | None = None,
    edit: model_service_pb2.EditImageCapability | None = None,
) -> model_service_pb2.Model:
    return model_service_pb2.Model(
        id=name,
        description=description,
        generate_image=None if make is None else _make(make),
        edit_image=edit,
    )


def _qwen_image() -> dict[str, ImageModel]:
    """Return the first generation: one picture of a listed size."""
    table = {}
    for name, description, tasks, pause in (
        ("qwen-image-max", "Qwen's best pictures of the first generation.", False, _MINUTE / 2),
        ("qwen-image-max-2025-12-30", "The snapshot that qwen-image-max stands for.", False, _MINUTE / 2),
        ("qwen-image-plus", "Qwen's pictures at a lower price, good at lettering.", True, 0.5),
        ("qwen-image-plus-2026-01-09", "A snapshot of qwen-image-plus.", False, 0.5),
        ("qwen-image", "Qwen's first model for pictures; as able as qwen-image-plus.", True, 0.5),
    ):
        table[name] = ImageModel(_one(name, description, make=_output(_listed())), has_tasks=tasks, pause=pause)
    return table


def _qwen_two() -> dict[str, ImageModel]:
    """Return the second generation, which makes and edits."""
    table = {}
    for name, description in (
        ("qwen-image-2.0-pro", "Qwen's second generation at its best; makes and edits."),
        ("qwen-image-2.0-pro-2026-03-03", "A snapshot of qwen-image-2.0-pro."),
        ("qwen-image-2.0-pro-2026-04-22", "The snapshot that qwen-image-2.0-pro stands for."),
        ("qwen-image-2.0-pro-2026-06-22", "A snapshot of qwen-image-2.0-pro."),
        ("qwen-image-2.0", "Qwen's second generation, quick and cheap; makes and edits."),
        ("qwen-image-2.0-2026-03-03", "The snapshot that qwen-image-2.0 stands for."),
    ):
        # The documentation counts 1300 tokens; a character is at most about one.
        make = _output(_area(512, 2048, default=2048), n=6, prompt=1300)
        edit = _edit(_output(_area(512, 2048), n=6, prompt=1300))
        table[name] = ImageModel(_one(name, description, make=make, edit=edit), limited=False)
    return table


def _qwen_edit() -> dict[str, ImageModel]:
    """Return the models that edit only."""
    table = {}
    sides = model_service_pb2.SizeRule(min_side=512, max_side=2048, multiple_of=16)
    for name, description, pause in (
        ("qwen-image-edit-max", "Qwen's best editing of the first generation, of up to three pictures.", _MINUTE / 2),
        ("qwen-image-edit-max-2026-01-16", "The snapshot that qwen-image-edit-max stands for.", _MINUTE / 2),
        ("qwen-image-edit-plus", "Qwen's editing at a lower price.", 0.5),
        ("qwen-image-edit-plus-2025-10-30", "The snapshot that qwen-image-edit-plus stands for.", 0.5),
        ("qwen-image-edit-plus-2025-12-15", "A snapshot of qwen-image-edit-plus.", 0.5),
    ):
        table[name] = ImageModel(_one(name, description, edit=_edit(_output(sides, n=6))), pause=pause)
    fixed = model_service_pb2.SizeRule(fixed=True)
    first = _one("qwen-image-edit", "Qwen's first model for editing; one result.", edit=_edit(_output(fixed)))
    return {**table, first.id: ImageModel(first, extends=False)}


def _wan() -> dict[str, ImageModel]:
    """Return the Wan models, whose default of four pictures is never relied on."""
    free = _area(1280, 1440, default=1280, aspect=4)
    old = model_service_pb2.SizeRule(default_size=_size(1024, 1024), min_side=512, max_side=1440)
    small = _area(768, 1280, aspect=4)
    table = {
        "wan2.6-t2i": ImageModel(
            _one("wan2.6-t2i", "Wan 2.6, up to four pictures.", make=_output(free, n=4, prompt=2100)), pause=1.0
        ),
        # Its inputs may have sides of 384 to 5000 pixels.
        "wan2.6-image": ImageModel(
            _one(
                "wan2.6-image",
                "Wan 2.6 for editing, of up to four pictures.",
                edit=_edit(_output(small, n=4, prompt=2100), images=4, pixels=5000 * 5000),
            ),
            fixed={"enable_interleave": False},
            pause=0.2,
        ),
        "wan2.5-t2i-preview": ImageModel(
            _one("wan2.5-t2i-preview", "Wan 2.5, up to four pictures.", make=_output(free, n=4, prompt=2000)),
            has_tasks=True,
            pause=0.2,
            running=5,
        ),
    }
    for name, description in (
        ("wan2.2-t2i-plus", "Wan 2.2, up to four pictures."),
        ("wan2.2-t2i-flash", "Wan 2.2, quick and cheap, up to four pictures."),
    ):
        table[name] = ImageModel(_one(name, description, make=_output(old, n=4)), has_tasks=True)
    return table


def _z_image() -> dict[str, ImageModel]:
    """Return z-image-turbo, of which little more than the price is documented."""
    output = _output(model_service_pb2.SizeRule(fixed=True), seed=False, negative=False)
    return {"z-image-turbo": ImageModel(_one("z-image-turbo", "A small and quick model, one picture.", make=output))}


IMAGE_MODELS: dict[str, ImageModel] = _qwen_image() | _qwen_two() | _qwen_edit() | _wan() | _z_image()
