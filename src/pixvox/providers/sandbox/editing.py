"""What the sandbox makes of an instruction and pictures: the operations applied, and a word on all that was done otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageOps

from pixvox.errors import InvalidMediaError, Violation
from pixvox.media.images import on_white
from pixvox.providers.sandbox import drawing, lettering
from pixvox.providers.sandbox.instructions import understood
from pixvox.providers.sandbox.operations import AddText, Compose, Resize
from pixvox.providers.sandbox.pixels import applied
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.providers.sandbox.fonts import Fonts
    from pixvox.providers.sandbox.operations import Layout, Operation

MAX_SIDE = 4096
# More pictures than this make a row in which none can be seen.
_LONGEST_ROW = 3
_GAP = 0.02


@dataclass(frozen=True, slots=True)
class Edited:
    """The result of an edit.

    Attributes:
        image: Mode ``RGB`` or ``RGBA``, at most 4096 pixels on each side.
        warnings: What was done otherwise than asked.
    """

    image: Image.Image
    warnings: tuple[media_pb2.Warning, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """A picture being edited.

    Attributes:
        image: As it is now.
        scale: Its pixels for each pixel of what the caller would have, below 1 where that was too large.
    """

    image: Image.Image
    scale: float = 1.0


def edited(
    prompt: str, pictures: Sequence[Image.Image], mask: Image.Image | None, size: tuple[int, int] | None, fonts: Fonts
) -> Edited:
    """Edit pictures as a prompt says in plain English.

    Several pictures become one: in the layout that the prompt names, else side by side or from four on in a grid. With a
    mask the operations change the first picture only, and it keeps its size. A size is reached exactly, by scaling and
    cutting off what sticks out. A prompt that names no operation is written onto the picture.

    Args:
        prompt: What to do.
        pictures: At least one, mode ``RGB`` or ``RGBA``, upright.
        mask: As large as the first picture: it may change where the mask is transparent or, if nothing of it is, not
            black. None means everywhere.
        size: Width and height of the result in pixels, or None for what the operations give.
        fonts: To letter with.

    Raises:
        InvalidMediaError: The mask has another size than the first picture.
    """
    weights = None if mask is None else _weights(mask, pictures[0])
    instruction = understood(prompt)
    layout = _layout(instruction.operations, len(pictures))
    operations = [operation for operation in instruction.operations if not isinstance(operation, Compose)]
    composing = len(pictures) > 1 and len(operations) < len(instruction.operations)
    warnings = _warnings_of_text([prompt] if not operations and not composing else _texts(operations), fonts)
    if not operations and not composing:
        warnings.append(_warning(media_pb2.WARNING_REASON_NOTHING_APPLIED, "prompt", _NOTHING))
    elif not instruction.understood:
        warnings.append(_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "prompt", _PARTLY))
    caption = "" if operations or composing else prompt
    if weights is None:
        work = _operated(_composed([_within(picture) for picture in pictures], layout), operations, caption, fonts)
    else:
        work, adjusted = _masked(pictures[0], weights, operations, caption, fonts)
        warnings.extend(adjusted)
        work = _composed([work, *(_within(picture) for picture in pictures[1:])], layout)
    image, sized = _sized(work, size)
    warnings.extend(sized)
    if weights is None:
        drawing.marked(image, drawing.MARK, fonts)
    return Edited(image, tuple(warnings))


_NOTHING = (
    "The sandbox found no operation in the instruction and wrote it onto the picture instead. It knows grayscale, blur, "
    "sharpen, rotate, flip, crop, resize, brighten, darken, contrast, saturation, sepia, invert, border, text, pixelate, "
    "vignette, watercolor, posterize, sketch and collage."
)
_PARTLY = "The sandbox applied what it understood of the instruction; at least one clause names nothing that it can do."


def _layout(operations: Sequence[Operation], count: int) -> Layout:
    named = [operation.layout for operation in operations if isinstance(operation, Compose)]
    if named:
        # "Combine them in a grid" names a layout and one that says nothing special.
        return next((layout for layout in named if layout != "row"), "row")
    return "row" if count <= _LONGEST_ROW else "grid"


def _texts(operations: Sequence[Operation]) -> list[str]:
    return [operation.text for operation in operations if isinstance(operation, AddText)]


def _warnings_of_text(texts: Sequence[str], fonts: Fonts) -> list[media_pb2.Warning]:
    missing = lettering.missing_characters("\n".join(texts), fonts)
    return [missing_warning(missing)] if missing else []


def missing_warning(missing: Sequence[str]) -> media_pb2.Warning:
    """Return the warning about characters of the prompt that no installed font has."""
    codes = ", ".join(f"U+{ord(char):04X}" for char in missing[:8]) + (", ..." if len(missing) > 8 else "")
    message = f"No installed font has {codes}; each is drawn as a box with its code."
    return _warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "prompt", message)


def _weights(mask: Image.Image, first: Image.Image) -> Image.Image:
    """Return how far each pixel may change: 0 not at all, 255 wholly."""
    if mask.size != first.size:
        raise InvalidMediaError(
            "The mask has another size than the first image.",
            Violation("mask", f"is {mask.width}x{mask.height}; the first image is {first.width}x{first.height} pixels"),
        )
    if mask.mode == "RGBA":
        return ImageChops.invert(mask.getchannel("A"))
    return mask.convert("L")


def _within(picture: Image.Image) -> _Work:
    if max(picture.size) <= MAX_SIDE:
        return _Work(picture)
    smaller = ImageOps.contain(picture, (MAX_SIDE, MAX_SIDE))
    return _Work(smaller, smaller.width / picture.width)


def _operated(work: _Work, operations: Sequence[Operation], caption: str, fonts: Fonts) -> _Work:
    for operation in operations:
        if isinstance(operation, Resize):
            work = _resized(work, operation)
        else:
            changed = _within(applied(work.image, operation, fonts, work.scale))
            work = _Work(changed.image, work.scale * changed.scale)
    if not caption:
        return work
    captioned = work.image.copy()
    drawing.panelled(captioned, caption, "sandbox: no operation found in this instruction", fonts)
    return _Work(captioned, work.scale)


def _resized(work: _Work, resize: Resize) -> _Work:
    width, height = work.image.size
    if resize.width and resize.height:
        wanted: tuple[float, float] = resize.width, resize.height
    elif resize.width:
        wanted = resize.width, height * resize.width / width
    elif resize.height:
        wanted = width * resize.height / height, resize.height
    else:
        factor = resize.factor / work.scale
        wanted = width * factor, height * factor
    shrink = min(1.0, MAX_SIDE / max(wanted))
    target = max(1, round(wanted[0] * shrink)), max(1, round(wanted[1] * shrink))
    return _Work(work.image.resize(target, Image.Resampling.LANCZOS), shrink)


def _masked(
    first: Image.Image, weights: Image.Image, operations: Sequence[Operation], caption: str, fonts: Fonts
) -> tuple[_Work, list[media_pb2.Warning]]:
    start = _within(first)
    work = _operated(start, operations, caption, fonts)
    changed, warnings = work.image, []
    if changed.size != start.image.size:
        changed = ImageOps.fit(changed, start.image.size)
        message = "With a mask the picture keeps its size; what the instruction made of it was scaled and cut to fit."
        warnings.append(_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "mask", message))
    changed = changed.copy() if changed is start.image else changed
    # The mark is a change like any other: it shows where the mask lets it.
    drawing.marked(changed, drawing.MARK, fonts)
    mode = "RGBA" if "RGBA" in (changed.mode, start.image.mode) else "RGB"
    mixed = Image.composite(changed.convert(mode), start.image.convert(mode), weights.resize(start.image.size))
    return _Work(mixed, start.scale), warnings


def _composed(works: Sequence[_Work], layout: Layout) -> _Work:
    """Put pictures into one on white, with a narrow gap between them; the first sets the measure."""
    if len(works) == 1:
        return works[0]
    pictures = [on_white(work.image) for work in works]
    columns = {"row": len(pictures), "column": 1, "grid": math.ceil(math.sqrt(len(pictures)))}[layout]
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].size
    if layout == "row":
        cells = [(picture.width * height / picture.height, float(height)) for picture in pictures]
        total = sum(cell[0] for cell in cells), float(height)
    elif layout == "column":
        cells = [(float(width), picture.height * width / picture.width) for picture in pictures]
        total = float(width), sum(cell[1] for cell in cells)
    else:
        cells = [(float(width), float(height))] * len(pictures)
        total = float(width * columns), float(height * rows)
    gap = min(width, height) * _GAP
    total = total[0] + gap * (columns - 1), total[1] + gap * (rows - 1)
    shrink = min(1.0, MAX_SIDE / max(total))
    canvas = Image.new("RGB", (max(1, round(total[0] * shrink)), max(1, round(total[1] * shrink))), "white")
    left = top = 0.0
    for index, (picture, cell) in enumerate(zip(pictures, cells, strict=True)):
        if index and index % columns == 0:
            left, top = 0.0, top + cells[index - 1][1] + gap
        box = max(1, round(cell[0] * shrink)), max(1, round(cell[1] * shrink))
        fitted = ImageOps.contain(picture, box)
        inset = (box[0] - fitted.width) // 2, (box[1] - fitted.height) // 2
        canvas.paste(fitted, (round(left * shrink) + inset[0], round(top * shrink) + inset[1]))
        left += cell[0] + gap
    return _Work(canvas, works[0].scale * shrink)


def _sized(work: _Work, size: tuple[int, int] | None) -> tuple[Image.Image, list[media_pb2.Warning]]:
    image = work.image
    if size is None:
        if work.scale >= 1:
            return image.copy(), []
        message = f"The result would have more than {MAX_SIDE} pixels on a side and was scaled to {image.width}x{image.height}."
        return image.copy(), [_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "size", message)]
    result = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if abs(image.width * size[1] - image.height * size[0]) <= max(size):
        return result, []
    message = (
        f"The result had {image.width}x{image.height} pixels; it was scaled to cover the size, and its edges were cut."
    )
    return result, [_warning(media_pb2.WARNING_REASON_VALUE_ADJUSTED, "size", message)]


def _warning(reason: media_pb2.WarningReason.ValueType, field: str, message: str) -> media_pb2.Warning:
    return media_pb2.Warning(reason=reason, field=field, message=message)
