"""What a picture model takes, and what it does unless it is told otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

_TILE = 32


@dataclass(frozen=True, slots=True)
class PictureTraits:
    """Of the loaded model, whose class says them."""

    steps: int
    """Where neither the request nor `DEFAULT_STEPS` says it."""
    guidance: float
    """Where neither the request nor `DEFAULT_GUIDANCE` says it; 1 is off."""
    layers: int = 0
    """Into how many a picture is taken apart unless the request says; 0 where the model does not do that."""
    resolution: int | None = None
    """Side in pixels of a square as large as the pictures that are looked at; None where there is no such choice."""
    resolutions: tuple[int, ...] = ()
    """The only ones that there are; empty where any may be asked for."""
    condition_pixels: tuple[int, int] | None = None
    """Fewest and most that a picture may have once it is scaled to the resolution, where the model is bound to that."""


def scaled(resolution: int, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of about `resolution` squared pixels in the proportion of `size`, in tiles of 32.

    As `calculate_dimensions` of diffusers' Qwen pipelines does it, which has no public name; 0 where a side is too thin.
    """
    ratio = size[0] / size[1]
    width = math.sqrt(resolution * resolution * ratio)
    return round(width / _TILE) * _TILE, round(width / ratio / _TILE) * _TILE
