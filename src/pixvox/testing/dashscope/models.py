"""The models that the emulator knows, and what each of them takes.

Source: dashscope reference 2.1, 2.3, 3, 4a, 4b and 5. A model that is not here is answered like one that the vendor does
not have. Where the reference is silent, the narrower rule is taken, so that a client which satisfies the emulator is on the
safe side; those places are marked [guess].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sizes:
    """Which sizes a model takes, in pixels; rules that are None do not apply.

    Attributes:
        listed: The only ones.
        area: Least and largest width × height.
        side: Least and largest length of each side.
        aspect: Least and largest width / height.
        multiple: To which each side is rounded.
    """

    listed: tuple[tuple[int, int], ...] | None = None
    area: tuple[int, int] | None = None
    side: tuple[int, int] | None = None
    aspect: tuple[float, float] | None = None
    multiple: int = 1

    def problem(self, width: int, height: int) -> str | None:
        """Return what is wrong with a size, or None."""
        if self.listed is not None and (width, height) not in self.listed:
            return f"must be one of {', '.join(f'{w}*{h}' for w, h in self.listed)}"
        if self.area is not None and not self.area[0] <= width * height <= self.area[1]:
            return f"must have from {self.area[0]} to {self.area[1]} pixels"
        if self.side is not None and not all(self.side[0] <= length <= self.side[1] for length in (width, height)):
            return f"must have sides from {self.side[0]} to {self.side[1]}"
        if self.aspect is not None and not (height and self.aspect[0] <= width / height <= self.aspect[1]):
            return f"must have an aspect from {self.aspect[0]} to {self.aspect[1]}"
        return None

    def rounded(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that is really made."""
        return _multiple(width, self.multiple), _multiple(height, self.multiple)


@dataclass(frozen=True, slots=True)
class ImageModel:
    """What an image model does and takes.

    Attributes:
        generates: Whether it makes pictures without an input picture.
        inputs: Least and most input pictures when it edits; None: it doesn't.
        sync: Whether it answers at once.
        task: The service that makes tasks of it, or None.
        counts: Least and most pictures.
        default_count: When ``n`` is not given.
        sizes: None: ``size`` may not be given.
        default_size: None: made from the last input picture.
        keeps_pixels: Without ``size`` an edit has the pixels of the last input picture, not just its aspect.
        extends: Whether ``prompt_extend`` may be given.
        prompt_characters: Longer prompts are cut off silently.
        task_metric: Whether the answer has it.
        typed_parts: Whether parts of the answer have a ``type`` (wan2.6).
    """

    generates: bool = True
    inputs: tuple[int, int] | None = None
    sync: bool = True
    task: Literal["text2image", "image-generation"] | None = None
    counts: tuple[int, int] = (1, 1)
    default_count: int = 1
    sizes: Sizes | None = None
    default_size: tuple[int, int] | None = None
    keeps_pixels: bool = False
    extends: bool = True
    prompt_characters: int = 800
    task_metric: bool = False
    typed_parts: bool = False


@dataclass(frozen=True, slots=True)
class SpeechModel:
    """What a speech model does and takes.

    Attributes:
        voices: ``system`` voices, cloned ones (``vc``) or designed ones (``vd``).
        realtime: Whether it is reached by WebSocket; else by HTTP.
        legacy: The qwen-tts generation: billed by tokens, fewer voices and settings.
    """

    voices: Literal["system", "vc", "vd"] = "system"
    realtime: bool = False
    legacy: bool = False


def image_model(name: str) -> ImageModel | None:
    """Return an image model, or None if there is none of that name."""
    known = _IMAGE_MODELS.get(name)
    if known is None and name.startswith(("wanx2.1-t2i-", "wanx2.0-t2i-")):
        return _WAN_OLD
    return known


def speech_model(name: str) -> SpeechModel | None:
    """Return a speech model, or None if there is none of that name."""
    return _SPEECH_MODELS.get(name)


def targets(kind: Literal["vc", "vd"]) -> tuple[str, ...]:
    """Return the models for which voices can be cloned (``vc``) or designed (``vd``)."""
    return tuple(name for name, model in _SPEECH_MODELS.items() if model.voices == kind)


def _multiple(length: int, multiple: int) -> int:
    # The vendor's example makes 1040*1024 of 1033*1032, so halves go down there; `round` takes the even one.
    return round(length / multiple) * multiple


_LISTED = Sizes(listed=((1664, 928), (1472, 1104), (1328, 1328), (1104, 1472), (928, 1664)))
_FREE = Sizes(area=(512 * 512, 2048 * 2048))
_WAN_AREA = Sizes(area=(1280 * 1280, 1440 * 1440), aspect=(1 / 4, 4))

_MAX = ImageModel(sizes=_LISTED, default_size=(1664, 928), task_metric=True)
_PLUS = replace(_MAX, task="text2image")
_TWO = ImageModel(
    inputs=(1, 3), counts=(1, 6), sizes=_FREE, default_size=(2048, 2048), keeps_pixels=True, prompt_characters=1300
)
# The default size is chosen from the prompt; a square stands for that. [guess]
_THREE = replace(_TWO, prompt_characters=4500)
_EDIT = ImageModel(generates=False, inputs=(1, 3), counts=(1, 6), sizes=Sizes(side=(512, 2048), multiple=16))
_EDIT_OLD = replace(_EDIT, counts=(1, 1), sizes=None, extends=False)
_WAN_T2I = ImageModel(
    task="image-generation",
    counts=(1, 4),
    default_count=4,
    sizes=_WAN_AREA,
    default_size=(1280, 1280),
    prompt_characters=2100,
    typed_parts=True,
)
_WAN_EDIT = replace(
    _WAN_T2I,
    generates=False,
    inputs=(1, 4),
    sizes=Sizes(area=(768 * 768, 1280 * 1280), aspect=(1 / 4, 4)),
    default_size=None,
)
_WAN_TASK = replace(_WAN_T2I, sync=False, task="text2image", typed_parts=False)
_WAN_OLD = replace(_WAN_TASK, sizes=Sizes(side=(512, 1440)), default_size=(1024, 1024), prompt_characters=800)
# Of these the reference has names and prices only: any size is taken. [guess]
_UNDESCRIBED = ImageModel(sizes=Sizes(), default_size=(1024, 1024))

