"""The vendor's own words, as far as they may reach callers, logs and spans."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CHARACTERS = 200

# An echo of the caller's text is recognised by this many characters in a row.
_ECHO = 12
# Shorter text says nothing, and would be found in every sentence.
_SHORTEST_PRIVATE = 4
_LONGEST_QUOTE = 40

_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://|data:)\S+", re.IGNORECASE)
_KEY = re.compile(r"\bsk-\S+", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_QUOTES = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|“[^”]*”|‘[^’]*’|「[^」]*」|《[^》]*》")
_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9._:-]+")


def safe(message: str, private: Iterable[str] = ()) -> str:
    """Return what may be shown of a message of the vendor: at most 200 characters, or nothing.

    Addresses, keys, long tokens and long quotations are taken out. If what is left shares twelve characters in a row with
    the caller's own text, nothing is shown at all, because the vendor then repeats it.

    Args:
        message: Anything.
        private: Texts of the caller, such as the prompt.
    """
    text = " ".join("".join(one if one.isprintable() else " " for one in message).split())
    text = _KEY.sub("[key]", _ADDRESS.sub("[address]", text))
    text = _QUOTES.sub(lambda quote: quote[0] if len(quote[0]) <= _LONGEST_QUOTE else "[…]", text)
    text = _TOKEN.sub("[…]", text)
    if any(_echoes(text, " ".join(one.split())) for one in private):
        return ""
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def identifier(text: str, longest: int = 128) -> str:
    """Return a code or id of the vendor without anything that has no place in one."""
    return _NOT_IDENTIFIER.sub("", text)[:longest]


def _echoes(message: str, text: str) -> bool:
    if len(text) < _SHORTEST_PRIVATE:
        return False
    message, text = message.casefold(), text.casefold()
    if len(text) <= _ECHO:
        return text in message
    return any(message[start : start + _ECHO] in text for start in range(len(message) - _ECHO + 1))
