"""Requests for speech as each dialect takes them: bytes out, no network."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec

from pixvox.languages import LANGUAGE_NAMES, primary_code
from pixvox.providers.openai.options import options_of, wrapped
from pixvox.upstream import forms

if TYPE_CHECKING:
    from pixvox.provider import Reference
    from pixvox.providers.openai.dialects import Dialect
    from pixvox.providers.openai.model_table import ModelTable
    from pixvox.v1 import speech_service_pb2

# Members that the service sets, whatever the dialect. What engines would fetch or open by itself is among them.
OWN_MEMBERS = frozenset(
    {
        *("model", "input", "voice", "speaker", "response_format", "stream", "stream_format", "speed", "instructions"),
        *("language", "sample_rate", "task_type", "ref_audio", "ref_text", "x_vector_only_mode", "speaker_embedding"),
        *("kwargs", "instruct", "prompt_speech", "prompt_text", "prompt_latent"),
    }
)

_TASKS = {"custom_voice": "CustomVoice", "voice_design": "VoiceDesign", "base": "Base"}
# What OpenAI names as well, so that it stands outside of what is wrapped.
_PLAIN = frozenset({"model", "input", "voice", "response_format", "speed", "stream"})


def manner(
    config: speech_service_pb2.SpeechConfig, voice: str, table: ModelTable, dialect: Dialect
) -> dict[str, object]:
    """Return what a request says beside its text and a recording.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    found: dict[str, object] = {"model": table.served, "response_format": dialect.audio_format}
    # With a recording, the voice is that of the recording.
    speaker = "" if table.checkpoint == "base" else voice
    if speaker or dialect.wraps:
        found["voice"] = speaker
    if config.HasField("speaking_rate"):
        found["speed"] = config.speaking_rate
    if config.instructions:
        found["instructions"] = config.instructions
    found |= _language(config.language_code, table, dialect)
    if dialect.states_rate:
        found["sample_rate"] = table.sample_rate
    if table.checkpoint and dialect.reference == "data_url":
        found["task_type"] = _TASKS[table.checkpoint]
    found |= dict(dialect.sounds).get(table.sound_of(dialect), ())
    return found | table.options | options_of(config.provider_options, OWN_MEMBERS, "config.provider_options")


def designing(description: str, language_code: str, table: ModelTable, dialect: Dialect) -> dict[str, object]:
    """Return what a request for the preview of a voice says beside its text; its audio comes in one piece.

    Args:
        description: Of the voice.
        language_code: Of the text, or empty.
        table: Of the model that the voice is for.
        dialect: Of the engine that designs it.
    """
    found: dict[str, object] = {"model": table.design_name, "response_format": "wav", "instructions": description}
    if dialect.wraps:
        found["voice"] = ""
    else:
        found["task_type"] = _TASKS["voice_design"]
    return found | _language(language_code, table, dialect)


def encoded(members: dict[str, object], text: str, reference: Reference | None, dialect: Dialect) -> tuple[bytes, str]:
    """Return the body of a request and its content type.

    Args:
        members: Of `manner` or `designing`.
        text: To speak.
        reference: Whose voice shall speak it, None for one that the engine has.
        dialect: Of the engine.
    """
    members = members | {"input": text}
    if reference is not None and dialect.reference == "data_url":
        packed = base64.b64encode(reference.data).decode()
        members["ref_audio"] = f"data:{reference.mime_type};base64,{packed}"
        if reference.transcript:
            members["ref_text"] = reference.transcript
        else:
            members["x_vector_only_mode"] = True
    if reference is not None and dialect.reference == "part":
        members["prompt_text"] = reference.transcript
    if dialect.wraps:
        members = wrapped(members, _PLAIN)
    if reference is not None and dialect.reference == "part":
        return forms.encoded_form(
            members, [forms.FormFile("prompt_speech", "reference.wav", reference.mime_type, reference.data)]
        )
    return msgspec.json.encode(members), "application/json"


def _language(code: str, table: ModelTable, dialect: Dialect) -> dict[str, object]:
    """Return the member that names the language of a text."""
    if dialect.language == "none":
        return {}
    if dialect.language == "tag":
        return {"language": code} if code else {}
    name = LANGUAGE_NAMES[primary_code(code)] if code else ""
    if dialect.wraps and table.checkpoint:
        # It takes every text for Chinese unless it is told something else.
        name = (name or "auto").lower()
    return {"language": name} if name else {}
