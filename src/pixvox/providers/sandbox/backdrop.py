"""Pictures without words: landscapes and patterns that a seed decides, painted with Pillow alone and quick at any size."""

from __future__ import annotations

import math
import random
import re
from typing import TYPE_CHECKING

from PIL import Image, ImageColor, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

Colour = tuple[int, int, int]

# Painted at most this wide and high, then scaled to the size that was asked for, which also smooths the edges.
_CANVAS = 2048

# From light to dark.
_PALETTES = {
    "dusk": "#ffe0ac #ff9a76 #e8567a #8e3b8a #2b1d52",
    "ocean": "#e3f6f5 #9be0dc #3fb6c6 #1c6e9c #0b2545",
    "forest": "#f4f3ce #b7d79a #5fa777 #2a6b5e #12323b",
    "desert": "#fff1c9 #f7c873 #e2894f #a84a41 #4a1f35",
    "aurora": "#d9fff5 #7df0c8 #3bb6b8 #5a5fcf #1a1446",
    "rose": "#ffe9ec #ffb3c1 #f06c8f #a8376f #3d1540",
    "night": "#cfd9ff #8a97e6 #5557b8 #2d2c78 #0d0f2b",
    "autumn": "#fff0d0 #f5b95f #d9682f #8c3a2b #33201f",
    "spring": "#fbfdd8 #d6ef85 #8fce5a #3c9b6b #154a4e",
    "slate": "#f4f6f9 #c5ccd6 #8893a5 #4a566b #1b2333",
}
# A prompt that names a colour or a scene gets a palette that agrees with it.
_HINTS = {
    "dusk": "sunset sunrise dusk dawn evening orange purple violet",
    "ocean": "ocean sea water lake river blue beach wave waves boat ship fish underwater rain turquoise cyan",
    "forest": "forest tree trees green jungle wood woods leaf leaves garden grass",
    "desert": "desert sand dune dunes brown gold golden yellow sun camel canyon",
    "aurora": "aurora neon cyberpunk teal magic space galaxy futuristic",
    "rose": "pink rose red flower flowers love cherry heart",
    "night": "night moon star stars dark midnight indigo",
    "autumn": "autumn fall coffee pumpkin fox tea wooden",
    "spring": "spring meadow lemon lime fresh field",
    "slate": "snow winter ice grey gray city fog mist white black silver street rainy",
}


def painted(prompt: str, size: tuple[int, int], seed: int) -> Image.Image:
    """Return a picture in mode ``RGB``; equal arguments give equal pixels.

    Args:
        prompt: Decides about the colours, and with the seed about everything else.
        size: Width and height in pixels.
        seed: Any whole number.
    """
    chance = random.Random(f"{seed}\n{prompt}")
    palette = _palette(prompt, chance)
    scale = min(2.0, _CANVAS / max(size))
    canvas = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    scene = chance.choice((_hills, _hills, _orbs, _tiles, _waves))
    return scene(canvas, palette, chance).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _palette(prompt: str, chance: random.Random) -> list[Colour]:
    words = set(re.findall(r"[a-z]+", prompt.lower()))
    named = [name for name, hints in _HINTS.items() if words & set(hints.split())]
    name = chance.choice(named or list(_PALETTES))
    return [_rgb(colour) for colour in _PALETTES[name].split()]


def _hills(size: tuple[int, int], palette: Sequence[Colour], chance: random.Random) -> Image.Image:
    """Paint ranges of hills one behind the other, under a low sun."""
    width, height = size
    dark = chance.random() < 0.3
    sky = [palette[4], palette[3], palette[2]] if dark else [palette[2], palette[1], palette[0]]
    image = _gradient(size, sky)
    radius = min(size) * chance.uniform(0.07, 0.13)
    sun = width * chance.uniform(0.2, 0.8), height * chance.uniform(0.18, 0.36)
    if dark:
        _stars(image, chance)
    _glow(image, sun, radius * 5, palette[0], 0.75)
    _disc(image, sun, radius, _mixed(palette[0], (255, 255, 255), 0.6))
    layers = chance.randint(4, 6)
    for layer in range(layers):
        nearness = (layer + 1) / layers
        base = height * (0.42 + 0.46 * nearness**1.2)
        ridge = _ridge(width, base, height * (0.05 + 0.07 * (1 - nearness)), chance)
        colour = _at(palette if not dark else palette[2:], 0.25 + 0.75 * nearness)
        _fill_below(image, ridge, colour, _mixed(colour, sky[2], 0.35), height)
    return image


