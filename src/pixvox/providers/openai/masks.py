"""Masks as engines read them: ours lets change what is not black, or what is transparent if it has transparency."""

from __future__ import annotations

import io

from PIL import Image, ImageChops

from pixvox.media.images import upright
from pixvox.provider import Blob


def mask_for_engine(mask: Blob, *, clear: bool) -> Blob:
    """Return a PNG of the same size; takes a moment for a large one.

    Args:
        mask: That is known to decode.
        clear: Whether the engine changes what is transparent, else what is white.
    """
    picture = upright(mask.data)
    if picture.mode == "RGBA":
        free = picture.getchannel("A").point([255] + [0] * 255)
    else:
        red, green, blue = picture.split()
        free = ImageChops.lighter(ImageChops.lighter(red, green), blue).point([0] + [255] * 255)
    made = free
    if clear:
        made = Image.new("RGBA", picture.size, "black")
        made.putalpha(ImageChops.invert(free))
    file = io.BytesIO()
    made.save(file, "PNG", compress_level=1)
    return Blob("image/png", file.getvalue(), width=picture.width, height=picture.height)
