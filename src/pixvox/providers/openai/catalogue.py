"""The models that are known of each dialect without an operator's table, and what completes such a table.

Source: OpenAI's specification of 2026-08; vLLM-Omni's, SGLang's and Xinference's lists of models; Kokoro-FastAPI's list of
voices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pixvox.providers.openai.dialects import DIALECTS, Verb
from pixvox.providers.openai.model_table import ModelTable, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.providers.openai.dialects import Name


def completed(dialect: Name, tables: Iterable[ModelTable]) -> tuple[ModelTable, ...]:
    """Return an operator's tables with what they leave out, or the dialect's own if there are none.

    Raises:
        ValueError: A table cannot be; the text names it.
    """
    known = {table.id: table for table in _KNOWN[dialect]}
    found = tuple(_completed(table, known) for table in tables) or _SERVED[dialect]
    ids = [table.id for table in found]
    for table in found:
        problem = _unknown(table, known) or problem_of(table, DIALECTS[dialect], dialect)
        if problem or ids.count(table.id) > 1:
            message = f"models: {table.id or 'a model'} {problem or 'stands there twice'}"
            raise ValueError(message)
    return tuple(_with_designer(table, dialect) for table in found)


def _completed(table: ModelTable, known: dict[str, ModelTable]) -> ModelTable:
    like = known.get(table.id)
    if like is None:
        return table
    left_out = [
        field.name for field in msgspec.structs.fields(ModelTable) if getattr(table, field.name) == field.default
    ]
    if not table.options:
        left_out.append("options")
    return msgspec.structs.replace(table, **{name: getattr(like, name) for name in left_out})


def _unknown(table: ModelTable, known: Iterable[str]) -> str:
    if table.id and table.verbs:
        return ""
    return f"needs verbs; without them, an id has to be one of {', '.join(known) or 'none'}"


def _with_designer(table: ModelTable, dialect: Name) -> ModelTable:
    if not table.design_url or table.design_name:
        return table
    return msgspec.structs.replace(table, design_name=_DESIGNERS[dialect])


_ALL_FORMATS = ("png", "jpeg", "webp")
_GPT_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse")
_TTS_VOICES = ("alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer")
_KOKORO_VOICES = ("af_heart", "af_bella", "af_nicole", "af_sarah", "am_adam", "am_michael", "bf_emma", "bm_george")
_QWEN_VOICES = ("vivian", "serena", "uncle_fu", "dylan", "eric", "ryan", "aiden", "ono_anna", "sohee")
_WHISPER_LANGUAGES = ("en", "zh", "de", "fr", "es", "it", "pt", "ja", "ko", "ru", "nl", "pl", "tr", "sv", "ar", "hi")


def _gpt_image(identifier: str, description: str) -> ModelTable:
    return ModelTable(
        id=identifier,
        description=description,
        verbs=("generate_image", "edit_image"),
        sizes=("1024x1024", "1536x1024", "1024x1536"),
        max_n=10,
        max_images=16,
        takes_mask=True,
        formats=_ALL_FORMATS,
        max_prompt_characters=32_000,
    )


def _qwen_image(
    identifier: str, name: str, verb: Verb, images: int = 1, formats: tuple[str, ...] = ("png",)
) -> ModelTable:
    return ModelTable(
        id=identifier,
        name=name,
        description="Makes pictures." if verb == "generate_image" else "Edits pictures.",
        verbs=(verb,),
        min_side=64,
        max_side=2048,
        multiple_of=16,
        max_n=4,
        max_images=images,
        formats=formats,
        max_negative_prompt_characters=2000,
    )


def _qwen(formats: tuple[str, ...]) -> tuple[ModelTable, ...]:
    return (
        _qwen_image("qwen-image", "Qwen/Qwen-Image", "generate_image", formats=formats),
        _qwen_image("qwen-image-2512", "Qwen/Qwen-Image-2512", "generate_image", formats=formats),
        _qwen_image("qwen-image-edit", "Qwen/Qwen-Image-Edit", "edit_image", formats=formats),
        _qwen_image("qwen-image-edit-2511", "Qwen/Qwen-Image-Edit-2511", "edit_image", 3, formats=formats),
    )


def _qwen_speech(family: str) -> tuple[ModelTable, ...]:
    speaking = ModelTable(
        id="qwen3-tts",
        name=f"{family}-CustomVoice",
        description="Speaks a whole text, as instructions say.",
        verbs=("stream_speech",),
        voices=_QWEN_VOICES,
        max_text_characters=2000,
        takes_instructions=True,
        checkpoint="custom_voice",
    )
    design = "Speaks a whole text in the voice that the instructions of a call describe, which it has to have."
    return (
        speaking,
        msgspec.structs.replace(
            speaking,
            id="qwen3-tts-voice-design",
            name=f"{family}-VoiceDesign",
            description=design,
            voices=(),
            checkpoint="voice_design",
        ),
        msgspec.structs.replace(
            speaking,
            id="qwen3-tts-base",
            name=f"{family}-Base",
            description="Speaks a whole text in a voice that was made for it.",
            voices=(),
            takes_instructions=False,
            checkpoint="base",
        ),
    )


_OPENAI = (
    _gpt_image("gpt-image-1", "Makes and edits pictures."),
    ModelTable(
        id="gpt-4o-mini-tts",
        description="Speaks a whole text, as instructions say.",
        verbs=("stream_speech",),
        voices=_GPT_VOICES,
        languages=_WHISPER_LANGUAGES,
        takes_instructions=True,
    ),
    # It has no events.
    ModelTable(
        id="tts-1",
        description="Speaks a whole text.",
        verbs=("stream_speech",),
        voices=_TTS_VOICES,
        languages=_WHISPER_LANGUAGES,
        sound="samples",
    ),
)
_VLLM = (*_qwen(_ALL_FORMATS), *_qwen_speech("Qwen/Qwen3-TTS-12Hz-1.7B"))
_XINFERENCE = (
    msgspec.structs.replace(_qwen(("png",))[0], name="Qwen-Image"),
    msgspec.structs.replace(_qwen(("png",))[2], name="Qwen-Image-Edit", max_negative_prompt_characters=0),
    *_qwen_speech("Qwen3-TTS-12Hz-1.7B"),
)
_KOKORO = ModelTable(
    id="kokoro",
    description="A small and quick model that speaks a whole text.",
    verbs=("stream_speech",),
    voices=_KOKORO_VOICES,
    languages=("en",),
)
_LOCALAI = (
    ModelTable(
        id="stablediffusion",
        description="Makes pictures.",
        verbs=("generate_image",),
        default_size="512x512",
        min_side=64,
        max_side=2048,
        multiple_of=8,
        max_negative_prompt_characters=2000,
    ),
    ModelTable(
        id="tts-1",
        description="Speaks a whole text.",
        verbs=("stream_speech",),
        languages=("en",),
        sample_rate=22_050,
    ),
)
_SPEACHES = msgspec.structs.replace(_KOKORO, name="speaches-ai/Kokoro-82M-v1.0-ONNX")

_KNOWN: dict[Name, tuple[ModelTable, ...]] = {
    "openai": _OPENAI,
    "vllm_omni": _VLLM,
    "sglang": _qwen(("png",)),
    "localai": _LOCALAI,
    "xinference": _XINFERENCE,
    "speaches": (_SPEACHES,),
    "kokoro": (_KOKORO,),
}
# A server of vLLM-Omni or SGLang has one model, and one of Xinference what was launched; of which nobody can know which.
_SERVED = _KNOWN | {"vllm_omni": _VLLM[:1], "sglang": _qwen(("png",))[:1], "xinference": _XINFERENCE[:1]}
# By the names that their publisher gave them.
_DESIGNERS: dict[Name, str] = {
    "vllm_omni": "Qwen/Qwen3-TTS-12Hz-1.7B-VoiceDesign",
    "xinference": "Qwen3-TTS-12Hz-1.7B-VoiceDesign",
}
