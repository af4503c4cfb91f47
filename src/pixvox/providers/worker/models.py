"""What workers serve: the tables that an operator writes, and those that are known without one.

Source: the cards of Qwen-Image, Qwen-Image-Edit and Qwen3-TTS, and `docs/worker.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from pixvox.languages import LANGUAGE_CODES, LANGUAGE_NAMES, primary_code
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

Task = Literal["text-to-image", "image-editing", "custom-voice", "voice-clone"]
Quality = Literal["", "low", "medium", "high"]

SIDES = range(1, 16_385)
# The worker's own: Qwen3-TTS makes samples of 24 kHz, and can halve their number twice in the telephone's way.
RATES = (24_000, 8_000)
FORMATS = {
    "png": media_pb2.IMAGE_FORMAT_PNG,
    "jpeg": media_pb2.IMAGE_FORMAT_JPEG,
    "webp": media_pb2.IMAGE_FORMAT_WEBP,
}


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model as the settings describe it. What is left out is that of the built-in table, if it has the id.

    Attributes:
        urls: Of the workers that serve it. Empty means those of the provider.
        name: By which the workers know it; empty means by its id.
        tasks: ``text-to-image``, ``image-editing``, ``custom-voice``, ``voice-clone``, as the workers' ``/models`` says.
        description: For a person.
        aliases: Other names that requests may use.
        max_pixels: Of one picture that is made: the workers' ``MAX_PIXELS``.
        default_size: Of pictures from text where a request names none, such as ``1328x1328``; empty leaves it to the workers.
        max_n: Pictures of one call.
        max_images: Input pictures of one call.
        formats: ``png``, ``jpeg``, ``webp``; the first is the default.
        max_prompt_characters: Of pictures.
        max_negative_prompt_characters: Likewise; 0 takes none.
        steps: Of pictures, where a caller says nothing; 0 leaves it to `quality`.
        quality: ``low``, ``medium`` or ``high``: how many steps that is, the workers' ``QUALITY_..._STEPS`` say. Empty means
            their default.
        voices: Of a model with built-in ones; the first is the default.
        languages: BCP-47 tags of what it speaks.
        sample_rate: Of speech: 24000 or 8000.
        max_text_characters: Of one call.
        takes_instructions: Whether words may say how to speak.
        design_name: By which its workers know the model that invents voices from descriptions for this one. Empty means that
            there is none.
        design_urls: Of the workers that serve that one. Empty means those of the provider.
    """

    urls: tuple[str, ...] = ()
    name: str = ""
    tasks: tuple[Task, ...] = ()
    description: str = ""
    aliases: tuple[str, ...] = ()
    max_pixels: int = 4_194_304
    default_size: str = ""
    max_n: int = 4
    max_images: int = 1
    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    max_prompt_characters: int = 4000
    max_negative_prompt_characters: int = 2000
    steps: int = 0
    quality: Quality = ""
    voices: tuple[str, ...] = ()
    languages: tuple[str, ...] = LANGUAGE_CODES
    sample_rate: int = 24_000
    max_text_characters: int = 2000
    takes_instructions: bool = False
    design_name: str = ""
    design_urls: tuple[str, ...] = ()

    @property
    def draws(self) -> bool:
        """Whether it makes or edits pictures."""
        return bool({"text-to-image", "image-editing"}.intersection(self.tasks))

    @property
    def speaks(self) -> bool:
        """Whether it speaks."""
        return bool({"custom-voice", "voice-clone"}.intersection(self.tasks))


def completed(tables: Mapping[str, ModelTable]) -> dict[str, ModelTable]:
    """Return an operator's tables with what they leave out; the worker's default model if there are none.

    Raises:
        ValueError: A table cannot be; the text names it.
    """
    found = {name: _completed(name, table) for name, table in (tables or {DEFAULT: ModelTable()}).items()}
    for name, table in found.items():
        if problem := _problem(table):
            message = f"models.{name}: {problem}"
            raise ValueError(message)
    names = [name for key, table in found.items() for name in (key, *table.aliases)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"models: the name {twice[0]} is there twice"
        raise ValueError(message)
    return found


def size_of(text: str) -> tuple[int, int] | None:
    """Return (width, height) of a text such as ``1024x1536``, None if it is no such text."""
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdecimal() and height.isascii() and height.isdecimal()):
        return None
    size = int(width), int(height)
    return size if size[0] in SIDES and size[1] in SIDES else None


def _completed(name: str, table: ModelTable) -> ModelTable:
    like = BUILT_IN.get(name)
    if like is None:
        return table
    left_out = [
        field.name for field in msgspec.structs.fields(ModelTable) if getattr(table, field.name) == field.default
    ]
    return msgspec.structs.replace(table, **{field: getattr(like, field) for field in left_out})


