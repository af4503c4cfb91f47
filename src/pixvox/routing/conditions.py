"""Which calls a target takes, and how that is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixvox.routing.candidates import CallFacts
    from pixvox.settings import ConditionSettings

ANY = "*"


def conditions_text(when: ConditionSettings) -> str:
    """Return the conditions in one line, for example ``min_pixels=2000000, labels.tier=gold|silver``; empty without any."""
    return ", ".join(_texts(when))


def unmet(when: ConditionSettings, facts: CallFacts) -> list[str]:
    """Return a clause for each condition that a call fails, with what the call has instead.

    `when.verbs` is left out: it is known before any call.
    """
    return [*_unmet_pixels(when, facts), *_unmet_words(when, facts), *_unmet_labels(when, facts)]


def _texts(when: ConditionSettings) -> Iterator[str]:
    for field in when.__struct_fields__:
        value = getattr(when, field)
        if field == "labels":
            yield from (_text(f"labels.{key}", values) for key, values in when.labels.items())
        elif isinstance(value, int) and value:
            yield f"{field}={value}"
        elif not isinstance(value, int) and value:
            yield _text(field, value)


def _text(name: str, values: Sequence[str]) -> str:
    return f"{name}={'|'.join(values)}"


def _unmet_pixels(when: ConditionSettings, facts: CallFacts) -> Iterator[str]:
    asked = f"the call asks for {facts.pixels} pixels" if facts.pixels else "the call asks for no size"
    if when.min_pixels and facts.pixels < when.min_pixels:
        yield f"min_pixels={when.min_pixels} is not met: {asked}"
    if when.max_pixels and not 0 < facts.pixels <= when.max_pixels:
        yield f"max_pixels={when.max_pixels} is not met: {asked}"


def _unmet_words(when: ConditionSettings, facts: CallFacts) -> Iterator[str]:
    if when.voices and facts.voice not in when.voices:
        yield f"{_text('voices', when.voices)} is not met: {_has('voice', facts.voice)}"
    if when.languages and not any(_speaks(language, facts.language) for language in when.languages):
        yield f"{_text('languages', when.languages)} is not met: {_has('language', facts.language)}"
    if when.callers and facts.caller not in when.callers:
        yield f"{_text('callers', when.callers)} is not met: {_has('caller', facts.caller)}"


def _unmet_labels(when: ConditionSettings, facts: CallFacts) -> Iterator[str]:
    for key, values in when.labels.items():
        value = facts.labels.get(key)
        if value is None or (value not in values and ANY not in values):
            yield f"{_text(f'labels.{key}', values)} is not met: {_has(f'label {key}', value)}"


def _speaks(language: str, asked: str) -> bool:
    """Tell whether a tag is the language itself or a more special one. Source: RFC 4647, section 3.3.1."""
    language, asked = language.lower(), asked.lower()
    return asked == language or asked.startswith(f"{language}-")


def _has(what: str, value: str | None) -> str:
    return f"the call has no {what}" if value is None or not value else f"the call's {what} is {value}"
