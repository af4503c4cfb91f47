"""The pictures of the emulator: real PNGs that depend on what was asked and on nothing else."""

from __future__ import annotations

import hashlib
import io
import textwrap
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

# Decoding is what costs time with such pictures; larger ones are refused before it.
_MOST_PIXELS = 50_000_000
# What the vendor reads. JPG and JPEG are one format.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")


@dataclass(frozen=True, slots=True)
class Painting:
    """What to draw.

    Attributes:
        prompt: As sent, already cut to the model's length.
        size: Width and height in pixels.
        seed: As sent, 0 if none was, so that tests can expect a picture; the vendor draws lots then.
        index: Of the picture among those of one request, from 0.
        stamp: A watermark, or empty.
    """

    prompt: str
    size: tuple[int, int]
    seed: int = 0
    index: int = 0
    stamp: str = ""


def painted(painting: Painting) -> bytes:
    """Return a PNG: two colours that depend on all of the painting, with its prompt written small."""
    dark, light = _colours(painting)
    shade = Image.radial_gradient("L") if painting.index % 2 else Image.linear_gradient("L")
    image = ImageOps.colorize(shade, dark, light).resize(painting.size)
    return _lettered(image, painting, 0.9)


def edited(inputs: tuple[bytes, ...], painting: Painting) -> bytes:
    """Return a PNG: the last input as a negative, tinted by the instruction, with the other inputs small at the top.

    Args:
        inputs: Pictures that `size_of` has read.
        painting: Its prompt is the instruction.
    """
    *others, last = (Image.open(io.BytesIO(data)) for data in inputs)
    image = ImageOps.invert(last.convert("RGB").resize(painting.size))
    image = Image.blend(image, Image.new("RGB", painting.size, _colours(painting)[1]), 0.25)
    side = max(1, min(painting.size) // 6)
    for place, other in enumerate(others):
        image.paste(other.convert("RGB").resize((side, side)), (place * side, 0))
    # Higher up, so that it does not cover the words of a picture that was made here.
    return _lettered(image, painting, 0.5)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a picture that can be decoded, or None."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            image.load()
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _colours(painting: Painting) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    text = f"{painting.prompt}\n{painting.seed}\n{painting.index}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    red, green, blue = (value // 2 for value in digest[:3])
    return (red, green, blue), (127 + digest[3] // 2, 127 + digest[4] // 2, 127 + digest[5] // 2)


def _lettered(image: Image.Image, painting: Painting, down: float) -> bytes:
    """Write the words, whose last line ends at this part of the height, and pack the picture."""
    height = max(10, min(painting.size) // 32)
    font = ImageFont.load_default(height)
    draw = ImageDraw.Draw(image)
    lines = textwrap.wrap(painting.prompt, width=max(8, painting.size[0] // height), max_lines=4) or [""]
    draw.multiline_text((height, image.height * down), "\n".join(lines), fill="black", font=font, anchor="ld")
    if painting.stamp:
        draw.text((image.width - height, image.height - height), painting.stamp, fill="white", font=font, anchor="rs")
    file = io.BytesIO()
    # Quick to pack, since it is unpacked on the same machine.
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
