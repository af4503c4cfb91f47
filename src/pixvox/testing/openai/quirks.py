"""How the emulated dialects differ in what they have and in how they complain; what they refuse is in `admission`.

Source: OpenAI's specification of 2026-08; the servers of vLLM-Omni 0.22 to 0.30, SGLang-diffusion 0.5.23, LocalAI (2026-08),
Xinference 4.1, speaches and Kokoro-FastAPI as their sources have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["openai", "vllm_omni", "sglang", "localai", "xinference", "speaches", "kokoro"]


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
        sounds: All forms that it makes.
        rate: Of speech, in samples per second.
        health: The path, from the root, at which it says how it is; empty if it has none.
    """

    operations: frozenset[str]
    models: tuple[str, ...]
    checks_model: int = 404
    gives_addresses: bool = False
    mask_part: str = "mask"
    sound: str = "mp3"
    sounds: frozenset[str] = frozenset({"mp3", "opus", "aac", "flac", "wav", "pcm"})
    rate: int = 24_000
    health: str = ""


QUIRKS: dict[Dialect, Quirks] = {
    "openai": Quirks(frozenset({"generate", "edit", "speech"}), ("gpt-image-1", "gpt-4o-mini-tts", "tts-1")),
    "vllm_omni": Quirks(
        frozenset({"generate", "edit", "speech"}),
        ("Qwen/Qwen-Image",),
        checks_model=400,
        mask_part="mask_image",
        sound="wav",
        sounds=frozenset({"wav", "pcm", "flac", "mp3", "opus"}),
        health="/metrics",
    ),
    "sglang": Quirks(
        frozenset({"generate", "edit", "download"}),
        ("Qwen/Qwen-Image",),
        checks_model=0,
        gives_addresses=True,
        health="/health",
    ),
    "localai": Quirks(
        frozenset({"generate", "speech", "download"}),
        ("stablediffusion", "tts-1"),
        gives_addresses=True,
        sound="wav",
        rate=22_050,
        health="/readyz",
    ),
    "xinference": Quirks(
        frozenset({"generate", "edit", "speech", "download"}),
        ("Qwen-Image", "Qwen-Image-Edit", "Qwen3-TTS-12Hz-1.7B-CustomVoice"),
        gives_addresses=True,
        # What libsndfile has no container for fails.
        sounds=frozenset({"mp3", "wav", "flac"}),
        health="/status",
    ),
    "speaches": Quirks(frozenset({"speech"}), ("speaches-ai/Kokoro-82M-v1.0-ONNX",), health="/health"),
    "kokoro": Quirks(frozenset({"speech"}), ("kokoro",), health="/health"),
}


def complaint(dialect: Dialect, status: int, code: str, message: str) -> dict[str, object]:
    """Return the body of an error in the dialect's shape."""
    if dialect == "vllm_omni" and status == 401:
        return {"error": "Unauthorized"}
    if dialect == "kokoro":
        return {"detail": {"error": code or "error", "message": message, "type": "invalid_request_error"}}
    if dialect in {"sglang", "speaches", "xinference"}:
        return {"detail": [{"loc": ["body"], "msg": message, "type": code}] if status == 422 else message}
    if dialect == "localai":
        return {"error": {"code": status, "message": message, "type": ""}}
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code or None}}
