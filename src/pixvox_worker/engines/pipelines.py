"""The pipeline classes of diffusers that the worker runs, and what each of them takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox_worker.tasks import IMAGE_EDITING, IMAGE_LAYERING, TEXT_TO_IMAGE

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PipelineKind:
    """What a pipeline class takes and makes."""

    tasks: tuple[str, ...]
    input_images: int
    """The most of one call."""
    steps: int = 50
    guidance: float = 4.0
    listed: bool = False
    """Whether the input pictures are given as a list."""
    several: bool = False
    """Whether one call may make pictures of several texts."""
    own_processor: bool = False
    alpha: bool = False
    """Whether pictures have four channels, those that go in and those that come out."""
    layers: int = 0
    """How many come of one picture unless it is said; 0 where pictures are not taken apart."""
    resolution_argument: str = ""
    """The argument that says how large the input pictures are looked at; empty where there is none."""
    resolution: int | None = None
    resolutions: tuple[int, ...] = ()


# By the class in model_index.json, which is also what says which checkpoint it is. Steps and guidance are the defaults of
# the classes.
KINDS = {
    "QwenImagePipeline": PipelineKind((TEXT_TO_IMAGE,), input_images=0, several=True),
    "QwenImageEditPipeline": PipelineKind((IMAGE_EDITING,), input_images=1, own_processor=True),
    "QwenImageEditPlusPipeline": PipelineKind((IMAGE_EDITING,), input_images=4, listed=True, own_processor=True),
    "QwenImageLayeredPipeline": PipelineKind(
        (IMAGE_LAYERING,),
        input_images=1,
        own_processor=True,
        alpha=True,
        layers=4,
        resolution_argument="resolution",
        resolution=640,
        resolutions=(640, 1024),
    ),
    "QwenImage21Pipeline": PipelineKind(
        (TEXT_TO_IMAGE, IMAGE_EDITING),
        input_images=10,
        steps=40,
        guidance=1.0,
        listed=True,
        several=True,
        own_processor=True,
        alpha=True,
        resolution_argument="output_resolution",
        resolution=1024,
    ),
}


def class_in(folder: Path) -> str:
    """The pipeline class of the checkpoint in `folder`.

    Raises:
        ValueError: the worker does not know it.
    """
    name: str = json.loads((folder / "model_index.json").read_text())["_class_name"]
    if name not in KINDS:
        message = f"{name} is none of {', '.join(KINDS)}."
        raise ValueError(message)
    return name
