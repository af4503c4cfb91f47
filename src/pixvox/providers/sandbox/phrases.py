"""What an operation named in plain English is to do: how much, which way, what colour, where."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import ImageColor

from pixvox.providers.sandbox.operations import (
    AddText,
    Blur,
    Border,
    Brighten,
    Compose,
    Contrast,
    Crop,
    CropPart,
    CropTo,
    Flip,
    Operation,
    Pixelate,
    Resize,
    Rotate,
    Saturate,
    Sharpen,
    Vignette,
)

if TYPE_CHECKING:
    from pixvox.providers.sandbox.operations import Horizontal, Vertical

# A quoted text stands in the instruction as its number between two of these.
QUOTE = "\x00"
UNQUOTED = (
    r"(?:text|caption|title|words?|label|message|slogan|watermark)"
    r"(?:\s+[^.;!?,:\n]{0,40}?)??\s*(?:\b(?:saying|that says|that reads|which says|reading)\b|:)\s*"
    rf"(?P<words>[^\s{QUOTE}.;!?\n](?:[^{QUOTE}.;!?\n,]*?))"
    r"(?=\s+(?:at|in|on|along|across|near)\s+(?:the\s+|a\s+)?(?:top|bottom|cent|middle|upper|lower|left|right|corner|\w+\s+(?:colou?r|letters?)|"
    r"(?:red|green|blue|white|black|yellow|orange|purple|pink|gold|silver|gr[ae]y|brown)\b)"
    r"|\s+(?:and|then)\s+|[.;!?,\n]|\s*$)"
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Where an operation is named.

    Attributes:
        before: The words before it that belong to it.
        named: The words that name it.
        after: The words after it that belong to it.
        quotes: The quoted texts of the whole instruction.
    """

    before: str
    named: str
    after: str
    quotes: tuple[str, ...] = ()

    def find(self, pattern: str) -> re.Match[str] | None:
        """Return the first match in the words after, else in the name itself, else before."""
        found = (re.search(pattern, words, re.IGNORECASE) for words in (self.after, self.named, self.before))
        return next((match for match in found if match), None)

    def number(self, pattern: str) -> float | None:
        """Return the number in the pattern's first group, if it is found."""
        match = self.find(pattern)
        return float(match[1]) if match else None


_NUMBER = r"(\d{1,5}(?:\.\d{1,4})?)"
_PERCENT = rf"{_NUMBER}\s*(?:%|per ?cent)"
_PIXELS = rf"{_NUMBER}\s*-?(?:px|pixels?)\b"
_SIZE = r"(\d{1,5})\s*(?:px|pixels?)?\s*(?:x|×|\*|by)\s*(\d{1,5})\b"
TONES = "brightness|exposure|contrast|saturation|vibrance|colou?r intensity|sharpness|clarity"
MORE = "increas|rais|boost|more|higher|enhanc|add|stronger|improv|high|bump|turn up|strong|doubl|crank"
LESS = "decreas|reduc|lower|less|drop|weaker|low|turn down|tone down|halv|dampen|dim|cut"


def _strength(phrase: Phrase) -> float:
    if phrase.find(
        r"\b(?:slight|subtl|gentl|mild|soft|faint|some ?what|barely|light(?:ly)?\b|a (?:little|bit|touch|tad))"
    ):
        return 0.5
    if phrase.find(
        r"\b(?:strong|heav(?:y|ily)|very|much|a lot|extreme|intens|significant|dramatic|really|hard\b|maxim)"
    ):
        return 2.0
    return 1.0


def _factor(phrase: Phrase, *, up: bool) -> float:
    """Read how much more or less of something: 1 is no change."""
    if phrase.find(r"\b(?:doubl\w*|twice)\b"):
        return 2.0
    if phrase.find(r"\bhal(?:f|v\w+)\b"):
        return 0.5 if not up else 1.5
    percent = phrase.number(_PERCENT)
    if percent is None:
        step = 0.25 * _strength(phrase)
        return 1 + step if up else 1 - step
    if phrase.find(rf"\bto\s+{_PERCENT}"):
        return percent / 100
    return 1 + percent / 100 if up else max(0.0, 1 - percent / 100)