_IMAGE_MODELS: dict[str, ImageModel] = {
    "qwen-image-max": _MAX,
    "qwen-image-max-2025-12-30": _MAX,
    "qwen-image-plus": _PLUS,
    "qwen-image-plus-2026-01-09": _MAX,
    "qwen-image": _PLUS,
    "qwen-image-2.0-pro": _TWO,
    "qwen-image-2.0-pro-2026-03-03": _TWO,
    "qwen-image-2.0-pro-2026-04-22": _TWO,
    "qwen-image-2.0-pro-2026-06-22": _TWO,
    "qwen-image-2.0": _TWO,
    "qwen-image-2.0-2026-03-03": _TWO,
    "qwen-image-3.0-pro": _THREE,
    "qwen-image-3.0": _THREE,
    "qwen-image-edit-max": _EDIT,
    "qwen-image-edit-max-2026-01-16": _EDIT,
    "qwen-image-edit-plus": _EDIT,
    "qwen-image-edit-plus-2025-10-30": _EDIT,
    "qwen-image-edit-plus-2025-12-15": _EDIT,
    "qwen-image-edit": _EDIT_OLD,
    "wan2.6-t2i": _WAN_T2I,
    "wan2.6-image": _WAN_EDIT,
    "wan2.5-t2i-preview": replace(_WAN_TASK, prompt_characters=2000),
    "wan2.2-t2i-plus": _WAN_OLD,
    "wan2.2-t2i-flash": _WAN_OLD,
    "wan2.7-image": _UNDESCRIBED,
    "wan2.7-image-pro": _UNDESCRIBED,
    "z-image-turbo": _UNDESCRIBED,
}

_HTTP = SpeechModel()
_REALTIME = SpeechModel(realtime=True)

_SPEECH_MODELS: dict[str, SpeechModel] = {
    "qwen3-tts-flash": _HTTP,
    "qwen3-tts-flash-2025-11-27": _HTTP,
    "qwen3-tts-flash-2025-09-18": _HTTP,
    "qwen3-tts-instruct-flash": _HTTP,
    "qwen3-tts-instruct-flash-2026-01-26": _HTTP,
    "qwen3-tts-vc-2026-01-22": SpeechModel("vc"),
    "qwen3-tts-vd-2026-01-26": SpeechModel("vd"),
    "qwen-tts": SpeechModel(legacy=True),
    "qwen-tts-latest": SpeechModel(legacy=True),
    "qwen-tts-2025-05-22": SpeechModel(legacy=True),
    "qwen-tts-2025-04-10": SpeechModel(legacy=True),
    "qwen3-tts-flash-realtime": _REALTIME,
    "qwen3-tts-flash-realtime-2025-11-27": _REALTIME,
    "qwen3-tts-flash-realtime-2025-09-18": _REALTIME,
    "qwen3-tts-instruct-flash-realtime": _REALTIME,
    "qwen3-tts-instruct-flash-realtime-2026-01-22": _REALTIME,
    "qwen3-tts-vc-realtime-2026-01-15": SpeechModel("vc", realtime=True),
    "qwen3-tts-vc-realtime-2025-11-27": SpeechModel("vc", realtime=True),
    "qwen3-tts-vd-realtime-2026-01-15": SpeechModel("vd", realtime=True),
    "qwen3-tts-vd-realtime-2025-12-16": SpeechModel("vd", realtime=True),
    "qwen-tts-realtime": SpeechModel(realtime=True, legacy=True),
    "qwen-tts-realtime-latest": SpeechModel(realtime=True, legacy=True),
    "qwen-tts-realtime-2025-07-15": SpeechModel(realtime=True, legacy=True),
}

LANGUAGE_TYPES = (
    "Auto",
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
SYSTEM_VOICES = (
    "Cherry",
    "Serena",
    "Ethan",
    "Chelsie",
    "Momo",
    "Vivian",
    "Moon",
    "Maia",
    "Kai",
    "Nofish",
    "Bella",
    "Jennifer",
    "Ryan",
    "Katerina",
    "Aiden",
    "Eldric Sage",
    "Mia",
    "Mochi",
    "Bellona",
    "Vincent",
    "Bunny",
    "Neil",
    "Elias",
    "Arthur",
    "Nini",
    "Ebona",
    "Seren",
    "Pip",
    "Stella",
    "Bodega",
    "Sonrisa",
    "Alek",
    "Dolce",
    "Sohee",
    "Ono Anna",
    "Lenn",
    "Emilien",
    "Andre",
    "Radio Gol",
    "Jada",
    "Dylan",
    "Li",
    "Marcus",
    "Roy",
    "Peter",
    "Sunny",
    "Eric",
    "Rocky",
    "Kiki",
)
# The legacy models have these at least. [guess]
LEGACY_VOICES = SYSTEM_VOICES[:4]
