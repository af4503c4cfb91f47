"""Text as drawn lines: wrapped, fitted to a box, each stretch in a font that has it, right-to-left scripts in their order."""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pixvox.providers.sandbox.fonts import Face, Fonts

LINE_HEIGHT = 1.32
# Widths are measured once at this size and scaled; hinting makes the true ones differ by a hundredth or two.
_MEASURED_AT = 64
_SLACK = 1.02
# A box with hexadecimal digits stands for a character that no font has; in relation to the size of the text.
_BOX_WIDTH = 0.9
_BOX_DIGITS = 0.36

_JOINER = "\u200d"
_NOT_AT_LINE_START = frozenset("、。，．：；！？）］｝〉》」』】〕’”…‥ーぁぃぅぇぉっゃゅょァィゥェォッャュョ")
_NOT_AT_LINE_END = frozenset("（［｛〈《「『【〔‘“")
_FLAG_LETTER = re.compile("[\U0001f1e6-\U0001f1ff]")
_MODIFIER = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\u20e3\u200c\u200d]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u231a\u231b\u23e9-\u23f3\u2614\u2615\u26a1\u2728\u2753-\u2757\u2b50\u2b55]|.\ufe0f"
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One drawn sign.

    Attributes:
        text: Its characters.
        face: The font that has it, or None if no font does.
        rtl: Whether it runs from right to left, or None if its neighbours decide.
    """

    text: str
    face: Face | None
    rtl: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of signs in logical order, with the direction of its paragraph."""

    clusters: tuple[Cluster, ...]
    rtl: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """A text that has been fitted to a box.

    Attributes:
        lines: From the top.
        size: Of the letters in pixels.
        whole: False if the end was left out for an ellipsis.
    """

    lines: tuple[Line, ...]
    size: int
    whole: bool

    @property
    def height(self) -> int:
        """Of all lines together in pixels."""
        return round(len(self.lines) * self.size * LINE_HEIGHT)

    @property
    def width(self) -> int:
        """Of the longest line in pixels."""
        return round(max((_line_width(line, self.size) for line in self.lines), default=0))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of one line that is drawn at once."""

    text: str
    face: Face | None
    rtl: bool


_Word = tuple[Cluster, ...]


def missing_characters(text: str, fonts: Fonts) -> tuple[str, ...]:
    """Return the characters of a text that no font has, each once, in order."""
    absent = (cluster.text for line in _paragraphs(text, fonts) for cluster in line.clusters if cluster.face is None)
    return tuple(dict.fromkeys(itertools.chain.from_iterable(absent)))


def fitted(text: str, fonts: Fonts, box: tuple[int, int], sizes: tuple[int, int]) -> Setting:
    """Wrap a text into a box at the largest size that fits.

    Args:
        text: Any text; line breaks are kept, control and zero-width characters are dropped.
        fonts: To draw with.
        box: Width and height in pixels.
        sizes: Smallest and largest size in pixels. A text that does not fit at the smallest ends with an ellipsis.
    """
    width, height = box
    smallest, largest = sizes
    paragraphs = [(_words(line), line.rtl) for line in _paragraphs(text, fonts)]
    widths = {word: _width(word) for words, _ in paragraphs for word in words}
    unbroken = int(width * _MEASURED_AT / _SLACK / max((*widths.values(), 1.0)))
    low, high = smallest, min(largest, unbroken) if unbroken >= max(smallest, largest // 4) else largest
    best: Setting | None = None
    while low <= high:
        size = (low + high) // 2
        setting = Setting(_wrapped(paragraphs, widths, width * _MEASURED_AT / size), size, whole=True)
        if setting.height <= height:
            best, low = setting, size + 1
        else:
            high = size - 1
    return best or _shortened(_wrapped(paragraphs, widths, width * _MEASURED_AT / smallest), fonts, box, smallest)


def draw(image: Image.Image, place: tuple[int, int], setting: Setting, colour: str, *, width: int = 0) -> None:
    """Draw a setting onto an ``RGB`` or ``RGBA`` picture, its top left corner at `place`.

    Lines of right-to-left paragraphs end at `width`, which is the box's; at 0 they begin at the left as others do.
    """
    baseline = place[1] + setting.size * (LINE_HEIGHT / 2 + 0.36)
    for line in setting.lines:
        left = float(place[0])
        if line.rtl and width:
            left += width - _line_width(line, setting.size)
        for piece in _pieces(line):
            _draw_piece(image, (left, baseline), piece, setting.size, colour)
            left += _length(piece, setting.size)
        baseline += setting.size * LINE_HEIGHT


def _paragraphs(text: str, fonts: Fonts) -> list[Line]:
    text = unicodedata.normalize("NFC", text).strip()
    wide = fonts.best_for("".join(sorted({char for char in text if _is_wide(char) and not _EMOJI.match(char)})))
    lines = []
    for paragraph in text.splitlines():
        signs = _signs("".join(filter(_visible, paragraph.replace("\t", " "))))
        clusters = tuple(Cluster(sign, _face(sign, fonts, wide), _direction(sign)) for sign in signs)
        rtl = next((cluster.rtl for cluster in clusters if cluster.rtl is not None), False)
        lines.append(Line(clusters, rtl))
    return lines if any(line.clusters for line in lines) else []


def _visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs") or bool(_MODIFIER.match(char))


def _signs(text: str) -> Iterator[str]:
    """Part a text into what is drawn as one: a letter with its marks, a flag, what a joiner ties together."""
    sign = ""
    for char in text:
        attached = _MODIFIER.match(char) or unicodedata.category(char).startswith("M") or sign.endswith(_JOINER)
        flag = len(sign) == 1 and _FLAG_LETTER.match(sign) and _FLAG_LETTER.match(char)
        if sign and not attached and not flag:
            yield sign
            sign = ""
        if sign or not _MODIFIER.match(char):
            sign += char
    if sign:
        yield sign


def _face(sign: str, fonts: Fonts, wide: Face | None) -> Face | None:
    drawn = "".join(char for char in sign if not _MODIFIER.match(char))
    emoji = bool(_EMOJI.match(sign))
    if wide and not emoji and _is_wide(sign) and all(wide.has(char) for char in drawn):
        return wide
    return fonts.covering(drawn, emoji=emoji) or fonts.covering(drawn[0], emoji=emoji)


def _direction(sign: str) -> bool | None:
    match unicodedata.bidirectional(sign[0]):
        case "R" | "AL" | "AN":
            return True
        case "L" | "EN":
            return False
        case _:
            return None


def _words(line: Line) -> list[_Word]:
    """Part a line where it may be broken; a space is a word of its own."""
    words: list[list[Cluster]] = []
    for cluster in line.clusters:
        if words and not _may_break(words[-1][-1].text, cluster.text):
            words[-1].append(cluster)
        else:
            words.append([cluster])
    return [tuple(word) for word in words]


def _may_break(before: str, after: str) -> bool:
    if before == " " or after == " ":
        return True
    if after in _NOT_AT_LINE_START or before in _NOT_AT_LINE_END:
        return False
    # Korean has spaces between its words.
    if _HANGUL.match(before) and _HANGUL.match(after):
        return False
    return _is_wide(before) or _is_wide(after)


def _is_wide(sign: str) -> bool:
    return unicodedata.east_asian_width(sign[0]) in ("W", "F")


def _wrapped(
    paragraphs: Iterable[tuple[list[_Word], bool]], widths: dict[_Word, float], limit: float
) -> tuple[Line, ...]:
    """Break paragraphs into lines no wider than `limit`, in pixels at the size of measuring."""
    limit /= _SLACK
    lines: list[Line] = []
    for words, rtl in paragraphs:
        line: list[Cluster] = []
        used = 0.0
        for word, width in _narrow_enough(words, widths, limit):
            if line and used + width > limit and word[0].text != " ":
                lines.append(_trimmed(line, rtl))
                line, used = [], 0.0
            if line or word[0].text != " ":
                line.extend(word)
                used += width
        lines.append(_trimmed(line, rtl))
    return tuple(lines)


def _narrow_enough(words: list[_Word], widths: dict[_Word, float], limit: float) -> Iterator[tuple[_Word, float]]:
    for word in words:
        if widths[word] <= limit:
            yield word, widths[word]
        else:
            yield from (((cluster,), _width((cluster,))) for cluster in word)


def _trimmed(clusters: Sequence[Cluster], rtl: bool) -> Line:
    end = len(clusters)
    while end and clusters[end - 1].text == " ":
        end -= 1
    return Line(tuple(clusters[:end]), rtl)


def _shortened(lines: tuple[Line, ...], fonts: Fonts, box: tuple[int, int], size: int) -> Setting:
    count = int(box[1] / (size * LINE_HEIGHT))
    if count < 1:
        return Setting((), size, whole=not lines)
    last = lines[count - 1]
    ellipsis = tuple(Cluster(sign, fonts.covering(sign), None) for sign in "…")
    kept = last.clusters
    while kept and _line_width(Line(kept + ellipsis, last.rtl), size) > box[0]:
        kept = kept[:-1]
    return Setting((*lines[: count - 1], Line(kept + ellipsis, last.rtl)), size, whole=False)


def _line_width(line: Line, size: int) -> float:
    return sum(_length(piece, size) for piece in _pieces(line))


def _pieces(line: Line) -> list[_Piece]:
    """Join neighbours of one font and direction, and put them in the order in which they are seen from the left."""
    directions = _resolved([cluster.rtl for cluster in line.clusters], line.rtl)
    stretches = itertools.groupby(zip(line.clusters, directions, strict=True), key=lambda pair: (pair[0].face, pair[1]))
    pieces = [_Piece("".join(cluster.text for cluster, _ in stretch), *key) for key, stretch in stretches]
    if line.rtl:
        pieces.reverse()
    ordered: list[_Piece] = []
    for rtl, run in itertools.groupby(pieces, key=lambda piece: piece.rtl):
        ordered.extend(list(run)[:: 1 if rtl == line.rtl else -1])
    return ordered


def _resolved(directions: list[bool | None], base: bool) -> list[bool]:
    """Give each neutral sign the direction of its neighbours if they agree, else that of the paragraph."""
    following: list[bool] = []
    after = base
    for direction in reversed(directions):
        after = after if direction is None else direction
        following.append(after)
    resolved: list[bool] = []
    before = base
    for direction, after in zip(directions, reversed(following), strict=True):
        before = before if direction is None else direction
        resolved.append(before if before == after else base)
    return resolved


def _width(word: _Word) -> float:
    return sum(
        _length(_Piece("".join(cluster.text for cluster in stretch), face, rtl=False), _MEASURED_AT)
        for face, stretch in itertools.groupby(word, key=lambda cluster: cluster.face)
    )


def _length(piece: _Piece, size: int) -> float:
    if piece.face is None:
        return len(piece.text) * _BOX_WIDTH * size
    if piece.face.strike:
        return piece.face.at(piece.face.strike).getlength(piece.text) * size / piece.face.strike
    font = piece.face.at(size)
    text, direction = _shaped(piece, font)
    return font.getlength(text, direction=direction)


def _shaped(piece: _Piece, font: ImageFont.FreeTypeFont) -> tuple[str, str | None]:
    """Return what to hand to Pillow; without Raqm it draws from left to right whatever it gets."""
    if font.layout_engine == ImageFont.Layout.RAQM:
        return piece.text, "rtl" if piece.rtl else "ltr"
    return piece.text[::-1] if piece.rtl else piece.text, None


def _draw_piece(image: Image.Image, place: tuple[float, float], piece: _Piece, size: int, colour: str) -> None:
    if piece.face is None:
        for index, char in enumerate(piece.text):
            _draw_code(image, (place[0] + index * _BOX_WIDTH * size, place[1]), char, size, colour)
    elif piece.face.strike:
        _draw_coloured(image, place, piece, piece.face, size)
    else:
        font = piece.face.at(size)
        text, direction = _shaped(piece, font)
        ImageDraw.Draw(image).text(place, text, font=font, fill=colour, anchor="ls", direction=direction)


def _draw_coloured(image: Image.Image, place: tuple[float, float], piece: _Piece, face: Face, size: int) -> None:
    font = face.at(face.strike)
    left, top, right, bottom = font.getbbox(piece.text, anchor="ls")
    if right <= left or bottom <= top:
        return
    signs = Image.new("RGBA", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(signs).text((-left, -top), piece.text, font=font, anchor="ls", embedded_color=True)
    scale = size / face.strike
    signs = signs.resize(
        (max(1, round(signs.width * scale)), max(1, round(signs.height * scale))), Image.Resampling.BOX
    )
    image.paste(signs, (round(place[0] + left * scale), round(place[1] + top * scale)), signs)


def _draw_code(image: Image.Image, place: tuple[float, float], char: str, size: int, colour: str) -> None:
    drawing = ImageDraw.Draw(image)
    left, baseline = place
    top, bottom, right = baseline - 0.78 * size, baseline + 0.12 * size, left + (_BOX_WIDTH - 0.1) * size
    drawing.rectangle((left, top, right, bottom), outline=colour, width=max(1, size // 24))
    digits = f"{ord(char):04X}"
    if size * _BOX_DIGITS < 5:
        return
    font = ImageFont.load_default(size * _BOX_DIGITS)
    half = (len(digits) + 1) // 2
    for row, text in enumerate((digits[:half], digits[half:])):
        middle = (left + right) / 2, top + (bottom - top) * (0.3 + 0.42 * row)
        drawing.text(middle, text, font=font, fill=colour, anchor="mm")