def _colour(phrase: Phrase) -> str | None:
    match = phrase.find(r"(#(?:[0-9a-f]{8}|[0-9a-f]{6}|[0-9a-f]{3,4})\b)")
    if match:
        return match[1]
    for words in (phrase.after, phrase.named, phrase.before):
        parts: list[str] = re.findall(r"[a-z]+", words.lower())
        for first, second in itertools.pairwise([*parts, ""]):
            # "light blue" is one colour.
            for name in (first + second, first):
                if name in ImageColor.colormap:
                    return name
    return None


def grey(phrase: Phrase) -> list[Operation]:
    percent = phrase.number(_PERCENT) if phrase.named.lower().startswith("desat") else None
    partly = 0.5 if phrase.find(r"\b(?:partial|half)") or _strength(phrase) < 1 else 0.0
    return [Saturate(max(0.0, 1 - percent / 100) if percent is not None else partly)]


def blur(phrase: Phrase) -> list[Operation]:
    pixels = phrase.number(_PIXELS) or phrase.number(
        rf"\b(?:by|radius|of|with|sigma|strength)\s+(?:of\s+|a\s+)?{_NUMBER}(?!\s*%)\b"
    )
    percent = phrase.number(_PERCENT)
    return [Blur(pixels, percent / 50 if percent else _strength(phrase))]


def sharpen(phrase: Phrase) -> list[Operation]:
    percent = phrase.number(_PERCENT)
    return [Sharpen(percent / 50 if percent else _strength(phrase))]


def rotate(phrase: Phrase) -> list[Operation]:
    if phrase.find(r"upside[- ]down"):
        return [Flip(horizontal=False) if re.match("flip|mirror", phrase.named, re.IGNORECASE) else Rotate(180)]
    words = phrase.named + phrase.after
    match = re.search(rf"([-+−]?)\s*{_NUMBER}\s*-?(?:°|deg)", words + phrase.before, re.IGNORECASE) or re.search(
        rf"(?:by|rotat\w*|rotation|of|turn\w*|it)\s+([-+−]?){_NUMBER}\b", words, re.IGNORECASE
    )
    degrees = float(match[2]) if match else 90.0
    if not match and phrase.find(r"\bhalf[- ](?:a[- ])?turn|around\b"):
        degrees = 180.0
    back = phrase.find(r"counter|anti-?\s?clock|\bccw\b|\bleft\b")
    if bool(match and match[1] in ("-", "−")) != bool(back):
        degrees = -degrees
    return [Rotate(degrees % 360)]


def flip(phrase: Phrase) -> list[Operation]:
    words = f"{phrase.before} {phrase.named} {phrase.after}".lower()
    vertical = re.search(r"vertical|top[- ](?:to[- ])?bottom|upside", words)
    horizontal = re.search(r"horizontal|left[- ](?:to[- ])?right|sideways", words)
    if horizontal and vertical:
        first_horizontal = horizontal.start() < vertical.start()
        return [Flip(horizontal=first_horizontal), Flip(horizontal=not first_horizontal)]
    return [Flip(horizontal=not vertical)]


_ASPECTS = {
    "square": 1.0,
    "portrait": 3 / 4,
    "landscape": 4 / 3,
    "wide ?screen": 16 / 9,
    "cinema": 21 / 9,
    "panoram": 2.0,
}
_PARTS = {
    "left": (0.0, 0.0, 1.0, 0.0),
    "right": (1.0, 0.0, 0.0, 0.0),
    "(?:top|upper)": (0.0, 0.0, 0.0, 1.0),
    "(?:bottom|lower)": (0.0, 1.0, 0.0, 0.0),
}


