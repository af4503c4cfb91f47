"""What an engine is asked for, and what it tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

TEXT_TO_IMAGE = "text-to-image"
IMAGE_EDITING = "image-editing"


@dataclass(frozen=True, slots=True)
class PictureTask:
    """Pictures to be made from a text, or from a text and pictures. Sizes are pixels and already checked."""

    prompt: str
    negative_prompt: str | None
    images: tuple[Image, ...]
    """RGB, upright; empty for a picture from text alone."""
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    """Of the first picture; each further one has the next number."""
    count: int = 1
    previews: int = 0
    """How many unfinished pictures the caller wants to see."""

    @property
    def kind(self) -> str:
        """The capability that the model must have."""
        return IMAGE_EDITING if self.images else TEXT_TO_IMAGE

    @property
    def all_steps(self) -> int:
        """Steps until everything is there: an edit makes its pictures one after the other."""
        return self.steps * self.count if self.images else self.steps

    @property
    def batch_key(self) -> tuple[object, ...] | None:
        """Tasks with equal keys may run together; None runs alone."""
        if self.images or self.previews:
            return None
        return (self.width, self.height, self.steps, self.guidance, self.negative_prompt is None)


class Stopped(Exception):  # noqa: N818 - no error: nobody waits
    """Nobody waits for the batch any more: raised inside a step to leave the model at once."""


class Watch(Protocol):
    """Is told by the engine, in the engine's thread, how far it is."""

    def step(self, done: int, preview: Callable[[], Image]) -> None:
        """`done` steps of the tasks' `all_steps` are over; `preview` paints the state of the only task.

        Raises:
            Stopped: nobody waits any more.
        """
        ...


class Engine(Protocol):
    """A loaded model. Every method but `describe` is called in one and the same thread."""

    def load(self) -> None:
        """Get ready; takes minutes for a real model."""
        ...

    def capabilities(self) -> tuple[str, ...]:
        """What the loaded model does."""
        ...

    def describe(self) -> dict[str, object]:
        """Device and class of the model, for `/health`."""
        ...

    def size_multiple(self) -> int:
        """Width and height of a picture are multiples of this."""
        ...

    def min_steps(self) -> int:
        """Fewer steps give no picture."""
        ...

    def max_input_images(self) -> int:
        """Pictures that one edit may start from."""
        ...

    def make(self, tasks: Sequence[PictureTask], watch: Watch) -> list[list[Image]]:
        """The pictures of each task, in order. More than one task only where their batch keys are equal.

        Raises:
            Stopped: from `watch`.
            OutOfMemory: they did not fit; what was allocated is free again.
        """
        ...

    def memory_bytes(self) -> int:
        """Allocated on the accelerator; 0 without one. May be called from any thread."""
        ...
