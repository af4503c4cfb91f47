"""How the emulated dialects differ in what they take, and in how they complain.

Source: OpenAI's specification of 2026-08; the servers of vLLM-Omni 0.30 and 0.22, SGLang-diffusion 0.5.23, LocalAI (2026-08),
speaches and Kokoro-FastAPI as their sources have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["openai", "vllm_omni", "sglang", "localai", "speaches", "kokoro"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """What a dialect is like.

    Attributes:
        operations: That it has routes for.
        models: That it serves by default.
        checks_model: The status of its answer to another model's name, 0 if it does not look.
        gives_addresses: Whether pictures are named by their addresses unless asked for.
        mask_part: Of edits; other names are not read.
        sound: The default form of speech.
        rate: Of speech, in samples per second.
        events_if: The member, with its value, that has speech come as events.
        members: Of pictures, edits and speech; None takes any.
    """

    operations: frozenset[str]
    models: tuple[str, ...]
    checks_model: int = 404
    gives_addresses: bool = False
    mask_part: str = "mask"
    sound: str = "mp3"
    rate: int = 24_000
    events_if: tuple[str, object] | None = None
    members: frozenset[str] | None = None


_OPENAI_MEMBERS = frozenset(
    {
        *("model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation"),
        *("style", "user", "stream_format", "input_fidelity", "input", "voice", "instructions", "response_format"),
        "speed",
    }
)

QUIRKS: dict[Dialect, Quirks] = {
    "openai": Quirks(
        frozenset({"generate", "edit", "speech"}),
        ("gpt-image-1", "gpt-4o-mini-tts", "tts-1"),
        events_if=("stream_format", "sse"),
        members=_OPENAI_MEMBERS,
    ),
    "vllm_omni": Quirks(
        frozenset({"generate", "edit", "speech"}),
        ("Qwen/Qwen-Image",),
        checks_model=400,
        mask_part="mask_image",
        sound="wav",
        events_if=("stream", True),
    ),
    "sglang": Quirks(
        frozenset({"generate", "edit", "download"}), ("Qwen/Qwen-Image",), checks_model=0, gives_addresses=True
    ),
    "localai": Quirks(
        frozenset({"generate", "speech", "download"}),
        ("stablediffusion", "tts-1"),
        gives_addresses=True,
        sound="wav",
        rate=22_050,
    ),
    "speaches": Quirks(
        frozenset({"speech"}), ("speaches-ai/Kokoro-82M-v1.0-ONNX",), events_if=("stream_format", "sse")
    ),
    "kokoro": Quirks(frozenset({"speech"}), ("kokoro",)),
}


def complaint(dialect: Dialect, status: int, code: str, message: str) -> dict[str, object]:
    """Return the body of an error in the dialect's shape."""
    if dialect == "vllm_omni" and status == 401:
        return {"error": "Unauthorized"}
    if dialect == "kokoro":
        return {"detail": {"error": code or "error", "message": message, "type": "invalid_request_error"}}
    if dialect in {"sglang", "speaches"}:
        return {"detail": [{"loc": ["body"], "msg": message, "type": code}] if status == 422 else message}
    if dialect == "localai":
        return {"error": {"code": status, "message": message, "type": ""}}
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code or None}}
