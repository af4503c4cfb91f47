"""Cuts text that trickles in into segments that can be spoken on their own. Pure: no clock, no input or output."""

from __future__ import annotations

import re
from typing import Final

# Lengths are in the time that a Latin letter takes to speak, about 60 ms.
LONGEST: Final = 250
# At the end of a clause a segment may stop when it is so long; espeak-ng speaks clause by clause anyway.
LONG: Final = 60

_SENTENCE_MARKS = ".!?…"
_CLAUSE_MARKS = ",;:–—"
_WIDE_SENTENCE_MARKS = "。！？｡"
_WIDE_CLAUSE_MARKS = "，、；：､"
_CLOSING = "\"'”’»)]}"
# What is written with a dot in the languages of the sandbox, in lower case and without it.
_ABBREVIATIONS_OF_LANGUAGES = {
    "en": "dr mr mrs ms prof st sr jr vs etc gen col capt lt sgt rev hon fig vol pp inc ltd corp dept est approx",
    "de": "nr bzw ca evtl ggf inkl bspw abs aufl usw tel",
    "it": "dott sig sigg ing avv pag sez",
    "es, pt": "sra ud uds dra srta núm pág av",
    "fr": "mme mlle mm cf env",
    "ru": "т.е т.д т.п т.к г гг ул стр рис руб",
}
_ABBREVIATIONS = frozenset(word for words in _ABBREVIATIONS_OF_LANGUAGES.values() for word in words.split())
_LAST_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")


class Segmenter:
    """Collects text and gives out segments; all segments in order are the text, letter by letter.

    A segment ends behind the mark and the space that end a sentence, at the end of a line, behind the end of a clause
    when it is long, and between words when it cannot grow any more.
    """

    def __init__(self) -> None:
        self._pending = ""
        self._restart()

    @property
    def pending(self) -> str:
        """What is not given out yet."""
        return self._pending

    def push(self, text: str) -> list[str]:
        """Add text and return the segments that it completes."""
        self._pending += text
        segments = []
        while end := self._next_end():
            segments.append(self._cut(end))
        return segments

    def flush(self) -> list[str]:
        """Return all that is pending, as one segment or none."""
        return [self._cut(len(self._pending))] if self._pending else []

    def pause(self) -> list[str]:
        """Return what is pending up to its last whole word, as one segment or none: for when no more text comes."""
        end = _last_word_end(self._pending)
        return [self._cut(end)] if self._pending[:end].strip() else []

    def _next_end(self) -> int:
        """Read on and return where the next segment ends, 0 if that is not known yet."""
        text = self._pending
        while self._read < len(text):
            here = text[self._read]
            self._read += 1
            self._weight += _weight(here)
            if here.isspace():
                self._word_end = self._read
            if self._ends(here):
                return self._read
            if self._weight >= LONGEST:
                return self._word_end or self._read
        return 0

    def _ends(self, here: str) -> bool:
        if here in _WIDE_SENTENCE_MARKS:
            return True
        long = self._weight >= LONG
        if here in _WIDE_CLAUSE_MARKS:
            return long
        if not here.isspace():
            return False
        # Enough to find an abbreviation in.
        before = self._pending[max(0, self._read - 40) : self._read - 1].rstrip(_CLOSING)
        if here == "\n":
            return bool(before.strip())
        return _ends_sentence(before) or (long and before.endswith(tuple(_CLAUSE_MARKS)))

    def _cut(self, end: int) -> str:
        segment, self._pending = self._pending[:end], self._pending[end:]
        self._restart()
        return segment

    def _restart(self) -> None:
        self._read = 0
        self._weight = 0
        self._word_end = 0


def ends_with_mark(segment: str) -> bool:
    """Return whether a segment ends with a mark after which a speaker pauses."""
    marks = (_SENTENCE_MARKS, _CLAUSE_MARKS, _WIDE_SENTENCE_MARKS, _WIDE_CLAUSE_MARKS)
    return segment.rstrip().rstrip(_CLOSING).endswith(tuple("".join(marks))) or segment.endswith("\n")


def _ends_sentence(text: str) -> bool:
    if not text.endswith(tuple(_SENTENCE_MARKS)):
        return False
    if not text.endswith(".") or text.endswith(".."):
        return True
    word = _LAST_WORD.search(text[:-1])
    if word is None:
        return True
    # "3. Mai" and "J. S. Bach" go on, "in 1999. Then" does not.
    short = len(word[0]) <= 2 if word[0].isdecimal() else len(word[0]) == 1
    return not short and "." not in word[0] and word[0].lower() not in _ABBREVIATIONS


def _last_word_end(text: str) -> int:
    """Return the place behind the last word that is surely whole, 0 if there is none."""
    bare = text.rstrip(_CLOSING)
    # After a digit "." and "," may be part of a number.
    if ends_with_mark(text) and not bare[-2:-1].isdecimal():
        return len(text)
    for place in range(len(text), 0, -1):
        if text[place - 1].isspace() or _is_wide(text[place - 1]):
            return place
    return 0


def _is_wide(character: str) -> bool:
    """Return whether it is of a script without spaces: Han, kana, and their marks."""
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000"


def _weight(character: str) -> int:
    """Return about how long it takes to speak; what a voice has no sound for, it spells out."""
    if character < "\u0e00":
        return 4 if character.isdecimal() else 1
    if "\u3040" <= character <= "\u30ff" or "\uac00" <= character <= "\ud7ff" or "\u1e00" <= character <= "\u206f":
        return 2
    return 6