def _problem(table: ModelTable) -> str:
    if not table.tasks:
        return f"needs tasks; without them, it has to be one of {', '.join(BUILT_IN)}"
    if table.draws and table.speaks:
        return "makes pictures and speaks, which no worker does"
    if len({"custom-voice", "voice-clone"}.intersection(table.tasks)) > 1:
        return "has voices of its own and speaks with others, which are two checkpoints"
    return _wrong_picture(table) if table.draws else _wrong_speech(table)


def _wrong_picture(table: ModelTable) -> str:
    size = size_of(table.default_size)
    if table.default_size and size is None:
        return f"default_size is {table.default_size!r}; write sizes as 1024x1024"
    if size is not None and size[0] * size[1] > table.max_pixels:
        return f"default_size has more than the {table.max_pixels} pixels of max_pixels"
    if not table.formats or set(table.formats) - FORMATS.keys():
        return f"formats has to hold some of {', '.join(FORMATS)}"
    least = min(table.max_pixels, table.max_n, table.max_images, table.max_prompt_characters)
    if least < 1 or min(table.steps, table.max_negative_prompt_characters) < 0:
        return "a limit is too small"
    return ""


def _wrong_speech(table: ModelTable) -> str:
    if table.sample_rate not in RATES:
        return f"sample_rate is {table.sample_rate}; allowed: {', '.join(map(str, RATES))}"
    if odd := sorted({primary_code(tag) for tag in table.languages} - LANGUAGE_NAMES.keys()):
        return f"languages has {odd[0]!r}; allowed: {', '.join(LANGUAGE_NAMES)}"
    if "custom-voice" in table.tasks and not table.voices:
        return "needs voices, which custom-voice has built in"
    if "voice-clone" in table.tasks and table.voices:
        return "has voices, and voice-clone speaks only with those that are made for it"
    if table.design_name and "voice-clone" not in table.tasks:
        return "has a design_name, and only voice-clone speaks with designed voices"
    if table.design_urls and not table.design_name:
        return "has design_urls without the design_name of the model there"
    return "" if table.max_text_characters >= 1 else "a limit is too small"


_WORDS: dict[Task, str] = {"text-to-image": "makes pictures", "image-editing": "edits pictures"}


def _draws(repository: str, *tasks: Task, images: int = 1, default_size: str = "") -> ModelTable:
    return ModelTable(
        tasks=tasks,
        description=" and ".join(_WORDS[task] for task in tasks).capitalize() + ".",
        aliases=(repository,),
        default_size=default_size,
        max_images=images,
    )


_OWN_VOICES = ("Vivian", "Serena", "Uncle_Fu", "Dylan", "Eric", "Ryan", "Aiden", "Ono_Anna", "Sohee")


def _speaks(size: str) -> ModelTable:
    return ModelTable(
        tasks=("custom-voice",),
        description="Speaks with built-in voices.",
        aliases=(f"Qwen/Qwen3-TTS-12Hz-{size}-CustomVoice",),
        voices=_OWN_VOICES,
        # The smaller one drops them.
        takes_instructions=size == "1.7B",
    )


def _clones(size: str) -> ModelTable:
    return ModelTable(
        tasks=("voice-clone",),
        description="Speaks with cloned and designed voices.",
        aliases=(f"Qwen/Qwen3-TTS-12Hz-{size}-Base",),
    )


# That of a worker whose environment names no model.
DEFAULT = "Qwen-Image-Edit"
BUILT_IN: Mapping[str, ModelTable] = {
    "Qwen-Image": _draws("Qwen/Qwen-Image", "text-to-image", default_size="1328x1328"),
    "Qwen-Image-2512": _draws("Qwen/Qwen-Image-2512", "text-to-image", default_size="1328x1328"),
    "Qwen-Image-Edit": _draws("Qwen/Qwen-Image-Edit", "image-editing"),
    "Qwen-Image-Edit-2509": _draws("Qwen/Qwen-Image-Edit-2509", "image-editing", images=3),
    "Qwen-Image-Edit-2511": _draws("Qwen/Qwen-Image-Edit-2511", "image-editing", images=3),
    "Qwen-Image-2.1": _draws(
        "Qwen/Qwen-Image-2.1", "text-to-image", "image-editing", images=10, default_size="1024x1024"
    ),
    "Qwen3-TTS-12Hz-1.7B-CustomVoice": _speaks("1.7B"),
    "Qwen3-TTS-12Hz-0.6B-CustomVoice": _speaks("0.6B"),
    "Qwen3-TTS-12Hz-1.7B-Base": _clones("1.7B"),
    "Qwen3-TTS-12Hz-0.6B-Base": _clones("0.6B"),
}
