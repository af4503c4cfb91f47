"""What engines serve: the tables that an operator writes, and those that are known without one.

Source: OpenAI's specification of 2026-08; vLLM-Omni's and SGLang's lists of models; Kokoro-FastAPI's list of voices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pixvox.providers.openai.dialects import DIALECTS, Verb
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.providers.openai.dialects import Dialect, Name

# The languages of Qwen3-TTS, as vLLM-Omni names them.
LANGUAGE_NAMES = {
    "zh": "Chinese",
    "en": "English",
    "de": "German",
    "it": "Italian",
    "pt": "Portuguese",
    "es": "Spanish",
    "ja": "Japanese",
    "ko": "Korean",
    "fr": "French",
    "ru": "Russian",
}
SIDES = range(1, 16_385)
RATES = range(8_000, 96_001)


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model as the settings describe it. What is left out is that of the built-in table, if it has the id.

    Attributes:
        id: By which callers name it.
        name: By which the engine names it; empty means the same.
        verbs: ``generate_image``, ``edit_image``, ``stream_speech``. Empty means those of the built-in table.
        description: For a person.
        sizes: That pictures can have, such as ``1024x1024``; empty lets `min_side` and `max_side` decide.
        default_size: Where a request names none; empty leaves it to the engine.
        min_side: Of pictures, in pixels; 0 is no limit.
        max_side: Likewise.
        multiple_of: To which the engine rounds the sides.
        max_n: Pictures of one call.
        max_images: Input pictures of one call.
        takes_mask: Whether an edit may have a mask.
        formats: ``png``, ``jpeg``, ``webp``, of which the first is the engine's default.
        max_prompt_characters: Of pictures.
        max_negative_prompt_characters: Likewise; 0 takes none.
        takes_seed: Whether pictures take one; unset means whether the dialect has one.
        voices: The first is the default. Empty lets a call bring any, or none where the engine needs none.
        languages: BCP-47 tags. Empty means those of Qwen3-TTS.
        sample_rate: Of speech, in samples per second.
        max_text_characters: Of one call.
        takes_instructions: Whether words may say how to speak.
        streams: Whether speech comes as events while it is made; unset means whether the dialect can.
        options: Members that every request has beside those of the service, such as ``{num_inference_steps = 30}``.
    """

    id: str
    name: str = ""
    verbs: tuple[Verb, ...] = ()
    description: str = ""
    sizes: tuple[str, ...] = ()
    default_size: str = ""
    min_side: int = 0
    max_side: int = 0
    multiple_of: int = 0
    max_n: int = 1
    max_images: int = 1
    takes_mask: bool = False
    formats: tuple[str, ...] = ("png",)
    max_prompt_characters: int = 4000
    max_negative_prompt_characters: int = 0
    takes_seed: bool | None = None
    voices: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    sample_rate: int = 24_000
    max_text_characters: int = 4096
    takes_instructions: bool = False
    streams: bool | None = None
    options: dict[str, Any] = {}

    @property
    def served(self) -> str:
        """By what name the engine knows it."""
        return self.name or self.id


def completed(dialect: Name, tables: Iterable[ModelTable]) -> tuple[ModelTable, ...]:
    """Return an operator's tables with what they leave out, or the dialect's own if there are none.

    Raises:
        ValueError: A table cannot be; the text names it.
    """
    known = {table.id: table for table in _KNOWN[dialect]}
    found = tuple(_completed(table, known) for table in tables) or _SERVED[dialect]
    ids = [table.id for table in found]
    for table in found:
        problem = _problem(table, DIALECTS[dialect], dialect)
        if problem or ids.count(table.id) > 1:
            message = f"models: {table.id or 'a model'} {problem or 'stands there twice'}"
            raise ValueError(message)
    return found


def size_of(text: str) -> tuple[int, int] | None:
    """Return (width, height) of a text such as ``1024x1536``, None if it is no such text."""
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdecimal() and height.isascii() and height.isdecimal()):
        return None
    size = int(width), int(height)
    return size if size[0] in SIDES and size[1] in SIDES else None


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


def _problem(table: ModelTable, dialect: Dialect, name: Name) -> str:
    if not table.id or not table.verbs:
        return (
            f"needs verbs; without them, an id has to be one of {', '.join(one.id for one in _KNOWN[name]) or 'none'}"
        )
    if lacking := sorted(set(table.verbs) - dialect.verbs):
        return f"has {lacking[0]}, for which {name} has no route"
    for size in (*table.sizes, *([table.default_size] if table.default_size else [])):
        if size_of(size) is None:
            return f"has the size {size!r}; write sizes as 1024x1024"
    if table.streams and not dialect.streaming:
        return f"streams, which {name} does not as events"
    if table.takes_mask and not dialect.mask_part:
        return f"takes a mask, and {name} does not"
    if table.takes_seed and not dialect.takes_seed:
        return f"takes a seed, and {name} does not"
    return _wrong_value(table, dialect, name)


def _wrong_value(table: ModelTable, dialect: Dialect, name: Name) -> str:
    if table.takes_instructions and not dialect.takes_instructions:
        return f"takes instructions, and {name} does not"
    if table.max_negative_prompt_characters and dialect.negative == "none":
        return f"takes a negative prompt, and {name} does not"
    if not table.formats or set(table.formats) - FORMATS.keys():
        return f"has formats; allowed: {', '.join(FORMATS)}"
    if table.sample_rate not in RATES:
        return f"has the sample rate {table.sample_rate}; allowed: {RATES.start}..{RATES.stop - 1}"
    if dialect.language == "name" and (
        odd := sorted({one.split("-")[0] for one in table.languages} - set(LANGUAGE_NAMES))
    ):
        return f"speaks {odd[0]!r}, which {name} has no name for"
    least = min(table.max_n, table.max_images, table.max_prompt_characters, table.max_text_characters)
    return "" if least >= 1 else "has a limit below 1"


FORMATS = {
    "png": media_pb2.IMAGE_FORMAT_PNG,
    "jpeg": media_pb2.IMAGE_FORMAT_JPEG,
    "webp": media_pb2.IMAGE_FORMAT_WEBP,
}

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
        streams=False,
    ),
)
_VLLM = (
    *_qwen(_ALL_FORMATS),
    ModelTable(
        id="qwen3-tts",
        name="Qwen/Qwen3-TTS-12Hz-1.7B-CustomVoice",
        description="Speaks a whole text, as instructions say.",
        verbs=("stream_speech",),
        voices=_QWEN_VOICES,
        max_text_characters=2000,
        takes_instructions=True,
        options={"task_type": "CustomVoice"},
    ),
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
    "speaches": (_SPEACHES,),
    "kokoro": (_KOKORO,),
}
# A server of vLLM-Omni or SGLang has one model, of which nobody can know which.
_SERVED = _KNOWN | {"vllm_omni": _VLLM[:1], "sglang": _qwen(("png",))[:1]}
