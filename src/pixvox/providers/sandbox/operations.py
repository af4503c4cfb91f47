"""The changes that the sandbox can make to a picture, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layout = Literal["row", "column", "grid"]
Vertical = Literal["top", "center", "bottom"]
Horizontal = Literal["left", "center", "right"]


@dataclass(frozen=True, slots=True)
class Saturate:
    """Change the strength of colours: 0 is grey, 1 leaves them, above makes them stronger."""

    factor: float


@dataclass(frozen=True, slots=True)
class Blur:
    """Blur by a radius in pixels, or where that is None by `strength` times what is clearly seen."""

    pixels: float | None = None
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Sharpen:
    """Sharpen edges; 1 is clearly seen."""

    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Rotate:
    """Turn clockwise by degrees; the picture grows so that nothing is cut off."""

    degrees: float


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirror left to right if `horizontal`, else top to bottom."""

    horizontal: bool


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut the largest middle part of an aspect ratio, which is width by height."""

    ratio: float


@dataclass(frozen=True, slots=True)
class CropTo:
    """Cut the middle part of a width and height in pixels, or less where the picture is smaller."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CropPart:
    """Cut a part; its edges are shares 0..1 of the picture's width and height."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Resize:
    """Scale to a width and height in pixels, of which one may be None to keep the aspect, or else by `factor`."""

    width: int | None = None
    height: int | None = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Brighten:
    """Multiply the brightness: 1 leaves it, below darkens."""

    factor: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """Multiply the contrast: 1 leaves it, below flattens."""

    factor: float


@dataclass(frozen=True, slots=True)
class Sepia:
    """Tone in brown like an old photograph."""


@dataclass(frozen=True, slots=True)
class Invert:
    """Turn every colour into its opposite."""


@dataclass(frozen=True, slots=True)
class Border:
    """Add a border of a width in pixels, or where that is None of `share` of the shorter side."""

    pixels: int | None = None
    share: float = 0.04
    colour: str = "black"


@dataclass(frozen=True, slots=True)
class AddText:
    """Write words onto the picture; a colour of None is one that stands out; `scale` 1 is a normal caption."""

    text: str
    vertical: Vertical = "bottom"
    horizontal: Horizontal = "center"
    colour: str | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Pixelate:
    """Draw in squares of a side in pixels, or where that is None of a fortieth of the longer side."""

    pixels: int | None = None


@dataclass(frozen=True, slots=True)
class Vignette:
    """Darken towards the corners; 1 is clearly seen."""

    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Posterize:
    """Reduce each colour channel to 2 to the power of `bits` levels."""

    bits: int = 2


@dataclass(frozen=True, slots=True)
class Watercolor:
    """Paint in flat washes with soft edges on paper."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Draw in pencil lines."""


@dataclass(frozen=True, slots=True)
class Compose:
    """Put all input pictures into one."""

    layout: Layout = "row"


Operation = (
    Saturate
    | Blur
    | Sharpen
    | Rotate
    | Flip
    | Crop
    | CropTo
    | CropPart
    | Resize
    | Brighten
    | Contrast
    | Sepia
    | Invert
    | Border
    | AddText
    | Pixelate
    | Vignette
    | Posterize
    | Watercolor
    | Sketch
    | Compose
)
