"""From an instruction in plain English to the operations that it names, in its order."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.providers.sandbox.phrases import QUOTE, Phrase
from pixvox.providers.sandbox.vocabulary import VOCABULARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pixvox.providers.sandbox.operations import Operation


@dataclass(frozen=True, slots=True)
class Instruction:
    """What was understood of an instruction.

    Attributes:
        operations: In the order in which they are named.
        understood: False if a clause of it names nothing that the sandbox can do.
    """

    operations: tuple[Operation, ...]
    understood: bool


@dataclass(frozen=True, slots=True)
class _Named:
    """An operation's name in the text."""

    start: int
    end: int
    reader: Callable[[Phrase], list[Operation]]


_QUOTED = re.compile(
    '"([^"]*)"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|「([^」]*)」|『([^』]*)』|‘((?:[^’]|’(?=\\w))*)’(?!\\w)'
    r"|(?<!\w)'((?:[^'\n]|(?<=\w)'(?=\w))+)'(?!\w)"
)
_NUMBER_WORDS = {
    r"two hundred (?:and )?seventy": "270",
    r"(?:a |one )?hundred (?:and )?eighty": "180",
    r"(?:a |one )?hundred": "100",
    r"ninety": "90",
    r"sixty": "60",
    r"fifty": "50",
    r"forty[- ]five": "45",
    r"thirty": "30",
    r"twenty[- ]five": "25",
    r"twenty": "20",
    r"fifteen": "15",
    r"ten": "10",
    r"five": "5",
}
_STOP = r"[.!?](?=\s|$)|[;\n]"
_CONNECTOR = re.compile(
    rf"{_STOP}|,(?!\d)|\b(?:and|then|also|plus|but|finally|next(?! to)|followed by|before|after(?:wards)?|while|instead)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(_STOP)
# After these verbs nothing happens, until the clause turns.
_NEGATED_VERB = re.compile(
    r"(?<!why )\b(?:(?:do|does|should|must|can|need)\s*(?:not|n't)|cannot|never|without|avoid(?:ing)?|instead of|rather than|"
    r"refrain from|not)\b(?!\s+(?:only|just|forget|hesitate|be afraid|too\b))",
    re.IGNORECASE,
)
_TURN = re.compile(rf"{_STOP}|\b(?:but|then|instead(?! of)|just|only|rather(?! than)|however)\b", re.IGNORECASE)
# Before these nouns an effect is taken away, or is not wanted.
_NEGATED_NOUN = re.compile(
    r"\b(?:no|remov(?:e|ing)|undo|reduc(?:e|ing)|less|delet(?:e|ing)|get rid of|eliminate|skip|lose|fix|ignore)\b(?P<scope>"
    r"(?:\s+(?!and\b|then\b|but\b)[\w'-]+){0,4}(?:,?\s+(?:or|and(?= (?:the|any|all|its)\b))(?:\s+(?!and\b|then\b)[\w'-]+){1,3})*)",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"\b(?:please|thanks?|thank you|kindly|could|can|would|you|i|want|like|to|it|this|the|a|an|my|image|picture|photo|"
    r"so|that|is|make|sure|do|just|now|all|of|for|me|edit|result|everything|else|as|with|in|at)\b|[^\w]+",
    re.IGNORECASE,
)
_DETAIL = re.compile(
    r"\d|\b(?:top|bottom|cent(?:er|re)|middle|left|right|clockwise|horizontal|vertical|degrees?|slightly|strongly|red|green|"
    r"blue|white|black|yellow|wide|thick|thin|keep|leave|same|unchanged|preserve|not|no|without|do|don't|never)\b",
    re.IGNORECASE,
)


def operations(prompt: str) -> list[Operation]:
    """Return the operations that an instruction names, in order; what it forbids or quotes is not among them.

    Args:
        prompt: English, in any case, with one or more clauses: "rotate it 90 degrees left, then add a 20px red border".
    """
    return list(understood(prompt).operations)


def understood(prompt: str) -> Instruction:
    """Read an instruction; see `operations`."""
    text, quotes = _without_quotes(prompt.replace(QUOTE, ""))
    for words, digits in _NUMBER_WORDS.items():
        text = re.sub(rf"\b{words}\b", digits, text, flags=re.IGNORECASE)
    named = _named(text)
    forbidden = [*_forbidden(text)]
    found: list[Operation] = []
    for index, one in enumerate(named):
        if any(start <= one.start < end for start, end in forbidden):
            continue
        before = named[index - 1].end if index else 0
        after = named[index + 1].start if index + 1 < len(named) else len(text)
        found.extend(one.reader(_phrase(text, one, before, after, quotes)))
    return Instruction(tuple(found), _all_read(text, named))


def _without_quotes(prompt: str) -> tuple[str, tuple[str, ...]]:
    quotes: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        quotes.append(next(group for group in match.groups() if group is not None))
        return f"{QUOTE}{len(quotes) - 1}{QUOTE}"

    return _QUOTED.sub(numbered, prompt).replace("’", "'"), tuple(quotes)


def _named(text: str) -> list[_Named]:
    """Find the operations' names; of overlapping ones the first counts, and of those that begin together the longest."""
    found = [
        _Named(match.start(), match.end(), reader) for pattern, reader in VOCABULARY for match in pattern.finditer(text)
    ]
    chosen: list[_Named] = []
    for one in sorted(found, key=lambda named: (named.start, -named.end)):
        if not chosen or one.start >= chosen[-1].end:
            chosen.append(one)
    return chosen


def _forbidden(text: str) -> Iterator[tuple[int, int]]:
    """Return the stretches of the text in which an operation is named only to say that it shall not be done."""
    for match in _NEGATED_NOUN.finditer(text):
        yield match.start("scope"), match.end("scope")
    for match in _NEGATED_VERB.finditer(text):
        turn = _TURN.search(text, match.end())
        clause = text[match.end() : turn.start() if turn else len(text)]
        yield (
            match.end(),
            match.end() + _reach(clause, gerund=match[0].lower().startswith(("without", "avoid", "rather", "instead"))),
        )


def _reach(clause: str, *, gerund: bool) -> int:
    """Return how far a negation reaches: to the comma, unless an "or" shows that the comma is one of a list."""
    last_or = max((match.end() for match in re.finditer(r"\b(?:n?or)\b", clause, re.IGNORECASE)), default=0)
    comma = re.compile(r",(?!\d)").search(clause, last_or)
    end = comma.start() if comma else len(clause)
    if gerund:
        # "without blurring and sharpen it": a plain verb begins something new.
        more = re.compile(r"\band\s+(?!(?:the|any|a)\b)(?!\w+ing\b)\w+", re.IGNORECASE).search(clause, last_or)
        end = min(end, more.start() if more else end)
    return end


def _phrase(text: str, one: _Named, previous_end: int, next_start: int, quotes: tuple[str, ...]) -> Phrase:
    """Give an operation the words around it: from the connector before it to the one before the next operation."""
    connectors = [match.end() for match in _CONNECTOR.finditer(text, previous_end, one.start)]
    start = connectors[-1] if connectors else previous_end
    stop = _SENTENCE_END.search(text, one.end, next_start)
    later = [match.start() for match in _CONNECTOR.finditer(text, one.end, next_start)]
    if stop:
        end = stop.start()
    elif next_start < len(text) and later:
        end = later[-1]
    else:
        end = next_start
    return Phrase(text[start : one.start], text[one.start : one.end], text[one.end : end], quotes)


def _all_read(text: str, named: list[_Named]) -> bool:
    """Say whether each clause names an operation, or at least says how to do one."""
    edges = [0, *(match.end() for match in _CONNECTOR.finditer(text)), len(text)]
    for start, end in itertools.pairwise(edges):
        clause = text[start:end]
        if any(one.start < end and one.end > start for one in named) or _DETAIL.search(clause):
            continue
        words = _FILLER.sub(" ", re.sub(_CONNECTOR, " ", clause)).split()
        if words:
            return False
    return True
