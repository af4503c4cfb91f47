"""What the emulated dialects refuse: what their counterparts would refuse, and what they would take and forget."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from PIL import Image

from pixvox.testing.openai.performing import kwargs_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.testing.openai.quirks import Dialect
    from pixvox.testing.openai.record import Record

LANGUAGES = (
    "Chinese",
    "English",
    "German",
    "Italian",
    "Portuguese",
    "Spanish",
    "Japanese",
    "Korean",
    "French",
    "Russian",
)
SPEAKERS = ("vivian", "serena", "uncle_fu", "dylan", "eric", "ryan", "aiden", "ono_anna", "sohee")

_PICTURE_MEMBERS = frozenset(
    {
        *("model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation"),
        *("style", "user", "stream", "partial_images"),
    }
)
# OpenAI's schemas allow no others.
_OPENAI_MEMBERS = {
    "generate": _PICTURE_MEMBERS - {"response_format"},
    "edit": (_PICTURE_MEMBERS | {"input_fidelity"}) - {"response_format", "style", "moderation"},
    "speech": frozenset({"model", "input", "voice", "instructions", "response_format", "speed", "stream_format"}),
}
_SIZE = re.compile(r"\d+x\d+")
_OPENAI_SIZES = {"auto", "1024x1024", "1536x1024", "1024x1536"}


class RefusedError(Exception):
    """The engine refuses a request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def check(record: Record, dialect: Dialect, checkpoint: str) -> None:
    """Refuse a request for pictures or speech that the dialect would refuse, beside those for another model.

    Args:
        record: Of the request.
        dialect: Of the engine.
        checkpoint: ``CustomVoice``, ``VoiceDesign`` or ``Base``: which of the three kinds of Qwen3-TTS it serves, if any.

    Raises:
        RefusedError: It does.
    """
    needed = "input" if record.operation == "speech" else "prompt"
    if not record.body.get(needed):
        raise RefusedError(400, "missing_required_parameter", f"Missing required parameter: '{needed}'.")
    checks = {"openai": _openai, "vllm_omni": _vllm, "sglang": _sglang, "xinference": _xinference, "kokoro": _kokoro}
    if dialect in checks:
        for problem in checks[dialect](record, checkpoint):
            raise problem


def _openai(record: Record, _checkpoint: str) -> Iterator[RefusedError]:
    body = record.body
    if unknown := sorted(body.keys() - _OPENAI_MEMBERS[record.operation]):
        yield RefusedError(400, "unknown_parameter", f"Unknown parameter: '{unknown[0]}'.")
    if record.operation == "speech":
        if body.get("model") == "tts-1" and ("instructions" in body or body.get("stream_format") == "sse"):
            yield RefusedError(400, "unsupported_parameter", "tts-1 takes neither instructions nor stream_format sse.")
        if not body.get("voice") or len(str(body["input"])) > 4096:
            yield RefusedError(400, "invalid_value", "A voice is needed, and an input of at most 4096 characters.")
        return
    if body.get("size", "auto") not in _OPENAI_SIZES or not 1 <= number_of(body, "n", 1) <= 10:
        yield RefusedError(400, "invalid_value", "Invalid value: 'size' or 'n'.")
    if record.operation == "edit":
        yield from _images(record, {"image", "image[]"}, 16, RefusedError(400, "missing", "image is missing"))
        for file in record.files:
            if file.part == "mask" and Image.open(io.BytesIO(file.data)).mode != "RGBA":
                yield RefusedError(400, "invalid_image_format", "The mask has no alpha channel.")


def _vllm(record: Record, checkpoint: str) -> Iterator[RefusedError]:
    body = record.body
    if record.operation == "speech":
        yield from _vllm_speech(body, checkpoint)
        return
    forms = {"b64_json", "file"} if record.operation == "generate" else {"b64_json"}
    if body.get("response_format", "b64_json") not in forms:
        yield RefusedError(400, "", f"Unsupported response_format. Supported: {sorted(forms)}")
    size = str(body.get("size", "1x1"))
    if not 1 <= number_of(body, "n", 1) <= 10 or not (_SIZE.fullmatch(size) or size == "auto"):
        yield RefusedError(400, "", "Invalid 'n' or 'size'.")
    if record.operation == "edit":
        yield from _images(record, {"image", "image[]"}, 4, RefusedError(422, "missing", "Field 'image' is required"))
        if str(body.get("stream", "false")).lower() == "true":
            yield RefusedError(400, "", "Streaming is supported for multi-stage models only.")


