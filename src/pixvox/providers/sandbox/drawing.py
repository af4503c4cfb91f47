"""What the sandbox draws for a prompt: a painted backdrop with the prompt legible on a panel, and the sandbox's mark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from pixvox.providers.sandbox import backdrop, lettering

if TYPE_CHECKING:
    from pixvox.providers.sandbox.fonts import Fonts

MARK = "SANDBOX"
# Smaller letters cannot be read; where they do not fit there are none.
SMALLEST_LETTERS = 9

SHADE = "#0b1020"
LIGHT = "#ffffff"
_PANEL_SHARE = 0.86
_DIM = "#c3cbe0"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture.

    Attributes:
        image: Mode ``RGB``.
        missing: Characters of the prompts that no installed font has; they are drawn as boxes with their code.
    """

    image: Image.Image
    missing: tuple[str, ...]


def drawn(prompt: str, negative_prompt: str, size: tuple[int, int], seed: int, fonts: Fonts) -> Drawing:
    """Draw a prompt; equal arguments give equal pixels, another seed gives another picture.

    Args:
        prompt: Any text to 4,000 characters and more: it shrinks to fit, and ends with an ellipsis where it cannot.
        negative_prompt: Drawn small below it, as "without: ...". May be empty.
        size: Width and height in pixels, each at least 1.
        seed: Any whole number.
        fonts: To letter with.
    """
    image = backdrop.painted(prompt, size, seed)
    words = f"without: {negative_prompt}" if negative_prompt.strip() else ""
    panelled(image, prompt, words, fonts)
    marked(image, f"{MARK} · seed {seed}", fonts)
    return Drawing(image, lettering.missing_characters(f"{prompt}\n{words}", fonts))


def panelled(image: Image.Image, text: str, small_text: str, fonts: Fonts) -> None:
    """Draw a text on a panel at the foot of an ``RGB`` or ``RGBA`` picture, and a smaller one below it, if there is room."""
    width, height = image.size
    margin = max(2, round(min(width, height) * 0.045))
    inner = width - 4 * margin
    if inner < 3 * SMALLEST_LETTERS or height - 3 * margin < 2 * SMALLEST_LETTERS:
        return
    small = _small_setting(small_text, inner, height, fonts)
    setting = _main_setting(text, (inner, height), small.height, fonts)
    if not setting.lines:
        return
    gap = small.size // 2 if small.lines else 0
    total = setting.height + gap + small.height + 2 * margin
    top = height - margin - total
    # Short words get a panel of their own width.
    needed = min(inner, max(setting.width, small.width) + 2)
    left = margin
    shaded(image, (left, top, left + needed + 2 * margin, top + total), margin)
    lettering.draw(image, (left + margin, top + margin), setting, LIGHT, width=needed)
    below = top + margin + setting.height + gap
    lettering.draw(image, (left + margin, below), small, _DIM, width=needed)


def marked(image: Image.Image, text: str, fonts: Fonts) -> None:
    """Draw the sandbox's mark into the top right corner of an ``RGB`` or ``RGBA`` picture, if there is room."""
    width, height = image.size
    size = max(SMALLEST_LETTERS, round(min(width, height) * 0.02))
    pad = round(size * 0.6)
    room = width - 4 * pad
    setting = lettering.fitted(text, fonts, (max(room, 1), 2 * size), (size, size))
    if not setting.whole:
        setting = lettering.fitted(MARK, fonts, (max(room, 1), 2 * size), (min(size, SMALLEST_LETTERS), size))
    if not setting.whole or len(setting.lines) != 1 or height < setting.height + 4 * pad:
        return
    right, top = width - pad, pad
    left = right - setting.width - 2 * pad
    shaded(image, (left, top, right, top + setting.height + pad), (setting.height + pad) // 2)
    lettering.draw(image, (left + pad, top + pad // 2), setting, LIGHT)


def shaded(image: Image.Image, box: tuple[int, int, int, int], radius: int, tint: str = SHADE) -> None:
    """Tint and blur a part of an ``RGB`` or ``RGBA`` picture with rounded corners, like smoked glass."""
    part = image.crop(box)
    # Going through a small picture blurs as well as a wide filter does, at a fraction of the cost.
    small = part.resize((max(1, part.width // 16), max(1, part.height // 16)), Image.Resampling.BOX)
    glass = small.resize(part.size, Image.Resampling.BICUBIC)
    # Drawn large and scaled down, the corners are smooth.
    factor = 2 if part.width < 1024 else 1
    mask = Image.new("L", (part.width * factor, part.height * factor))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * factor, fill=255)
    tinted = Image.blend(glass, Image.new(image.mode, part.size, tint), 0.68)
    image.paste(tinted, box[:2], mask.resize(part.size, Image.Resampling.BOX))


def _small_setting(text: str, width: int, height: int, fonts: Fonts) -> lettering.Setting:
    size = max(SMALLEST_LETTERS, round(min(width, height) * 0.026))
    room = int(min(2, height // (6 * size)) * size * lettering.LINE_HEIGHT) + 1
    return lettering.fitted(text, fonts, (width, room), (SMALLEST_LETTERS, size))


def _main_setting(text: str, room: tuple[int, int], taken: int, fonts: Fonts) -> lettering.Setting:
    """Set a short text large on the lower part of the picture, and let a long one have nearly all of it."""
    width, height = room
    largest = max(SMALLEST_LETTERS, round(min(height * 0.16, width * 0.11, (width * height) ** 0.5 * 0.066)))
    comfortable = max(SMALLEST_LETTERS, largest // 2)
    setting = lettering.fitted(text, fonts, (width, round(height * 0.36)), (comfortable, largest))
    if setting.whole:
        return setting
    rest = round(height * _PANEL_SHARE) - 3 * round(min(room) * 0.045) - taken
    return lettering.fitted(text, fonts, (width, max(rest, SMALLEST_LETTERS * 2)), (SMALLEST_LETTERS, comfortable))
