"""How each operation changes the pixels of a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageColor, ImageFilter, ImageOps, ImageStat

from pixvox.providers.sandbox import lettering
from pixvox.providers.sandbox.drawing import LIGHT, SHADE, SMALLEST_LETTERS, shaded
from pixvox.providers.sandbox.operations import (
    AddText,
    Blur,
    Border,
    Brighten,
    Contrast,
    Crop,
    CropPart,
    CropTo,
    Flip,
    Invert,
    Pixelate,
    Posterize,
    Rotate,
    Saturate,
    Sepia,
    Sharpen,
    Sketch,
    Vignette,
    Watercolor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.providers.sandbox.fonts import Fonts
    from pixvox.providers.sandbox.operations import Operation

# Washes and pencil lines are painted no larger than this: they are coarse, and the filters are slow.
_PAINTED = 1024
_MAX_BORDER = 1024
# Of red, green and blue in the brightness of a colour: ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)
_SEPIA = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)


def applied(image: Image.Image, operation: Operation, fonts: Fonts, scale: float) -> Image.Image:
    """Return a picture changed by one operation; `Resize` and `Compose` are for `editing` and do nothing here.

    Args:
        image: Mode ``RGB`` or ``RGBA``; transparency is kept.
        operation: What to do.
        fonts: To letter with.
        scale: Pixels of `image` for each pixel of the caller's picture, by which lengths in pixels are measured.
    """
    match operation:
        case Rotate(degrees):
            return _rotated(image, degrees)
        case Flip(horizontal):
            return ImageOps.mirror(image) if horizontal else ImageOps.flip(image)
        case Crop() | CropTo() | CropPart():
            return image.crop(_cut(image, operation, scale))
        case Border():
            return _bordered(image, operation, scale)
        case AddText():
            return _lettered(image, operation, fonts)
        case Blur(pixels, strength):
            return _blurred(image, pixels * scale if pixels else min(image.size) * 0.008 * strength + 0.5)
        case Pixelate(pixels):
            return _pixelated(image, pixels * scale if pixels else max(image.size) / 40)
        case _:
            return _on_colours(image, lambda colours: _recoloured(colours, operation))


def _on_colours(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    changed = change(image.convert("RGB"))
    if image.mode == "RGBA":
        changed.putalpha(image.getchannel("A"))
    return changed


def _recoloured(image: Image.Image, operation: Operation) -> Image.Image:  # noqa: C901, PLR0911 - a case for each
    """Return an ``RGB`` picture of the same size in other colours."""
    match operation:
        case Saturate(factor):
            return _saturated(image, factor)
        case Brighten(factor):
            return image.point([round(min(255, value * factor)) for value in range(256)] * 3)
        case Contrast(factor):
            return _contrasted(image, factor)
        case Sharpen(strength):
            radius = max(1.0, min(image.size) / 500)
            return image.filter(ImageFilter.UnsharpMask(radius, round(120 * strength), 2))
        case Sepia():
            return image.convert("RGB", _SEPIA)
        case Invert():
            return ImageOps.invert(image)
        case Vignette(strength):
            return _vignetted(image, strength)
        case Posterize(bits):
            return _saturated(ImageOps.posterize(image, bits), 1.3)
        case Watercolor():
            return _watercoloured(image)
        case Sketch():
            return _sketched(image)
        case _:
            return image


def _rotated(image: Image.Image, degrees: float) -> Image.Image:
    turns = {
        0.0: None,
        90.0: Image.Transpose.ROTATE_270,
        180.0: Image.Transpose.ROTATE_180,
        270.0: Image.Transpose.ROTATE_90,
    }
    if degrees in turns:
        turn = turns[degrees]
        return image if turn is None else image.transpose(turn)
    corners = (255, 255, 255, 0) if image.mode == "RGBA" else (255, 255, 255)
    return image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=corners)


def _cut(image: Image.Image, operation: Crop | CropTo | CropPart, scale: float) -> tuple[int, int, int, int]:
    if isinstance(operation, CropPart):
        left, top = math.floor(operation.left * image.width), math.floor(operation.top * image.height)
        right, bottom = round(operation.right * image.width), round(operation.bottom * image.height)
        return left, top, max(right, left + 1), max(bottom, top + 1)
    if isinstance(operation, CropTo):
        wanted = operation.width * scale, operation.height * scale
    else:
        wanted = min(image.width, image.height * operation.ratio), min(image.height, image.width / operation.ratio)
    width = min(image.width, max(1, round(wanted[0])))
    height = min(image.height, max(1, round(wanted[1])))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return left, top, left + width, top + height


def _bordered(image: Image.Image, border: Border, scale: float) -> Image.Image:
    pixels = border.pixels * scale if border.pixels else min(image.size) * border.share
    width = min(_MAX_BORDER, max(1, round(pixels)))
    framed = Image.new(image.mode, (image.width + 2 * width, image.height + 2 * width), border.colour)
    framed.paste(image, (width, width))
    return framed


def _lettered(image: Image.Image, words: AddText, fonts: Fonts) -> Image.Image:
    image = image.copy()
    margin = max(1, round(min(image.size) * 0.04))
    room = image.width - 4 * margin, round(image.height * 0.6) - 2 * margin
    largest = max(SMALLEST_LETTERS, round((image.width * image.height) ** 0.5 * 0.07 * words.scale))
    setting = lettering.fitted(words.text, fonts, (max(1, room[0]), max(1, room[1])), (SMALLEST_LETTERS, largest))
    width, height = setting.width + 2 * margin, setting.height + margin
    left = _aligned(words.horizontal, image.width, width, margin)
    top = _aligned(words.vertical, image.height, height, margin)
    colour = words.colour or LIGHT
    if setting.lines:
        shaded(image, (left, top, left + width, top + height), margin, LIGHT if _is_dark(colour) else SHADE)
    lettering.draw(image, (left + margin, top + margin // 2), setting, colour, width=setting.width)
    return image


def _aligned(place: str, whole: int, part: int, margin: int) -> int:
    if place in ("left", "top"):
        return margin
    return (whole - part) // 2 if place == "center" else whole - part - margin


def _is_dark(colour: str) -> bool:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red * 299 + green * 587 + blue * 114 < 110_000


def _blurred(image: Image.Image, radius: float) -> Image.Image:
    blur = ImageFilter.GaussianBlur(min(radius, max(image.size)))
    if image.mode == "RGBA":
        # With its colours weighted by opacity, nothing bleeds in from transparent parts.
        return image.convert("RGBa").filter(blur).convert("RGBA")
    return image.filter(blur)


def _pixelated(image: Image.Image, side: float) -> Image.Image:
    small = max(1, round(image.width / max(1, side))), max(1, round(image.height / max(1, side)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _saturated(image: Image.Image, factor: float) -> Image.Image:
    """Move each colour away from its grey, or towards it."""
    red, green, blue = ((1 - factor) * weight for weight in _LUMA)
    return image.convert(
        "RGB", (red + factor, green, blue, 0, red, green + factor, blue, 0, red, green, blue + factor, 0)
    )


def _contrasted(image: Image.Image, factor: float) -> Image.Image:
    mean = ImageStat.Stat(ImageOps.grayscale(ImageOps.contain(image, (256, 256)))).mean[0]
    return image.point([round(min(255.0, max(0.0, mean + (value - mean) * factor))) for value in range(256)] * 3)


def _vignetted(image: Image.Image, strength: float) -> Image.Image:
    depth = min(1.0, 0.75 * strength)
    # The value is the distance from the middle: 181 at the middle of a side, 255 in the corners.
    table = [round(255 * (1 - depth * max(0.0, (value - 90) / 165) ** 1.6)) for value in range(256)]
    light = Image.radial_gradient("L").point(table).resize(image.size, Image.Resampling.BICUBIC)
    return Image.composite(image, Image.new("RGB", image.size), light)


def _watercoloured(image: Image.Image) -> Image.Image:
    """Paint flat washes, darker at their edges as drying pigment is, on paper that is not quite white."""
    small = _for_painting(image)
    washes = _filtered(_filtered(small, ImageFilter.MedianFilter(7), 3), ImageFilter.ModeFilter(7), 3)
    washes = _filtered(ImageOps.posterize(washes, 4), ImageFilter.MedianFilter(5), 2)
    washes = _saturated(washes.filter(ImageFilter.GaussianBlur(1.2)), 1.35)
    edges = ImageOps.grayscale(washes).filter(ImageFilter.FIND_EDGES).filter(ImageFilter.GaussianBlur(1.5))
    pigment = edges.point([max(120, 255 - 2 * value) for value in range(256)])
    painted = Image.composite(washes, Image.new("RGB", washes.size), pigment)
    painted = Image.blend(painted, Image.new("RGB", small.size, (255, 252, 244)), 0.16)
    return painted.resize(image.size, Image.Resampling.BICUBIC)


def _filtered(image: Image.Image, rank: ImageFilter.Filter, reach: int) -> Image.Image:
    """Apply a filter that looks `reach` pixels around, strip by strip."""
    # Pillow holds the interpreter's lock during these filters; a whole picture would stop the event loop for half a second.
    rows = max(4, 24_000 // image.width)
    result = Image.new(image.mode, image.size)
    for top in range(0, image.height, rows):
        above, below = min(reach, top), min(image.height, top + rows + reach)
        strip = image.crop((0, top - above, image.width, below)).filter(rank)
        result.paste(strip.crop((0, above, image.width, above + min(rows, image.height - top))), (0, top))
    return result


def _sketched(image: Image.Image) -> Image.Image:
    """Draw pencil lines where the picture is darker than its surroundings."""
    small = ImageOps.grayscale(_for_painting(image))
    around = small.filter(ImageFilter.GaussianBlur(max(1.0, min(small.size) / 120)))
    lines = ImageOps.invert(ImageChops.subtract(around, small, scale=0.22))
    shade = small.point([170 + value // 3 for value in range(256)])
    drawn = Image.composite(lines, Image.new("L", small.size), shade)
    return drawn.resize(image.size, Image.Resampling.BICUBIC).convert("RGB")


def _for_painting(image: Image.Image) -> Image.Image:
    return ImageOps.contain(image, (_PAINTED, _PAINTED)) if max(image.size) > _PAINTED else image
