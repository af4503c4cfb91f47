"""Paints and speaks what depends on the request and nothing else, for tests of callers that have no torch."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from pixvox_worker import pictures
from pixvox_worker.engines import tones
from pixvox_worker.settings import SettingsError
from pixvox_worker.speech import CUSTOM_VOICE, VOICE_CLONE, VOICE_DESIGN, Spoken
from pixvox_worker.tasks import IMAGE_EDITING, IMAGE_LAYERING, TEXT_TO_IMAGE
from pixvox_worker.traits import PictureTraits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox_worker.settings import Settings
    from pixvox_worker.speech import Listener, SpeechTask
    from pixvox_worker.tasks import PictureTask, Watch

_EVERYTHING = (TEXT_TO_IMAGE, IMAGE_EDITING, IMAGE_LAYERING, CUSTOM_VOICE, VOICE_DESIGN, VOICE_CLONE)
# As the published checkpoints have them.
_SPEAKERS = ("aiden", "dylan", "eric", "ono_anna", "ryan", "serena", "sohee", "uncle_fu", "vivian")
_LANGUAGES = (
    "auto",
    "chinese",
    "english",
    "french",
    "german",
    "italian",
    "japanese",
    "korean",
    "portuguese",
    "russian",
    "spanish",
)
_PIECE_FRAMES = 4


class FakeEngine:
    """Does everything that an engine does, without a model."""

    def __init__(self, settings: Settings) -> None:
        self._step_seconds = settings.fake_step_seconds
        self._capabilities = _chosen(settings.fake_capabilities)

    def load(self) -> None:
        """There is nothing to load."""

    def capabilities(self) -> tuple[str, ...]:
        """Everything, unless the settings say less."""
        return self._capabilities

    def describe(self) -> dict[str, object]:
        """Says that it is none of the real ones."""
        return {"device": "cpu", "engine": "fake", "class": "FakeEngine"}

    def traits(self) -> PictureTraits:
        """As most of the real ones."""
        return PictureTraits(steps=50, guidance=4.0, layers=4)

    def size_multiple(self) -> int:
        """As the real ones."""
        return 16

    def min_steps(self) -> int:
        """It needs none, and one shows how far it is."""
        return 1

    def max_input_images(self) -> int:
        """As the model that takes the most."""
        return 10

    def make(self, tasks: Sequence[PictureTask], watch: Watch) -> list[list[Image.Image]]:
        """A colour field with a grain, mixed with the input pictures."""
        made = [[_paint(task, task.seed + number) for number in range(task.layers or task.count)] for task in tasks]
        for done in range(1, tasks[0].all_steps + 1):
            time.sleep(self._step_seconds)
            watch.step(done, lambda: made[0][0])
        return made

    def speakers(self) -> tuple[str, ...]:
        """As the published checkpoints."""
        return _SPEAKERS if CUSTOM_VOICE in self._capabilities else ()

    def languages(self) -> tuple[str, ...]:
        """As the published checkpoints."""
        return _LANGUAGES

    def follows_instructions(self, kind: str) -> bool:
        """As the published checkpoints: a clone speaks as its recording does."""
        return kind != VOICE_CLONE

    def speak(self, task: SpeechTask, listener: Listener) -> Spoken:
        """Tones that swell and fade, a few frames at a time."""
        frames = tones.frames_of(task)
        for begun in range(0, frames, _PIECE_FRAMES):
            time.sleep(self._step_seconds)
            numbers = range(begun, min(begun + _PIECE_FRAMES, frames))
            for number in numbers:
                listener.frame(number + 1)
            listener.piece(b"".join(tones.frame(task, number) for number in numbers))
        words = " ".join((task.text, task.instructions or "", task.transcript or "")).split()
        return Spoken(input_tokens=len(words), frames=frames)

    def forget(self, digest: str) -> None:
        """It keeps nothing."""

    def memory_bytes(self) -> int:
        """None."""
        return 0


def _chosen(names: str) -> tuple[str, ...]:
    wanted = {name for part in names.split(",") if (name := part.strip().lower())}
    if not wanted <= set(_EVERYTHING):
        message = f"FAKE_CAPABILITIES={names!r}: there are {', '.join(_EVERYTHING)}."
        raise SettingsError(message)
    return tuple(name for name in _EVERYTHING if not wanted or name in wanted)


def _paint(task: PictureTask, seed: int) -> Image.Image:
    size = (task.width, task.height)
    sentence = f"{seed}|{task.prompt}|{task.negative_prompt}|{task.guidance}|{task.steps}"
    digest = hashlib.sha256(sentence.encode()).digest()
    grain = Image.frombytes("RGB", (2, 2), digest[:12]).resize(size, Image.Resampling.BICUBIC)
    for image in task.images:
        grain = ImageChops.blend(grain, pictures.flattened(image).resize(size), 0.5)
    return grain