def _vllm_speech(body: dict[str, object], checkpoint: str) -> Iterator[RefusedError]:
    wanted = str(body.get("response_format", "wav"))
    if body.get("stream") and (wanted not in {"pcm", "wav"} or number_of(body, "speed", 1.0) != 1.0):
        yield RefusedError(400, "", "Streaming takes pcm or wav, and no speed.")
    if str(body.get("language", "Auto")).title() not in {"Auto", *LANGUAGES}:
        yield RefusedError(400, "", f"Invalid language. Supported: Auto, {', '.join(LANGUAGES)}")
    task = body.get("task_type") or ("Base" if {"ref_audio", "ref_text"} & body.keys() else checkpoint)
    if task != checkpoint:
        yield RefusedError(400, "", f"task_type {task} does not match the loaded checkpoint {checkpoint}.")
    reference = str(body.get("ref_audio", ""))
    if reference and not reference.startswith(("data:", "http://", "https://", "file://")):
        yield RefusedError(400, "", "ref_audio has to be a URL.")
    if checkpoint != "Base" and {"ref_text", "x_vector_only_mode"} & body.keys():
        yield RefusedError(400, "", "ref_text and x_vector_only_mode are for Base.")
    if checkpoint == "Base" and not (reference and (body.get("ref_text") or body.get("x_vector_only_mode"))):
        yield RefusedError(400, "", "Base needs ref_audio with ref_text or x_vector_only_mode.")
    if checkpoint == "VoiceDesign" and not body.get("instructions"):
        yield RefusedError(400, "", "VoiceDesign needs instructions.")
    if checkpoint == "CustomVoice" and str(body.get("voice", SPEAKERS[0])).lower() not in SPEAKERS:
        yield RefusedError(400, "", f"Invalid speaker. Supported: {', '.join(SPEAKERS)}")


def _sglang(record: Record, _checkpoint: str) -> Iterator[RefusedError]:
    if not _SIZE.fullmatch(str(record.body.get("size", "1x1"))):
        yield RefusedError(422, "value_error", "size has to be WIDTHxHEIGHT")
    if record.operation == "edit":
        yield from _images(record, {"image", "image[]"}, 16, RefusedError(422, "missing", "Field required"))


def _xinference(record: Record, checkpoint: str) -> Iterator[RefusedError]:
    body = record.body
    if record.operation == "speech":
        yield from _xinference_speech(record, checkpoint)
        return
    if record.operation == "generate" and set(body) - {
        "model",
        "prompt",
        "n",
        "size",
        "response_format",
        "kwargs",
        "user",
    }:
        # It would take them and forget them.
        yield RefusedError(422, "extra", "The emulator refuses what would be forgotten.")
    if record.operation == "edit":
        if set(body) - {"model", "prompt", "n", "size", "response_format", "stream"}:
            yield RefusedError(422, "extra", "The emulator refuses what would be forgotten.")
        problem = RefusedError(400, "", "At least one image file is required")
        yield from _images(record, {"image", "image[]", "images", "images[]"}, 16, problem)
    if body.get("response_format", "url") not in {"url", "b64_json"}:
        yield RefusedError(400, "", "response_format must be 'url' or 'b64_json'")
    if kwargs_of(record) is None:
        yield RefusedError(500, "", "Expecting value: line 1 column 1 (char 0)")


def _xinference_speech(record: Record, checkpoint: str) -> Iterator[RefusedError]:
    body, kwargs = record.body, kwargs_of(record)
    if "voice" not in body:
        yield RefusedError(422, "missing", "Field required")
    if set(body) - {"model", "input", "voice", "response_format", "speed", "stream", "kwargs"}:
        yield RefusedError(422, "extra", "The emulator refuses what would be forgotten.")
    if body.get("stream"):
        yield RefusedError(500, "", "qwen-tts does not support stream generation.")
    if kwargs is None or kwargs.get("language", "chinese") not in {"auto", *map(str.lower, LANGUAGES)}:
        yield RefusedError(500, "", "Language is not supported.")
    recorded = [file for file in record.files if file.part == "prompt_speech"]
    if recorded and not (kwargs or {}).get("prompt_text"):
        yield RefusedError(500, "", "prompt_text is required when prompt_speech is provided.")
    if not recorded and checkpoint == "Base":
        yield RefusedError(500, "", "Base does not support generate_voice_design and generate_custom_voice.")
    if checkpoint == "CustomVoice" and body["voice"] and body["voice"] not in SPEAKERS:
        yield RefusedError(500, "", f"voice '{body['voice']}' is not supported. Supported speakers are: {SPEAKERS}")


def _kokoro(record: Record, _checkpoint: str) -> Iterator[RefusedError]:
    if not re.fullmatch(r"[abefhijpz][fm]_[a-z]+", str(record.body.get("voice", "af_heart"))):
        yield RefusedError(400, "validation_error", "Voice 'x' not found. Available voices: af_heart")


def _images(record: Record, parts: set[str], most: int, none: RefusedError) -> Iterator[RefusedError]:
    count = sum(file.part in parts for file in record.files)
    if not count:
        yield none
    if count > most:
        yield RefusedError(400, "", "Too many images for the model.")
