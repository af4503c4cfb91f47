"""The names of languages: callers write a BCP-47 tag or the English name, the model knows its own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox_worker.speech import AUTO

if TYPE_CHECKING:
    from collections.abc import Sequence

# ISO 639 codes of the languages that Qwen3-TTS speaks, https://www.iana.org/assignments/language-subtag-registry
_NAMES = {
    "zh": "chinese",
    "cmn": "chinese",
    "en": "english",
    "ja": "japanese",
    "ko": "korean",
    "de": "german",
    "fr": "french",
    "ru": "russian",
    "pt": "portuguese",
    "es": "spanish",
    "it": "italian",
}


def resolve(given: str | None, known: Sequence[str]) -> str | None:
    """The one of `known` that is meant, or None where it is none of them. Nothing given means `auto`."""
    name = (given or AUTO).strip().lower()
    primary = name.replace("_", "-").partition("-")[0]
    for candidate in (name, _NAMES.get(primary)):
        if candidate in known:
            return candidate
    return None
