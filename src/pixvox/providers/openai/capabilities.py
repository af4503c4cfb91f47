"""From the tables of models to what the service is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.providers.openai.catalogue import FORMATS, LANGUAGE_NAMES, size_of
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.providers.openai.catalogue import ModelTable
    from pixvox.providers.openai.dialects import Dialect

INPUT_MIME_TYPES = ("image/png", "image/jpeg", "image/webp")
# OpenAI's own limit was 25 MB for long, and the others state none.
MAX_INPUT_BYTES = 25 * 1024 * 1024
MAX_INPUT_PIXELS = 50_000_000


def capability_table(dialect: Dialect, tables: Iterable[ModelTable]) -> list[model_service_pb2.Model]:
    """Return what the service is told of the models, in the order of the tables."""
    return [_message(table, dialect) for table in tables]


def streams(table: ModelTable, dialect: Dialect) -> bool:
    """Tell whether a model's speech is asked for as events."""
    return bool(dialect.streaming) and table.streams is not False


def _message(table: ModelTable, dialect: Dialect) -> model_service_pb2.Model:
    message = model_service_pb2.Model(id=table.id, description=table.description)
    if "generate_image" in table.verbs:
        message.generate_image.output.CopyFrom(_output(table, dialect))
    if "edit_image" in table.verbs:
        message.edit_image.CopyFrom(
            model_service_pb2.EditImageCapability(
                output=_output(table, dialect),
                max_images=table.max_images,
                takes_mask=table.takes_mask,
                input_mime_types=INPUT_MIME_TYPES,
                max_input_bytes=MAX_INPUT_BYTES,
                max_input_pixels=MAX_INPUT_PIXELS,
            )
        )
    if "stream_speech" in table.verbs:
        message.stream_speech.CopyFrom(_speech(table, dialect))
    return message


def _output(table: ModelTable, dialect: Dialect) -> model_service_pb2.ImageOutput:
    sizes = [size for text in table.sizes if (size := size_of(text))]
    rule = model_service_pb2.SizeRule(
        sizes=[media_pb2.Size(width=width, height=height) for width, height in sizes],
        min_side=table.min_side,
        max_side=table.max_side,
        multiple_of=table.multiple_of,
    )
    if default := size_of(table.default_size):
        rule.default_size.CopyFrom(media_pb2.Size(width=default[0], height=default[1]))
    return model_service_pb2.ImageOutput(
        size=rule,
        max_n=table.max_n,
        formats=[FORMATS[name] for name in table.formats],
        deliveries=[media_pb2.DELIVERY_INLINE],
        max_prompt_characters=table.max_prompt_characters,
        max_negative_prompt_characters=table.max_negative_prompt_characters,
        takes_seed=dialect.takes_seed if table.takes_seed is None else table.takes_seed,
    )


def _speech(table: ModelTable, dialect: Dialect) -> model_service_pb2.StreamSpeechCapability:
    rates = [table.sample_rate, *(rate for rate in (8000, 12000, 16000, 24000, 48000) if rate != table.sample_rate)]
    capability = model_service_pb2.StreamSpeechCapability(
        voices=[model_service_pb2.ModelVoice(id=voice) for voice in table.voices],
        language_codes=table.languages or tuple(LANGUAGE_NAMES),
        encodings=[one for one in media_pb2.AudioEncoding.values() if one],
        sample_rates_hertz=rates,
        max_text_characters=table.max_text_characters,
        takes_instructions=table.takes_instructions,
        speaks_while_text_arrives=False,
    )
    if dialect.takes_speed and (dialect.streams_speed or not streams(table, dialect)):
        capability.speaking_rate.CopyFrom(model_service_pb2.Range(min=0.25, max=4.0))
    return capability
