"""What the deployed models can do: those that are built in, and what an operator says of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PROMPT_CHARACTERS = 4000
MAX_NEGATIVE_CHARACTERS = 1000
MAX_N = 4
INPUT_MIME_TYPES = ("image/jpeg", "image/png", "image/webp")
# The worker takes bodies of 32 MiB, unless it is told otherwise, and inputs of 40 million pixels.
MAX_INPUT_BYTES = 31 * 1024 * 1024
MAX_INPUT_PIXELS = 40_000_000

_DEFAULT_SIDE = 1328
_MIN_SIDE = 64
_STEP = 16


class Served(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model of a deployment.

    Attributes:
        verb: What it does.
        max_pixels: Of one picture that it makes: the worker's ``MAX_PIXELS``.
        aliases: Other names that requests may use.
    """

    verb: Literal["generate", "edit"]
    max_pixels: int = 4_194_304
    aliases: tuple[str, ...] = ()


BUILT_IN: Mapping[str, Served] = {
    "Qwen-Image": Served(verb="generate", aliases=("Qwen/Qwen-Image",)),
    "Qwen-Image-Edit": Served(verb="edit", aliases=("Qwen/Qwen-Image-Edit",)),
}


def table(served: Mapping[str, Served]) -> list[model_service_pb2.Model]:
    """Return the capability table.

    Raises:
        ValueError: A model's largest picture is smaller than the smallest.
    """
    return [_model(name, one) for name, one in served.items()]


def _model(name: str, served: Served) -> model_service_pb2.Model:
    if served.max_pixels < _DEFAULT_SIDE**2:
        message = f"models.{name}.max_pixels: {served.max_pixels} is less than {_DEFAULT_SIDE} x {_DEFAULT_SIDE}"
        raise ValueError(message)
    model = model_service_pb2.Model(
        id=name, description="Runs on GPUs of Modal, in our own worker.", aliases=served.aliases
    )
    if served.verb == "generate":
        model.generate_image.output.CopyFrom(_output(served, MAX_N))
        model.generate_image.output.size.default_size.CopyFrom(
            media_pb2.Size(width=_DEFAULT_SIDE, height=_DEFAULT_SIDE)
        )
        return model
    model.edit_image.CopyFrom(
        model_service_pb2.EditImageCapability(
            output=_output(served, 1),
            max_images=1,
            input_mime_types=INPUT_MIME_TYPES,
            max_input_bytes=MAX_INPUT_BYTES,
            max_input_pixels=MAX_INPUT_PIXELS,
        )
    )
    return model


def _output(served: Served, n: int) -> model_service_pb2.ImageOutput:
    return model_service_pb2.ImageOutput(
        size=model_service_pb2.SizeRule(min_side=_MIN_SIDE, max_area=served.max_pixels, multiple_of=_STEP),
        max_n=n,
        formats=[media_pb2.IMAGE_FORMAT_PNG],
        deliveries=[media_pb2.DELIVERY_INLINE],
        max_prompt_characters=MAX_PROMPT_CHARACTERS,
        max_negative_prompt_characters=MAX_NEGATIVE_CHARACTERS,
        takes_seed=True,
    )
