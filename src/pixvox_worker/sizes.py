"""How large a picture is made, and how large the model looks at those that it is given."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox_worker.failures import BadRequest, TooLarge
from pixvox_worker.traits import scaled

if TYPE_CHECKING:
    from PIL.Image import Image

    from pixvox_worker.traits import PictureTraits

_SIZE = re.compile(r"([0-9]{1,5})[xX*]([0-9]{1,5})")
_DEFAULT_SIDE = 1024


def parse(text: str | None) -> tuple[int, int] | None:
    """Width and height, or None where they are left to the worker.

    Raises:
        BadRequest: it is neither.
    """
    if text is None or text in ("", "auto"):
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        message = "size is WIDTHxHEIGHT, or auto."
        raise BadRequest(message, param="size")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the model and the settings allow. Sizes are width and height in pixels."""

    multiple: int
    max_pixels: int
    traits: PictureTraits

    def made(
        self, wanted: tuple[int, int] | None, resolution: int | None, images: tuple[Image, ...]
    ) -> tuple[int, int]:
        """Floored to what the model can make. Unless asked for: of about `resolution` squared pixels in the first
        picture's proportions, else as large as that picture, or a square.

        Raises:
            Failure: it is too small or too large.
        """
        if wanted is not None:
            if min(wanted) < self.multiple:
                message = f"Width and height are at least {self.multiple}."
                raise BadRequest(message, param="size")
            return self._allowed(wanted, "size")
        own = images[0].size if images else (_DEFAULT_SIDE, _DEFAULT_SIDE)
        if resolution is None:
            return self._allowed(self._within(own), "size")
        return self._allowed(scaled(resolution, own), "resolution")

    def of_layers(self, wanted: tuple[int, int] | None, resolution: int | None, image: Image) -> tuple[int, int]:
        """What the resolution makes of the picture's size; as large as the picture where the model has no resolution.

        Raises:
            Failure: a size was asked for, or it is too large.
        """
        if wanted is not None:
            message = "The size of layers follows from the picture and the resolution."
            raise BadRequest(message, param="size")
        return self.made(None, resolution or self.traits.resolution, (image,))

    def looked_at(self, resolution: int | None, images: tuple[Image, ...]) -> int | None:
        """The resolution for the input pictures: the model's own unless asked for; None for models without the choice.

        Raises:
            BadRequest: the model has no such resolution, or a picture does not fit into it.
        """
        traits = self.traits
        if traits.resolution is None or not images:
            return None
        side = resolution or traits.resolution
        if traits.resolutions and side not in traits.resolutions:
            message = f"resolution is one of {', '.join(map(str, traits.resolutions))}."
            raise BadRequest(message, param="resolution")
        fewest, most = traits.condition_pixels or (1, math.inf)
        for image in images:
            width, height = scaled(side, image.size)
            if not fewest <= width * height <= most:
                message = f"The model cannot look at a picture of {image.width}x{image.height} with resolution {side}."
                raise BadRequest(message, param="resolution")
        return side

    def _allowed(self, size: tuple[int, int], param: str) -> tuple[int, int]:
        width, height = size
        if width * height > self.max_pixels:
            message = f"At most {self.max_pixels} pixels are made."
            raise TooLarge(message, param=param)
        return max(self.multiple, self._floored(width)), max(self.multiple, self._floored(height))

    def _floored(self, side: int) -> int:
        return side // self.multiple * self.multiple

    def _within(self, size: tuple[int, int]) -> tuple[int, int]:
        """`size`, made smaller in proportion until it is allowed."""
        width, height = size
        shrink = min(1.0, math.sqrt(self.max_pixels / (width * height)))
        return max(1, int(width * shrink)), max(1, int(height * shrink))
