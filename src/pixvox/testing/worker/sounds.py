"""The sound of the emulated worker, and what its contract asks of a request for speech."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from pixvox.testing.dashscope.sound import expected_pcm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RATE = 24_000
SPEAKERS = ("vivian", "serena", "uncle_fu", "dylan", "eric", "ryan", "aiden", "ono_anna", "sohee")

_LANGUAGES = frozenset(
    {
        *("auto", "chinese", "english", "japanese", "korean", "german", "french", "russian", "portuguese", "spanish"),
        "italian",
    }
)
# Ends within a sample.
_PIECE_BYTES = 9_601


def wrong(body: Mapping[str, object], task: str) -> str:
    """Return the field of a request that is not as the contract says, empty if it is all right.

    Args:
        body: Of the request.
        task: ``CustomVoice``, ``VoiceDesign`` or ``Base``, which the model is for.
    """
    if not str(body.get("input", "")).strip():
        return "input"
    if body.get("task_type", task) != task:
        return "task_type"
    if str(body.get("language", "Auto")).lower() not in _LANGUAGES:
        return "language"
    if task == "CustomVoice":
        return "" if str(body.get("voice", "")).lower() in SPEAKERS else "voice"
    if task == "VoiceDesign":
        return "" if body.get("instructions") else "instructions"
    if not str(body.get("ref_audio", "")).startswith("data:audio/wav;base64,"):
        return "ref_audio"
    return "" if body.get("ref_text") or body.get("x_vector_only_mode") else "ref_text"


def samples(body: Mapping[str, object], task: str) -> bytes:
    """Return the 16-bit mono samples of a request that is all right."""
    rate = int(str(body.get("sample_rate", RATE)))
    return expected_pcm(str(body["input"]), _voice(body, task), rate=rate)


def reference_voice(data: bytes, transcript: str = "") -> str:
    """Return the voice, as `pixvox.testing.dashscope.expected_pcm` has it, of a recording that is spoken from."""
    return hashlib.sha256(data + transcript.encode()).hexdigest()


def events(body: Mapping[str, object], pcm: bytes) -> Iterator[bytes]:
    """Give the events of a text that is spoken, the last of which says that it is the last."""
    for start in range(0, len(pcm), _PIECE_BYTES):
        packed = base64.b64encode(pcm[start : start + _PIECE_BYTES]).decode()
        rate = body.get("sample_rate", RATE)
        yield event("speech.audio.delta", audio=packed, response_format="pcm", sample_rate=rate)
    used = len(str(body["input"])), len(pcm) // 3_840
    usage = {"input_tokens": used[0], "output_tokens": used[1], "total_tokens": sum(used)}
    yield event("speech.audio.done", usage=usage, seed=body.get("seed", 0))


def event(name: str, **content: object) -> bytes:
    """Return a server-sent event of the worker's shape."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **content})}\n\n".encode()


def _voice(body: Mapping[str, object], task: str) -> str:
    if task == "CustomVoice":
        return str(body["voice"]).lower()
    if task == "VoiceDesign":
        return str(body["instructions"])
    recording = base64.b64decode(str(body["ref_audio"]).partition(",")[2])
    return reference_voice(recording, str(body.get("ref_text", "")))
