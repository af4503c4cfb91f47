"""What the settings may say of one model of an engine, and what of it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pixvox.languages import LANGUAGE_NAMES
from pixvox.providers.openai.dialects import Sound, Verb
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from pixvox.providers.openai.dialects import Dialect, Name

Checkpoint = Literal["custom_voice", "voice_design", "base"]

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
        sound: How speech comes: as ``events`` or bare ``samples`` while it is made, or ``whole``; unset means the dialect's
            first.
        checkpoint: Which of the three kinds of Qwen3-TTS it is; unset is none of them. A ``base`` speaks with voices that are
            made for it, by the recording of each.
        design_url: For a ``base``, the address of an engine with a ``voice_design`` checkpoint, which designs its voices.
        design_name: By which that engine names it; empty means the name that its publisher gave it.
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
    sound: Sound | None = None
    checkpoint: Checkpoint | None = None
    design_url: str = ""
    design_name: str = ""
    options: dict[str, Any] = {}

    @property
    def served(self) -> str:
        """By what name the engine knows it."""
        return self.name or self.id

    @property
    def designs(self) -> bool:
        """Whether voices can be designed for it."""
        return bool(self.design_url or self.design_name)

    def sound_of(self, dialect: Dialect) -> Sound:
        """Return how its speech comes, which a dialect with such models says if the table does not."""
        return self.sound or dialect.sounds[0][0]


def size_of(text: str) -> tuple[int, int] | None:
    """Return (width, height) of a text such as ``1024x1536``, None if it is no such text."""
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdecimal() and height.isascii() and height.isdecimal()):
        return None
    size = int(width), int(height)
    return size if size[0] in SIDES and size[1] in SIDES else None


def problem_of(table: ModelTable, dialect: Dialect, name: Name) -> str:
    """Return what of a table cannot be, in words that go on after its id; empty if all can.

    Args:
        table: With verbs and an id.
        dialect: Of its engine.
        name: Of the dialect.
    """
    return _verbs(table, dialect, name) or _pictures(table, dialect, name) or _speech(table, dialect, name)


def _verbs(table: ModelTable, dialect: Dialect, name: Name) -> str:
    if lacking := sorted(set(table.verbs) - dialect.verbs):
        return f"has {lacking[0]}, for which {name} has no route"
    least = min(table.max_n, table.max_images, table.max_prompt_characters, table.max_text_characters)
    return "" if least >= 1 else "has a limit below 1"


def _pictures(table: ModelTable, dialect: Dialect, name: Name) -> str:
    for size in (*table.sizes, *([table.default_size] if table.default_size else [])):
        if size_of(size) is None:
            return f"has the size {size!r}; write sizes as 1024x1024"
    if table.takes_mask and not dialect.mask_part:
        return f"takes a mask, and {name} does not"
    if table.takes_seed and not dialect.takes_seed:
        return f"takes a seed, and {name} does not"
    if table.max_negative_prompt_characters and dialect.negative == "none":
        return f"takes a negative prompt, and {name} does not"
    if dialect.wraps and "edit_image" in table.verbs and table.options:
        return f"has options, which {name} takes for no edits"
    if not table.formats or set(table.formats) - FORMATS.keys():
        return f"has formats; allowed: {', '.join(FORMATS)}"
    return ""


def _speech(table: ModelTable, dialect: Dialect, name: Name) -> str:
    ways = [way for way, _ in dialect.sounds]
    if table.sound and table.sound not in ways:
        return f"sounds as {table.sound}; allowed for {name}: {', '.join(ways) or 'nothing'}"
    if table.takes_instructions and not dialect.takes_instructions:
        return f"takes instructions, and {name} does not"
    if table.sample_rate not in RATES:
        return f"has the sample rate {table.sample_rate}; allowed: {RATES.start}..{RATES.stop - 1}"
    if dialect.language == "name" and (
        odd := sorted({one.split("-")[0] for one in table.languages} - set(LANGUAGE_NAMES))
    ):
        return f"speaks {odd[0]!r}, which {name} has no name for"
    return _checkpoint(table, dialect, name)


def _checkpoint(table: ModelTable, dialect: Dialect, name: Name) -> str:
    if table.checkpoint and dialect.reference == "none":
        return f"has a checkpoint, which {name} does not serve"
    if table.checkpoint and "stream_speech" not in table.verbs:
        return "has a checkpoint, and does not speak"
    if table.checkpoint == "base" and table.voices:
        return "has voices; a base checkpoint has those alone that are made for it"
    if table.designs and table.checkpoint != "base":
        return "has designs; its checkpoint has to be base for that"
    if table.design_name and not table.design_url and not dialect.wraps:
        return f"has design_name without design_url; an engine of {name} serves one checkpoint"
    return ""


FORMATS = {
    "png": media_pb2.IMAGE_FORMAT_PNG,
    "jpeg": media_pb2.IMAGE_FORMAT_JPEG,
    "webp": media_pb2.IMAGE_FORMAT_WEBP,
}