def crop(phrase: Phrase) -> list[Operation]:
    for share, word in ((1 / 2, "half"), (1 / 3, "third"), (1 / 4, "quarter")):
        for side, (left, top, right, bottom) in _PARTS.items():
            if phrase.find(rf"\b{side}(?:most)?[- ](?:hand )?{word}\b"):
                rest = 1 - share
                return [CropPart(left * rest, top * rest, 1 - right * rest, 1 - bottom * rest)]
    pair = phrase.find(rf"{_NUMBER}\s*(?:px|pixels?)?\s*(:|/|to|by|x|×)\s*{_NUMBER}\b")
    if pair and float(pair[1]) >= 1 and float(pair[3]) >= 1:
        width, height = float(pair[1]), float(pair[3])
        in_pixels = pair[2] in ("x", "×", "by", "X") and max(width, height) > 32
        return [CropTo(round(width), round(height)) if in_pixels else Crop(width / height)]
    percent = phrase.number(_PERCENT)
    if percent is not None and percent < 100:
        kept = percent / 100 if phrase.find(r"\bto\s+(?:the\s+)?(?:\w+\s+)?\d+\s*%") else 1 - percent / 100
        return [CropPart(0.5 - kept / 2, 0.5 - kept / 2, 0.5 + kept / 2, 0.5 + kept / 2)]
    return [Crop(next((ratio for word, ratio in _ASPECTS.items() if phrase.find(word)), 1.0))]


def resize(phrase: Phrase) -> list[Operation]:
    size = phrase.find(_SIZE)
    if size and int(size[1]) and int(size[2]):
        return [Resize(int(size[1]), int(size[2]))]
    width = phrase.number(rf"\bwidth\s*(?:of|to|=|:|is)?\s*{_NUMBER}") or phrase.number(
        rf"{_NUMBER}\s*(?:px|pixels?)?[- ]wide\b"
    )
    height = phrase.number(rf"\bheight\s*(?:of|to|=|:|is)?\s*{_NUMBER}") or phrase.number(
        rf"{_NUMBER}\s*(?:px|pixels?)?[- ](?:high|tall)\b"
    )
    width = width or (phrase.number(rf"{_NUMBER}\s*(?:px|pixels?)\b") if not height else None)
    if width or height:
        return [Resize(round(width) if width else None, round(height) if height else None)]
    factor = _scale(phrase)
    return [Resize(factor=factor)] if factor else []


def _scale(phrase: Phrase) -> float | None:
    smaller = phrase.find(r"\b(?:shrink|reduc|smaller|down|decreas|halv)")
    larger = phrase.find(r"\b(?:enlarg|larger|bigger|up-?\s?(?:scal|siz|sampl)|increas|doubl|grow)")
    percent = phrase.number(_PERCENT)
    if percent:
        if phrase.find(rf"\bto\s+{_PERCENT}") or not (smaller or larger):
            return percent / 100
        return max(0.01, 1 - percent / 100) if smaller else 1 + percent / 100
    times = phrase.number(rf"{_NUMBER}\s*(?:x\b|×|times\b)") or phrase.number(
        rf"(?:\bby|factor of|×|\bx)\s*{_NUMBER}\b"
    )
    if times:
        return 1 / times if smaller else times
    for word, factor in (
        ("thrice|triple", 3.0),
        ("twice|doubl", 2.0),
        ("hal[fv]", 0.5),
        ("third", 1 / 3),
        ("quarter", 0.25),
    ):
        if phrase.find(word):
            return factor
    if re.match("make|enlarg|shrink", phrase.named, re.IGNORECASE) and (smaller or larger):
        return 0.5 if smaller else 2.0
    return None


def tones(phrase: Phrase) -> list[Operation]:
    """Read "increase the contrast and brightness by 20%" and "brightness +10%"."""
    up = _goes_up(phrase)
    if up is None:
        return []
    changes: list[Operation] = []
    for tone in re.findall(TONES, phrase.named.lower()):
        factor = _factor(phrase, up=up)
        if tone in ("brightness", "exposure"):
            changes.append(Brighten(factor))
        elif tone == "contrast":
            changes.append(Contrast(factor))
        elif tone in ("sharpness", "clarity"):
            changes.append(Sharpen(_strength(phrase)) if up else Blur(strength=0.5))
        else:
            changes.append(Saturate(factor))
    return changes


