"""Paints a picture that depends on the request and nothing else, for tests of callers that have no torch."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

from pixvox_worker.tasks import IMAGE_EDITING, TEXT_TO_IMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import PictureTask, Watch


class FakeEngine:
    """Does everything that a picture engine does, without a model."""

    def __init__(self, settings: Settings) -> None:
        self._step_seconds = settings.fake_step_seconds

    def load(self) -> None:
        """There is nothing to load."""

    def capabilities(self) -> tuple[str, ...]:
        """Both kinds."""
        return (TEXT_TO_IMAGE, IMAGE_EDITING)

    def describe(self) -> dict[str, object]:
        """Says that it is none of the real ones."""
        return {"device": "cpu", "engine": "fake", "class": "FakeEngine"}

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
        """A colour field with a grain, mixed with the first input picture."""
        made = [[_paint(task, task.seed + number) for number in range(task.count)] for task in tasks]
        for done in range(1, tasks[0].all_steps + 1):
            time.sleep(self._step_seconds)
            watch.step(done, lambda: made[0][0])
        return made

    def memory_bytes(self) -> int:
        """None."""
        return 0


def _paint(task: PictureTask, seed: int) -> Image.Image:
    size = (task.width, task.height)
    sentence = f"{seed}|{task.prompt}|{task.negative_prompt}|{task.guidance}|{task.steps}"
    digest = hashlib.sha256(sentence.encode()).digest()
    grain = Image.frombytes("RGB", (2, 2), digest[:12]).resize(size, Image.Resampling.BICUBIC)
    for image in task.images:
        grain = ImageChops.blend(grain, image.resize(size), 0.5)
    return grain
