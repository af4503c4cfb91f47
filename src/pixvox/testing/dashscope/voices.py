"""Custom voices: cloned and designed, listed, queried and deleted, on one endpoint.

Source: dashscope reference 5.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pixvox.testing.dashscope import containers, fields, samples
from pixvox.testing.dashscope.envelope import Answer, RefusedError, invalid, succeeded
from pixvox.testing.dashscope.models import targets
from pixvox.testing.dashscope.sound import expected_pcm

if TYPE_CHECKING:
    from pixvox.testing.dashscope.fields import JsonObject
    from pixvox.testing.dashscope.vendor import Call

CLONING = "qwen-voice-enrollment"
DESIGN = "qwen-voice-design"

_KINDS: dict[str, Literal["vc", "vd"]] = {CLONING: "vc", DESIGN: "vd"}
_ACTIONS = {"vc": ("create", "list", "delete"), "vd": ("create", "list", "query", "delete")}
_LANGUAGES = ("zh", "en", "de", "it", "pt", "es", "ja", "ko", "fr", "ru")
_RATES = (8000, 16000, 24000, 48000)
_MOST_PAGES = {"vc": 1_000_000, "vd": 200}


@dataclass(frozen=True, slots=True)
class CustomVoice:
    """A custom voice.

    Attributes:
        name: The vendor's id of it.
        kind: ``vc`` is cloned, ``vd`` designed.
        target_model: The only model that it works with.
        created: ``YYYY-MM-DD HH:MM:SS``.
        language: As given.
        voice_prompt: What a designed voice shall be like.
        preview_text: What its preview says.
    """

    name: str
    kind: Literal["vc", "vd"]
    target_model: str
    created: str
    language: str
    voice_prompt: str = ""
    preview_text: str = ""


class Voices:
    """The custom voices of the account, as long as the emulator lives."""

    def __init__(self) -> None:
        self._voices: dict[str, CustomVoice] = {}

    def all(self) -> tuple[CustomVoice, ...]:
        """Return the voices in the order of their making."""
        return tuple(self._voices.values())

    def find(self, name: str) -> CustomVoice | None:
        """Return a voice, or None."""
        return self._voices.get(name)

    async def create(self, call: Call) -> Answer:
        """Clone or design a voice."""
        kind, given = _request(call)
        if kind == "vc":
            return await self._clone(call, given)
        return await self._design(call, given)

    async def list(self, call: Call) -> Answer:
        """List a page of voices, the newest first."""
        kind, given = _request(call)
        index = fields.whole_at(given, "page_index", 0, (0, _MOST_PAGES[kind]))
        size = fields.whole_at(given, "page_size", 10, (0 if kind == "vc" else 1, 1_000_000))
        found = [voice for voice in reversed(self._voices.values()) if voice.kind == kind]
        page = found[index * size : (index + 1) * size]
        output: dict[str, object] = {"voice_list": [_described(voice) for voice in page]}
        if kind == "vd":
            output |= {"page_index": index, "page_size": size, "total_count": len(found)}
        return succeeded(call.request_id, output=output, usage={"count": 0})

    async def query(self, call: Call) -> Answer:
        """Describe a designed voice."""
        kind, given = _request(call)
        return succeeded(call.request_id, output=_described(self._existing(kind, given)), usage={"count": 0})

    async def delete(self, call: Call) -> Answer:
        """Delete a voice."""
        kind, given = _request(call)
        voice = self._existing(kind, given)
        del self._voices[voice.name]
        output = {"voice": voice.name} if kind == "vd" else None
        return succeeded(call.request_id, output=output, usage={"count": 0})

    async def _clone(self, call: Call, given: JsonObject) -> Answer:
        target, name = _target(given, "vc"), _preferred_name(given)
        language = fields.choice_at(given, "language", "", _LANGUAGES)
        fields.optional_text_at(given, "text")
        await samples.check(call, fields.text_at(fields.object_at(given, "audio"), "data"))
        self._refuse_beyond(call.vendor.behaviour.voice_quota, 429, "Maximum voice-clone voice limit exceeded.")
        voice = CustomVoice(_new_name("vc", name), "vc", target, _now(), language)
        self._voices[voice.name] = voice
        output = {"voice": voice.name, "target_model": target, "fallback_mode": False}
        return succeeded(call.request_id, output=output, usage={"count": 1})

    async def _design(self, call: Call, given: JsonObject) -> Answer:
        target, name = _target(given, "vd"), _preferred_name(given)
        prompt = fields.text_at(given, "voice_prompt", longest=2048)
        text = fields.text_at(given, "preview_text", longest=1024)
        language = fields.choice_at(given, "language", "zh", _LANGUAGES)
        parameters = fields.object_at(call.body, "parameters")
        rate = fields.whole_at(parameters, "sample_rate", 24000, (0, 10**9))
        if rate not in _RATES:
            raise invalid(f"sample_rate must be one of {', '.join(map(str, _RATES))}.")
        format = fields.choice_at(parameters, "response_format", "wav", containers.FORMATS)
        self._refuse_beyond(call.vendor.behaviour.voice_quota, 400, "Maximum voice storage limit exceeded.")
        voice = CustomVoice(_new_name("vd", name), "vd", target, _now(), language, prompt, text)
        preview = await asyncio.to_thread(_preview, voice, rate, format)
        self._voices[voice.name] = voice
        audio = {"data": base64.b64encode(preview).decode(), "sample_rate": rate, "response_format": format}
        output = {"voice": voice.name, "target_model": target, "preview_audio": audio}
        return succeeded(call.request_id, output=output, usage={"count": 1})

    def _refuse_beyond(self, quota: int, status: int, message: str) -> None:
        """Refuse another voice; both statuses are documented, which belongs to which kind is not. [guess]"""
        if len(self._voices) >= quota:
            raise RefusedError(status, "Throttling.AllocationQuota", message)

    def _existing(self, kind: Literal["vc", "vd"], given: JsonObject) -> CustomVoice:
        voice = self._voices.get(fields.text_at(given, "voice"))
        if voice is None or voice.kind != kind:
            # The plain code is documented for a query of designs, and taken for their deletion too. [guess]
            code = "BadRequest.VoiceNotFound" if kind == "vc" else "VoiceNotFound"
            raise RefusedError(400, code, "The voice does not exist.")
        return voice


def action_of(body: JsonObject) -> str:
    """Return ``create``, ``list``, ``query`` or ``delete`` for a body that may be anything; ``create`` for any other."""
    given = body.get("input")
    action = given.get("action") if isinstance(given, dict) else None
    return action if action in {"list", "query", "delete"} else "create"


def _request(call: Call) -> tuple[Literal["vc", "vd"], JsonObject]:
    """Return the kind of voice and the input."""
    kind = _KINDS.get(fields.model_at(call.body))
    if kind is None:
        raise invalid("Model not exist.")
    given = fields.input_at(call.body)
    if given.get("action") not in _ACTIONS[kind]:
        raise invalid(f"action must be one of {', '.join(_ACTIONS[kind])}.")
    return kind, given


def _target(given: JsonObject, kind: Literal["vc", "vd"]) -> str:
    target = fields.text_at(given, "target_model")
    if target not in targets(kind):
        raise invalid(f"target_model must be one of {', '.join(targets(kind))}.")
    return target


def _preferred_name(given: JsonObject) -> str:
    name = fields.text_at(given, "preferred_name")
    if not re.fullmatch(r"[A-Za-z0-9_]{1,16}", name):
        raise invalid("preferred_name must be 1 to 16 letters, digits or underscores.")
    return name


def _new_name(kind: Literal["vc", "vd"], preferred: str) -> str:
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%S")
    return f"qwen-tts-{kind}-{preferred}-voice-{stamp}-{secrets.token_hex(2)}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _described(voice: CustomVoice) -> dict[str, object]:
    common: dict[str, object] = {
        "voice": voice.name,
        "gmt_create": voice.created,
        "target_model": voice.target_model,
    }
    if voice.kind == "vc":
        return common
    return common | {
        "gmt_modified": voice.created,
        "language": voice.language,
        "preview_text": voice.preview_text,
        "voice_prompt": voice.voice_prompt,
    }


def _preview(voice: CustomVoice, rate: int, format: str) -> bytes:
    return containers.contained(expected_pcm(voice.preview_text, voice.name, rate), rate, format)