def _goes_up(phrase: Phrase) -> bool | None:
    words = f"{phrase.named} {phrase.after}"
    if re.search(rf"\b(?:{LESS})|\bdown\b|[-−]\s*\d", words, re.IGNORECASE):
        return False
    if re.search(rf"\b(?:{MORE})|\bup\b|\+\s*\d|\bto\s+\d|\bby\s+\d", words, re.IGNORECASE):
        return True
    return None


def brighten(phrase: Phrase) -> list[Operation]:
    return [Brighten(_factor(phrase, up=True))]


def darken(phrase: Phrase) -> list[Operation]:
    return [Brighten(_factor(phrase, up=False))]


def saturate(phrase: Phrase) -> list[Operation]:
    return [Saturate(_factor(phrase, up=not phrase.find(r"\bless\b|\bmuted\b|\bdull")))]


def contrast(phrase: Phrase) -> list[Operation]:
    return [Contrast(_factor(phrase, up=not phrase.find(r"\bless\b")))]


def border(phrase: Phrase) -> list[Operation]:
    if phrase.named.lower().startswith("fram") and not phrase.find(
        r"\b(?:add|put|draw|apply|give|with|surround|make|create|insert|want|need|in an?|px|pixels?|thick|thin|wide)\b|"
        r"^\s*(?:please\s+)?$|\b(?:it|this)\b"
    ):
        return []
    colour = _colour(phrase) or "black"
    pixels = phrase.number(_PIXELS) or phrase.number(rf"(?<![#\w.]){_NUMBER}(?![\w%]|\s*(?:%|per))")
    percent = phrase.number(_PERCENT)
    if pixels:
        return [Border(round(pixels), colour=colour)]
    share = percent / 100 if percent else 0.08 if phrase.find(r"\bthick|\bwide\b|\bbig|\blarge") else 0.04
    return [Border(None, 0.015 if phrase.find(r"\bthin|\bnarrow|\bsmall") else min(share, 0.5), colour)]


def add_text(phrase: Phrase) -> list[Operation]:
    texts = [phrase.quotes[int(number)] for number in re.findall(rf"{QUOTE}(\d+){QUOTE}", phrase.named)]
    unquoted = re.search(UNQUOTED, phrase.named, re.IGNORECASE)
    if not texts and unquoted:
        texts = [unquoted["words"]]
    text = "\n".join(texts).strip()
    if not text:
        return []
    # What is to be written is no place and no colour.
    place = Phrase(phrase.before, phrase.named[: unquoted.start("words") if unquoted else None], phrase.after)
    vertical: Vertical = "bottom"
    if place.find(r"\b(?:top|upper|above|head)"):
        vertical = "top"
    elif place.find(r"\b(?:cent(?:er|re)|middle)\b") and not place.find(r"\b(?:bottom|lower|below)\b"):
        vertical = "center"
    horizontal: Horizontal = "left" if place.find(r"\bleft\b") else "right" if place.find(r"\bright\b") else "center"
    scale = (
        1.6 if place.find(r"\b(?:big|large|huge|bold)\b") else 0.6 if place.find(r"\b(?:small|tiny|little)\b") else 1.0
    )
    return [AddText(text, vertical, horizontal, _colour(place), scale)]


def pixelate(phrase: Phrase) -> list[Operation]:
    pixels = phrase.number(_PIXELS) or phrase.number(rf"\b(?:by|of|size)\s+{_NUMBER}(?!\s*%)")
    return [Pixelate(max(1, round(pixels)) if pixels else None)]


def compose(phrase: Phrase) -> list[Operation]:
    words = f"{phrase.before} {phrase.named} {phrase.after}".lower()
    if re.search(r"side[- ]by[- ]side|horizontal|in a row|next to|left", words):
        return [Compose("row")]
    if re.search(r"\bstack|vertical|on top of|column|below|one above", words):
        return [Compose("column")]
    return [Compose("grid" if re.search(r"grid|collage|montage|mosaic|tile", words) else "row")]


def vignette(phrase: Phrase) -> list[Operation]:
    """Read a darkening towards the corners."""
    return [Vignette(_strength(phrase))]
