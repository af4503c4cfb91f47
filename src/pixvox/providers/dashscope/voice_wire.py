"""Requests about voices as the vendor takes them, and its answers read: bytes out, bytes in, no network.

Source: "Qwen-TTS voice cloning" and "Qwen-TTS voice design" of Alibaba Cloud Model Studio.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from pixvox.languages import primary_code
from pixvox.providers.dashscope.refusals import Envelope
from pixvox.v1 import voice_service_pb2

if TYPE_CHECKING:
    from pixvox.provider import Recording

CLONING = "qwen-voice-enrollment"
DESIGN = "qwen-voice-design"

# Asked of the vendor for previews; it is also the rate of its speech.
PREVIEW_RATE_HERTZ = 24_000
# Clones are listed without a total, so a page that is not full is the last one.
PAGE_SIZE = 100

_CUSTOMIZERS = {voice_service_pb2.VOICE_KIND_CLONED: CLONING, voice_service_pb2.VOICE_KIND_DESIGNED: DESIGN}
_PLAIN_NAMES = {voice_service_pb2.VOICE_KIND_CLONED: "clone", voice_service_pb2.VOICE_KIND_DESIGNED: "design"}
# The vendor takes 16 letters, digits and underscores; eight of them tell one call from all others.
_MAX_NAME = 16
_MARK = 8
# Encoded this much at a time, a multiple of three, a recording never keeps the event loop waiting for the interpreter's lock.
_PIECE = 384 * 1024


class PreviewAudio(msgspec.Struct):
    """How a designed voice sounds; `data` is a WAV file in Base64."""

    data: str | None = None


class Output(msgspec.Struct):
    """A voice that was made."""

    voice: str | None = None
    target_model: str | None = None
    fallback_mode: bool | None = None
    fallback_reason: str | None = None
    preview_audio: PreviewAudio | None = None


class Usage(msgspec.Struct):
    """What is billed."""

    count: object = None


class Answer(Envelope):
    """The answer to the making of a voice."""

    output: Output | None = None
    usage: Usage | None = None


class Listed(msgspec.Struct):
    """A voice of a list; designs have more, which is of no use here."""

    voice: str = ""
    target_model: str = ""


class Page(msgspec.Struct):
    """A page of a list."""

    voice_list: list[Listed] | None = None


class ListAnswer(Envelope):
    """The answer to a list."""

    output: Page | None = None


def encoded_clone(request: voice_service_pb2.CloneVoiceRequest, recording: Recording, target_model: str) -> bytes:
    """Return the JSON that asks for a clone; the recording becomes a data URI."""
    given: dict[str, object] = {
        "action": "create",
        "target_model": target_model,
        "preferred_name": preferred_name(voice_service_pb2.VOICE_KIND_CLONED, request.display_name, request.request_id),
        "audio": {"data": _data_uri(recording)},
    }
    if request.transcript.strip():
        given["text"] = request.transcript
    if request.language_code:
        given["language"] = primary_code(request.language_code)
    return msgspec.json.encode({"model": CLONING, "input": given})


def encoded_design(request: voice_service_pb2.DesignVoiceRequest, target_model: str) -> bytes:
    """Return the JSON that asks for a design and its preview."""
    given = {
        "action": "create",
        "target_model": target_model,
        "voice_prompt": request.description,
        "preview_text": request.preview_text,
        "preferred_name": preferred_name(
            voice_service_pb2.VOICE_KIND_DESIGNED, request.display_name, request.request_id
        ),
    }
    if request.language_code:
        given["language"] = primary_code(request.language_code)
    parameters = {"sample_rate": PREVIEW_RATE_HERTZ, "response_format": "wav"}
    return msgspec.json.encode({"model": DESIGN, "input": given, "parameters": parameters})


def encoded_list(kind: voice_service_pb2.VoiceKind.ValueType, page: int) -> bytes:
    """Return the JSON that asks for a page of voices, from 0."""
    given = {"action": "list", "page_index": page, "page_size": PAGE_SIZE}
    return msgspec.json.encode({"model": _CUSTOMIZERS[kind], "input": given})


def encoded_delete(kind: voice_service_pb2.VoiceKind.ValueType, voice: str) -> bytes:
    """Return the JSON that deletes a voice."""
    return msgspec.json.encode({"model": _CUSTOMIZERS[kind], "input": {"action": "delete", "voice": voice}})


def preferred_name(kind: voice_service_pb2.VoiceKind.ValueType, display_name: str, request_id: str) -> str:
    """Return the name that becomes part of the vendor's id of a voice: readable, lawful, and the call's own."""
    mark = hashlib.sha256(request_id.encode()).hexdigest()[:_MARK]
    plain = re.sub(r"[^A-Za-z0-9]+", "_", display_name).strip("_")
    if len(plain) < 3:
        plain = _PLAIN_NAMES[kind]
    return f"{plain[: _MAX_NAME - _MARK - 1]}_{mark}"


def is_from(listed: Listed, preferred: str) -> bool:
    """Tell whether a voice was made under a preferred name, as in ``qwen-tts-vc-NAME-voice-20260301-9af0``."""
    return f"-{preferred}-" in listed.voice


def _data_uri(recording: Recording) -> msgspec.Raw:
    """Return a recording as a JSON string, copied once on the way to Base64 and once into the string."""
    view = memoryview(recording.data)
    pieces = (binascii.b2a_base64(view[start : start + _PIECE], newline=False) for start in range(0, len(view), _PIECE))
    return msgspec.Raw(b"".join((f'"data:{recording.mime_type};base64,'.encode(), *pieces, b'"')))
