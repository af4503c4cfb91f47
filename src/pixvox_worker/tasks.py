"""What an engine is asked for, and what it tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from pixvox_worker.traits import PictureTraits

TEXT_TO_IMAGE = "text-to-image"
IMAGE_EDITING = "image-editing"
IMAGE_LAYERING = "image-layering"


@dataclass(frozen=True, slots=True)
class PictureTask:
    """Pictures to be made from a text, or from a text and pictures. Sizes are pixels and already checked."""

    prompt: str
    negative_prompt: str | None
    images: tuple[Image, ...]
    """RGB, or RGBA where something is transparent, upright; empty for a picture from text alone."""
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    """Of the first picture; each further one has the next number."""
    count: int = 1
    previews: int = 0
    """How many unfinished pictures the caller wants to see."""
    layers: int = 0
    """Into how many the one input picture is taken apart; 0 for every other kind of task."""
    resolution: int | None = None
    """Side of a square as large as the model scales the input pictures to; None for those that have no choice."""

    @property
    def kind(self) -> str:
        """The capability that the model must have."""
        if self.layers:
            return IMAGE_LAYERING
        return IMAGE_EDITING if self.images else TEXT_TO_IMAGE

    def seed_of(self, number: int) -> int:
        """That of picture `number`, from 0; all layers come from one."""
        return self.seed if self.layers else self.seed + number

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
    """A loaded model of any kind. Every method but `describe` is called in one and the same thread."""

    def load(self) -> None:
        """Get ready; takes minutes for a real model."""
        ...

    def capabilities(self) -> tuple[str, ...]:
        """What the loaded model does."""
        ...

    def describe(self) -> dict[str, object]:
        """Device and class of the model, for `/health`."""
        ...

    def memory_bytes(self) -> int:
        """Allocated on the accelerator; 0 without one. May be called from any thread."""
        ...


@runtime_checkable
class PictureEngine(Engine, Protocol):
    """One that makes pictures, as far as its capabilities say so."""

    def traits(self) -> PictureTraits:
        """What the model takes, and its own values for what a request leaves open."""
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
