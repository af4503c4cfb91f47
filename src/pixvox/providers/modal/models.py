"""What the deployed models can do: those that are built in, and what an operator says of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from pixvox import references
from pixvox.languages import LANGUAGE_CODES
from pixvox.media import audio
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

# The service makes every rate out of the worker's own, which is the first.
RATES = (24_000, 8_000, 16_000, 48_000)
# Of the checkpoints "CustomVoice" of Qwen3-TTS; workers compare without regard to case.
SPEAKERS = ("Vivian", "Serena", "Uncle_Fu", "Dylan", "Eric", "Ryan", "Aiden", "Ono_Anna", "Sohee")

_DEFAULT_SIDE = 1328
_MIN_SIDE = 64
_STEP = 16


class Served(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model of a deployment.

    Attributes:
        verb: What it does: ``speak`` with voices of its own, or ``clone``, which is to speak with voices of the catalogue.
        max_pixels: Of one picture that it makes: the worker's ``MAX_PIXELS``.
        aliases: Other names that requests may use.
        voices: Of one that speaks with its own; the first is the default.
        max_text_characters: Of one call of one that speaks.
        takes_instructions: Whether one that speaks with its own voices can be told how; the small ones cannot.
    """

    verb: Literal["generate", "edit", "speak", "clone"]
    max_pixels: int = 4_194_304
    aliases: tuple[str, ...] = ()
    voices: tuple[str, ...] = SPEAKERS
    max_text_characters: int = 2_000
    takes_instructions: bool = False


BUILT_IN: Mapping[str, Served] = {
    "Qwen-Image": Served(verb="generate", aliases=("Qwen/Qwen-Image",)),
    "Qwen-Image-Edit": Served(verb="edit", aliases=("Qwen/Qwen-Image-Edit",)),
}


def table(served: Mapping[str, Served], *, designs: bool = False) -> list[model_service_pb2.Model]:
    """Return the capability table.

    Args:
        served: The models by their ids.
        designs: Whether somebody invents voices for those that speak with voices of the catalogue.

    Raises:
        ValueError: A model's largest picture is smaller than the smallest, or it has no voice.
    """
    return [_model(name, one, designs=designs) for name, one in served.items()]


def speaks(served: Served) -> bool:
    """Tell whether a model speaks."""
    return served.verb in {"speak", "clone"}


def _model(name: str, served: Served, *, designs: bool) -> model_service_pb2.Model:
    if speaks(served):
        return _speaker(name, served, designs=designs)
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


def _speaker(name: str, served: Served, *, designs: bool) -> model_service_pb2.Model:
    own = served.verb == "speak"
    if own and not served.voices:
        message = f"models.{name}.voices: is empty; a model that speaks with its own voices has some"
        raise ValueError(message)
    model = model_service_pb2.Model(
        id=name, description="Speaks on GPUs of Modal, in our own worker.", aliases=served.aliases
    )
    model.stream_speech.CopyFrom(
        model_service_pb2.StreamSpeechCapability(
            voices=[model_service_pb2.ModelVoice(id=voice) for voice in served.voices if own],
            language_codes=LANGUAGE_CODES,
            encodings=list(audio.SAMPLE_RATES_HERTZ),
            sample_rates_hertz=RATES,
            max_text_characters=served.max_text_characters,
            takes_instructions=own and served.takes_instructions,
            needs_made_voice=not own,
            streams_audio=True,
        )
    )
    return model if own else with_makings(model, designs=designs, needs_transcript=False)


def with_makings(model: model_service_pb2.Model, *, designs: bool, needs_transcript: bool) -> model_service_pb2.Model:
    """Return a model that speaks with voices of the catalogue, with the capability to make them.

    Args:
        model: Is changed.
        designs: Whether somebody invents voices for it.
        needs_transcript: Whether it has to be told what is said in a recording.
    """
    codes = list(model.stream_speech.language_codes)
    model.clone_voice.CopyFrom(references.clone_capability(codes, needs_transcript=needs_transcript))
    if designs:
        model.design_voice.CopyFrom(references.design_capability(codes))
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