def _ridge(width: int, base: float, swing: float, chance: random.Random) -> list[tuple[float, float]]:
    waves = [(chance.uniform(0.6, 1.4) * 2**octave, chance.uniform(0, math.tau), 0.55**octave) for octave in range(6)]
    return [
        (x, base - swing * sum(part * math.sin(math.tau * often * x / width + shift) for often, shift, part in waves))
        for x in range(0, width + 8, max(1, width // 400))
    ]


def _fill_below(image: Image.Image, ridge: list[tuple[float, float]], top: Colour, bottom: Colour, height: int) -> None:
    """Fill a hill; towards its foot it fades into the mist."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon([(-8, ridge[0][1]), *ridge, (ridge[-1][0], height), (-8, height)], fill=255)
    start = max(0, min(height - 1, int(min(y for _, y in ridge))))
    fill = Image.new("RGB", image.size, top)
    fill.paste(_gradient((image.width, height - start), [top, top, bottom]), (0, start))
    image.paste(fill, mask=mask)


def _stars(image: Image.Image, chance: random.Random) -> None:
    drawing = ImageDraw.Draw(image)
    unit = max(image.size) / 1600
    for _ in range(160):
        x, y, size = (
            chance.uniform(0, image.width),
            chance.uniform(0, image.height * 0.55),
            chance.uniform(0.6, 2.2) * unit,
        )
        drawing.ellipse((x - size, y - size, x + size, y + size), fill=(255, 250, 235))


def _orbs(size: tuple[int, int], palette: Sequence[Colour], chance: random.Random) -> Image.Image:
    """Paint glassy discs over a soft mesh of colours."""
    image = _mesh(size, palette, chance)
    reach = min(size)
    for _ in range(chance.randint(6, 9)):
        centre = size[0] * chance.uniform(0.02, 0.98), size[1] * chance.uniform(0.02, 0.98)
        radius = reach * chance.uniform(0.06, 0.3)
        shadow = centre[0] + radius * 0.12, centre[1] + radius * 0.22
        _glow(image, shadow, radius * 1.35, palette[4], 0.5)
        colours = chance.sample(list(palette), 2)
        _disc(image, centre, radius, _gradient((64, 64), sorted(colours, key=sum, reverse=True)))
        _glow(image, (centre[0] - radius * 0.3, centre[1] - radius * 0.4), radius * 0.7, (255, 255, 255), 0.35)
    return image


def _tiles(size: tuple[int, int], palette: Sequence[Colour], chance: random.Random) -> Image.Image:
    """Paint a mosaic of quarter discs, discs and triangles."""
    image = Image.new("RGB", size, palette[0])
    drawing = ImageDraw.Draw(image)
    side = max(8, math.ceil(max(size) / chance.randint(6, 9)))
    for top in range(0, size[1], side):
        for left in range(0, size[0], side):
            back, front, spot = chance.sample(list(palette), 3)
            right, bottom = left + side, top + side
            drawing.rectangle((left, top, right, bottom), fill=back)
            turn = chance.randrange(4)
            corner = (left, right)[turn % 2], (top, bottom)[turn // 2]
            around = corner[0] - side, corner[1] - side, corner[0] + side, corner[1] + side
            shape = chance.randrange(5)
            if shape < 2:
                cell = image.crop((left, top, right, bottom))
                ImageDraw.Draw(cell).ellipse([edge - (left, top)[i % 2] for i, edge in enumerate(around)], fill=front)
                image.paste(cell, (left, top))
            elif shape == 2:
                _ring(drawing, (left + right) / 2, (top + bottom) / 2, side / 3, (front, spot))
            elif shape == 3:
                corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
                drawing.polygon([corners[(turn + i) % 4] for i in range(3)], fill=front)
    return image


def _waves(size: tuple[int, int], palette: Sequence[Colour], chance: random.Random) -> Image.Image:
    """Paint flowing ribbons from light at the top to dark at the bottom."""
    width, height = size
    image = _gradient(size, [palette[0], palette[1]])
    ribbons = chance.randint(7, 11)
    lean = chance.uniform(-0.25, 0.25) * height
    for ribbon in range(ribbons):
        share = (ribbon + 0.5) / ribbons
        ridge = _ridge(width, height * (0.12 + 0.92 * share), height * 0.045, chance)
        leaning = [(x, y + lean * (x / width - 0.5)) for x, y in ridge]
        colour = _at(palette, 0.1 + 0.9 * share)
        _fill_below(image, leaning, _mixed(colour, (255, 255, 255), 0.12), _mixed(colour, palette[4], 0.25), height)
    return image


def _ring(drawing: ImageDraw.ImageDraw, x: float, y: float, radius: float, fills: tuple[Colour, Colour]) -> None:
    for reach, fill in zip((radius, radius / 2), fills, strict=True):
        drawing.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)


def _gradient(size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """Return a vertical gradient through the colours, from the top."""
    strip = Image.new("RGB", (1, 256))
    strip.putdata([_at(colours, y / 255) for y in range(256)])
    return strip.resize(size, Image.Resampling.BILINEAR)


def _mesh(size: tuple[int, int], palette: Sequence[Colour], chance: random.Random) -> Image.Image:
    """Return a soft mixture of colours, here one and there another."""
    knots = Image.new("RGB", (5, 5))
    knots.putdata(
        [_at(palette, min(1.0, max(0.0, y / 4 + chance.uniform(-0.3, 0.3)))) for y in range(5) for _ in range(5)]
    )
    return knots.resize((64, 64), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BICUBIC)


def _glow(image: Image.Image, centre: tuple[float, float], radius: float, colour: Colour, strength: float) -> None:
    side = max(1, round(2 * radius))
    mask = Image.radial_gradient("L").point([round(strength * 255 * (1 - min(1, v / 180)) ** 2) for v in range(256)])
    image.paste(colour, _place(centre, side), mask.resize((side, side), Image.Resampling.BICUBIC))


def _disc(image: Image.Image, centre: tuple[float, float], radius: float, fill: Colour | Image.Image) -> None:
    side = max(1, round(2 * radius))
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), fill=255)
    content = fill.resize((side, side)) if isinstance(fill, Image.Image) else Image.new("RGB", (side, side), fill)
    image.paste(content, _place(centre, side)[:2], mask)


def _place(centre: tuple[float, float], side: int) -> tuple[int, int, int, int]:
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    return left, top, left + side, top + side


def _at(colours: Sequence[Colour], share: float) -> Colour:
    """Return the colour at 0..1 of the way through a row of colours."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    index = min(int(place), len(colours) - 2)
    return _mixed(colours[index], colours[index + 1], place - index)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _rgb(colour: str) -> Colour:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red, green, blue
