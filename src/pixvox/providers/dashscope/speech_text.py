"""The caller's text on its way to the vendor: what of it can be spoken now. Pure: no clock, no input or output."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.v1 import speech_service_pb2

# Of one segment, in code points. The vendor's realtime limit is not documented; this is the one of its HTTP models.
LONGEST = 600
# Lengths in Latin letters, about 60 ms each, from which on a segment may end with a clause: the first one of a turn early,
# because somebody is waiting for it; and from which on it may end between two words.
_FIRST_CLAUSE = 40
_CLAUSE = 120
_WORDS = 250

_CLOSING = "\"'”’»)\\]}」』】"
_SENTENCE_END = re.compile(rf"(?:[。！？｡]+[{_CLOSING}]*|[.!?…]+[{_CLOSING}]*(?=\s)|\n)\s*")
_CLAUSE_END = re.compile(r"[,;:–—]\s+|[，、；：､]\s*")
_WORD_END = re.compile(r"\s+|(?<=[\u2e80-\u9fff])")
_LAST_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")
_WRITTEN_WITH_A_DOT = "dr mr mrs ms prof st vs etc nr bzw ca ggf usw sr sra jr mme sig dott ул гг"
_ABBREVIATIONS = frozenset(_WRITTEN_WITH_A_DOT.split())


@dataclass(slots=True)
class _Stretch:
    """Text up to a flush, or up to where the caller has got."""

    text: str = ""
    flush: speech_service_pb2.Flush | None = None


class Script:
    """Collects the text of one call, and gives it out in segments that are spoken one after another.

    Segments are asked for whenever the vendor has nothing to speak. What is complete by then comes out together: up to the
    last sentence that has ended, to a flush, or to the end of the text. Where no sentence has ended, a long one is parted
    behind a clause, and at last between words. All segments in order are the text, but for blanks at its end.
    """

    def __init__(self) -> None:
        self._stretches = deque([_Stretch()])
        self._ended = False
        self._fresh = True
        self._tried = False

    @property
    def unfinished(self) -> bool:
        """Whether there is text that waits for more of it, and that `pause` has not been tried on."""
        return not self._tried and not self._closed and not self._blank

    @property
    def over(self) -> bool:
        """Whether all text was given out, and all flushes."""
        return self._ended and len(self._stretches) == 1 and self._blank

    def write(self, text: str) -> None:
        """Add text, which may break off anywhere."""
        self._stretches[-1].text += text
        self._tried = False

    def mark(self, flush: speech_service_pb2.Flush) -> None:
        """Add a flush behind the text so far."""
        self._stretches[-1].flush = flush
        self._stretches.append(_Stretch())

    def end(self) -> None:
        """Note that no more text comes."""
        self._ended = True

    def take(self) -> str:
        """Return the next segment, or nothing if none is complete."""
        return "" if self._blank else self._cut(self._complete())

    def pause(self) -> str:
        """Return what there is up to its last whole word, or nothing: for when no more text comes for a while."""
        self._tried = True
        ends = [match.end() for match in _WORD_END.finditer(self._stretches[0].text[:LONGEST])]
        return "" if self._blank or not ends else self._cut(ends[-1])

    def give_back(self, segment: str) -> None:
        """Take back the segment that was given out last."""
        self._stretches[0].text = segment + self._stretches[0].text

    @property
    def flush(self) -> speech_service_pb2.Flush | None:
        """The next flush, if all text before it was given out."""
        return self._stretches[0].flush if self._blank else None

    def answer(self) -> None:
        """Go on behind `flush`."""
        answered = self._stretches.popleft()
        # Blanks belong to the text that follows.
        self._stretches[0].text = answered.text + self._stretches[0].text
        self._fresh = True

    @property
    def _blank(self) -> bool:
        text = self._stretches[0].text
        return not text or text.isspace()

    @property
    def _closed(self) -> bool:
        """Whether the text before the next flush, or all of it, has come."""
        return self._ended or len(self._stretches) > 1

    def _complete(self) -> int:
        """Return where the segment that is complete ends, 0 if there is none."""
        text = self._stretches[0].text
        if self._closed and len(text) <= LONGEST:
            return len(text)
        window = text[:LONGEST]
        end = max(_sentence_ends(window), default=0)
        weight = _weight(window)
        if not end and weight >= (_FIRST_CLAUSE if self._fresh else _CLAUSE):
            end = max((match.end() for match in _CLAUSE_END.finditer(window)), default=0)
        if not end and weight >= _WORDS:
            end = max((match.end() for match in _WORD_END.finditer(window)), default=0)
        return end or (LONGEST if len(text) > LONGEST else 0)

    def _cut(self, end: int) -> str:
        stretch = self._stretches[0]
        segment, stretch.text = stretch.text[:end], stretch.text[end:]
        if segment:
            self._fresh = False
        return segment


def billed_characters(text: str) -> int:
    """Return how many characters the vendor bills for a text: an ideograph counts 2, all else 1.

    Which scripts beside Han count 2 it does not say, so what it reports wins over this. Source: "Qwen-TTS API".
    """
    return len(text) + sum(1 for character in text if character >= "\u3400" and _is_ideograph(character))


def _sentence_ends(text: str) -> Iterator[int]:
    for match in _SENTENCE_END.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if before.strip() and not (match[0].startswith(".") and _goes_on(before, match[0])):
            yield match.end()


def _goes_on(before: str, mark: str) -> bool:
    """Tell whether a full stop ends no sentence: "3. Mai" and "J. S. Bach" go on, "in 1999. Then" does not."""
    word = _LAST_WORD.search(before)
    if word is None or mark.startswith(".."):
        return False
    short = len(word[0]) <= 2 if word[0].isdecimal() else len(word[0]) == 1
    return short or "." in word[0] or word[0].lower() in _ABBREVIATIONS


def _weight(text: str) -> int:
    """Return about how long it takes to speak."""
    return len(text) + sum(2 for character in text if character >= "\u2e80")


def _is_ideograph(character: str) -> bool:
    """Tell whether it is a Han character: unified, its extensions, or a compatibility form."""
    code = ord(character)
    return (
        0x3400 <= code <= 0x4DBF or 0x4E00 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x323AF
    )
