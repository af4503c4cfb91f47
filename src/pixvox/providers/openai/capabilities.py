"""From the tables of models to what the service is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox import references
from pixvox.languages import LANGUAGE_CODES
from pixvox.providers.openai.model_table import FORMATS, size_of
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.providers.openai.dialects import Dialect, Sound
    from pixvox.providers.openai.model_table import ModelTable

INPUT_MIME_TYPES = ("image/png", "image/jpeg", "image/webp")
# OpenAI's own limit was 25 MB for long, and the others state none.
MAX_INPUT_BYTES = 25 * 1024 * 1024
MAX_INPUT_PIXELS = 50_000_000

_ARRIVAL: dict[Sound, str] = {
    "events": "Sound comes while it is made, and its end is told.",
    "samples": "Sound comes while it is made; what breaks off is seen as far as HTTP shows it.",
    "whole": "Sound comes when all of it is made.",
}


def capability_table(dialect: Dialect, tables: Iterable[ModelTable]) -> list[model_service_pb2.Model]:
    """Return what the service is told of the models, in the order of the tables."""
    return [_message(table, dialect) for table in tables]


def _message(table: ModelTable, dialect: Dialect) -> model_service_pb2.Model:
    message = model_service_pb2.Model(id=table.id, description=table.description)
    if "generate_image" in table.verbs:
        message.generate_image.output.CopyFrom(_output(table, dialect, edits=False))
    if "edit_image" in table.verbs:
        message.edit_image.CopyFrom(
            model_service_pb2.EditImageCapability(
                output=_output(table, dialect, edits=True),
                max_images=table.max_images,
                takes_mask=table.takes_mask,
                input_mime_types=INPUT_MIME_TYPES,
                max_input_bytes=MAX_INPUT_BYTES,
                max_input_pixels=MAX_INPUT_PIXELS,
            )
        )
    if "stream_speech" in table.verbs:
        message.stream_speech.CopyFrom(_speech(table, dialect))
        message.description = f"{table.description} {_ARRIVAL[table.sound_of(dialect)]}".strip()
    if table.checkpoint == "base":
        codes = message.stream_speech.language_codes
        # Without the words of a recording, vLLM-Omni has the voice alone, and Xinference nothing at all.
        message.clone_voice.CopyFrom(references.clone_capability(codes, needs_transcript=dialect.wraps))
        if table.designs:
            message.design_voice.CopyFrom(references.design_capability(codes))
    return message


def _output(table: ModelTable, dialect: Dialect, *, edits: bool) -> model_service_pb2.ImageOutput:
    # A form has no place for what has to be wrapped.
    bare = edits and dialect.wraps
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
        max_negative_prompt_characters=0 if bare else table.max_negative_prompt_characters,
        takes_seed=not bare and (dialect.takes_seed if table.takes_seed is None else table.takes_seed),
    )


def _speech(table: ModelTable, dialect: Dialect) -> model_service_pb2.StreamSpeechCapability:
    rates = [table.sample_rate, *(rate for rate in (8000, 12000, 16000, 24000, 48000) if rate != table.sample_rate)]
    capability = model_service_pb2.StreamSpeechCapability(
        voices=[model_service_pb2.ModelVoice(id=voice) for voice in table.voices],
        language_codes=table.languages or LANGUAGE_CODES,
        encodings=[one for one in media_pb2.AudioEncoding.values() if one],
        sample_rates_hertz=rates,
        max_text_characters=table.max_text_characters,
        takes_instructions=table.takes_instructions,
        speaks_while_text_arrives=False,
        streams_audio=table.sound_of(dialect) != "whole",
        needs_made_voice=table.checkpoint == "base",
    )
    if _takes_speed(table, dialect):
        capability.speaking_rate.CopyFrom(model_service_pb2.Range(min=0.25, max=4.0))
    return capability


def _takes_speed(table: ModelTable, dialect: Dialect) -> bool:
    if dialect.wraps and table.checkpoint:
        # It takes one for the sake of its other backends, and forgets it.
        return False
    return dialect.takes_speed and (dialect.streams_speed or table.sound_of(dialect) == "whole")
