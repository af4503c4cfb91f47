"""Speech as our worker's contract has it: requests written, and answers in one piece read; no network."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec

from pixvox.errors import InvalidMediaError, ProviderInternalError
from pixvox.languages import language_name
from pixvox.media import audio
from pixvox.providers.modal import wire
from pixvox.utterances import BYTES_PER_SAMPLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.provider import Reference
    from pixvox.upstream import Reply
    from pixvox.v1 import speech_service_pb2

PATH = "/v1/audio/speech"
SAMPLE_RATE_HERTZ = 24_000

_OPTIONS = ("seed", "max_new_tokens")
_PCM = "audio/pcm"
# A worker speaks 12.5 tokens a second and stops at 2048, which a long text may need more of.
_LONG_CHARACTERS = 1_000
_MOST_TOKENS = 4_096


def manner(config: speech_service_pb2.SpeechConfig, model: str) -> dict[str, object]:
    """Return what every request of a call says, beside its text and its voice.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    found: dict[str, object] = {
        "model": model,
        "response_format": "pcm",
        "sample_rate": SAMPLE_RATE_HERTZ,
        "stream": True,
        "stream_format": "sse",
        "language": language_name(config.language_code),
    }
    if config.instructions:
        found["instructions"] = config.instructions
    return found | wire.numbers(config.provider_options, _OPTIONS, "config.")


def own_voice(voice: str) -> dict[str, object]:
    """Return the fields for a voice that comes with the model."""
    return {"task_type": "CustomVoice", "voice": voice}


def referred_voice(reference: Reference) -> dict[str, object]:
    """Return the fields for a voice that goes along; takes a while for a long recording."""
    packed = base64.b64encode(reference.data).decode()
    fields: dict[str, object] = {"task_type": "Base", "ref_audio": f"data:{reference.mime_type};base64,{packed}"}
    if reference.transcript:
        return fields | {"ref_text": reference.transcript}
    return fields | {"x_vector_only_mode": True}


def spoken(text: str, fields: Mapping[str, object]) -> bytes:
    """Return the body of the request that speaks a text."""
    longer = {"max_new_tokens": _MOST_TOKENS} if len(text) > _LONG_CHARACTERS else {}
    return msgspec.json.encode({**longer, **fields, "input": text})


def designed(text: str, description: str, language_code: str, model: str) -> bytes:
    """Return the body of the request that has a voice invented."""
    return msgspec.json.encode(
        {
            "model": model,
            "task_type": "VoiceDesign",
            "input": text,
            "instructions": description,
            "language": language_name(language_code),
            "response_format": "wav",
        }
    )


def whole_samples(reply: Reply, request_id: str) -> bytes:
    """Return the samples of an answer that came in one piece; takes a while for a long one.

    Raises:
        ProviderInternalError: It is no audio of 24 kHz.
    """
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _PCM and len(reply.body) % BYTES_PER_SAMPLE == 0:
        return reply.body
    try:
        samples, rate = audio.decoded(reply.body)
    except InvalidMediaError as error:
        raise _no_audio(request_id) from error
    if rate != SAMPLE_RATE_HERTZ:
        raise _no_audio(request_id)
    return samples


def _no_audio(request_id: str) -> ProviderInternalError:
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": "accepted"}
    return ProviderInternalError("The worker gave something else than audio of 24 kHz.", metadata=metadata)
