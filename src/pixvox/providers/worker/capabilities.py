"""From the tables of models to what the service is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox import references
from pixvox.providers.worker.models import FORMATS, size_of
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.providers.worker.models import ModelTable

INPUT_MIME_TYPES = ("image/png", "image/jpeg", "image/webp")
# The worker takes bodies of 32 MiB, and inputs of 40 million pixels, unless it is told otherwise.
MAX_BODY_BYTES = 31 * 1024 * 1024
MAX_INPUT_PIXELS = 40_000_000

_MIN_SIDE = 64
_STEP = 16
# Qwen-Image's sides differ by a factor of 16 / 9 at most; more than this makes stripes of no use.
_MAX_ASPECT = 8.0
_OTHER_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


def capability_table(
    tables: Mapping[str, ModelTable], *, bare: bool, designs: Mapping[str, bool]
) -> list[model_service_pb2.Model]:
    """Return what the service is told of the models, in the order of the tables.

    Args:
        tables: By the models' ids.
        bare: Whether the workers have ``/process`` alone.
        designs: Whether there are workers that invent voices for a model.
    """
    return [_message(name, table, bare=bare, designs=designs[name]) for name, table in tables.items()]


def _message(name: str, table: ModelTable, *, bare: bool, designs: bool) -> model_service_pb2.Model:
    message = model_service_pb2.Model(id=name, description=table.description, aliases=table.aliases)
    if "text-to-image" in table.tasks:
        message.generate_image.output.CopyFrom(_output(table, bare=bare))
        if (size := size_of(table.default_size)) and not bare:
            default = media_pb2.Size(width=size[0], height=size[1])
            message.generate_image.output.size.default_size.CopyFrom(default)
    if "image-editing" in table.tasks:
        message.edit_image.CopyFrom(
            model_service_pb2.EditImageCapability(
                output=_output(table, bare=bare),
                max_images=1 if bare else table.max_images,
                input_mime_types=INPUT_MIME_TYPES,
                max_input_bytes=MAX_BODY_BYTES // (2 if bare else table.max_images),
                max_input_pixels=MAX_INPUT_PIXELS,
            )
        )
    if table.speaks:
        _add_speech(message, table, designs=designs)
    return message


def _output(table: ModelTable, *, bare: bool) -> model_service_pb2.ImageOutput:
    rule = model_service_pb2.SizeRule(
        min_side=_MIN_SIDE, max_area=table.max_pixels, max_aspect=_MAX_ASPECT, multiple_of=_STEP
    )
    return model_service_pb2.ImageOutput(
        # The earlier container's pictures have the size of its input.
        size=model_service_pb2.SizeRule(fixed=True) if bare else rule,
        max_n=1 if bare else table.max_n,
        formats=[media_pb2.IMAGE_FORMAT_PNG] if bare else [FORMATS[name] for name in table.formats],
        deliveries=[media_pb2.DELIVERY_INLINE],
        max_prompt_characters=table.max_prompt_characters,
        max_negative_prompt_characters=table.max_negative_prompt_characters,
        takes_seed=True,
    )


def _add_speech(message: model_service_pb2.Model, table: ModelTable, *, designs: bool) -> None:
    rates = [table.sample_rate, *(rate for rate in _OTHER_RATES if rate != table.sample_rate)]
    message.stream_speech.CopyFrom(
        model_service_pb2.StreamSpeechCapability(
            voices=[model_service_pb2.ModelVoice(id=voice) for voice in table.voices],
            language_codes=table.languages,
            encodings=[one for one in media_pb2.AudioEncoding.values() if one],
            sample_rates_hertz=rates,
            max_text_characters=table.max_text_characters,
            takes_instructions=table.takes_instructions,
            speaks_while_text_arrives=False,
            streams_audio=True,
            needs_made_voice="voice-clone" in table.tasks,
        )
    )
    if "voice-clone" in table.tasks:
        # Without a transcript a voice is taken from how the recording sounds alone.
        clones = references.clone_capability(table.languages, needs_transcript=False)
        message.clone_voice.CopyFrom(clones)
    if designs:
        message.design_voice.CopyFrom(references.design_capability(table.languages))
