"""The languages that the sandbox speaks: the espeak-ng voice of each, and which of them a text is in."""

from __future__ import annotations

import re
from collections import Counter

from pixvox.errors import UnsupportedError, Violation

# The first voice speaks the language where no region decides otherwise; regions are those of BCP-47.
_VOICES: dict[str, tuple[str, dict[str, str]]] = {
    "zh": ("cmn", {}),
    "en": ("en-us", dict.fromkeys(("gb", "au", "ie", "in", "nz", "za"), "en")),
    "de": ("de", {}),
    "it": ("it", {}),
    "pt": ("pt", {"br": "pt-br"}),
    "es": ("es", dict.fromkeys(("419", "ar", "bo", "cl", "co", "cr", "ec", "mx", "pe", "us", "uy", "ve"), "es-419")),
    "ja": ("ja", {}),
    "ko": ("ko", {}),
    "fr": ("fr", {"be": "fr-be", "ch": "fr-ch"}),
    "ru": ("ru", {}),
}
LANGUAGE_CODES = tuple(_VOICES)

# The commonest short words, which name the language of a sentence nearly always.
_WORDS = {
    "en": "the of and to is that it was for you with are this be have from not but they what there will your i a in my",
    "de": "der die das und ist nicht ein eine ich sie es zu den mit auf für von im dem wir auch wie sich aber guten",
    "it": "il di che la è e un non per una sono con si mi ho lo ma gli della le questo buongiorno del alla molto anche",
    "pt": "o de que e não um uma para é com os por eu mais as dos como mas você muito do da bom em tem são olá isso",
    "es": "el de que la y en un los por con no una su para es lo las del está muy yo pero como hola más buenos este",
    "fr": "le de la les et est des un une que pas vous je il dans pour ce sur au nous avec elle bonjour très mais sont",
}
_LANGUAGES_OF_WORD = {
    word: tuple(code for code, words in _WORDS.items() if word in words.split())
    for word in {word for words in _WORDS.values() for word in words.split()}
}
_LANGUAGES_OF_LETTER = {
    **dict.fromkeys("äöß", ("de",)),
    **dict.fromkeys("ñ¿¡", ("es",)),
    **dict.fromkeys("ãõ", ("pt",)),
    **dict.fromkeys("œèêàâûî", ("fr",)),
    **dict.fromkeys("ìòù", ("it",)),
    "ç": ("fr", "pt"),
}
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_SCRIPTS = {
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
    "ja": re.compile("[\u3041-\u30ff\uff66-\uff9f]"),
    "zh": re.compile("[\u3400-\u9fff\uf900-\ufaff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
}
# A character of these carries as much as so many Latin letters.
_LETTERS_WORTH = {"ko": 2, "ja": 2, "zh": 3, "ru": 1}


def voice_of(language_code: str) -> str:
    """Return the espeak-ng voice for a BCP-47 tag; a region without a voice of its own gets the language's.

    Raises:
        UnsupportedError: The sandbox does not speak the language.
    """
    language, *subtags = language_code.lower().split("-")
    if language not in _VOICES:
        raise UnsupportedError(
            "The sandbox does not speak that language.",
            Violation("config.language_code", f"allowed: {', '.join(LANGUAGE_CODES)}, with any region, or empty"),
        )
    voice, regions = _VOICES[language]
    return next((regions[subtag] for subtag in subtags if subtag in regions), voice)


class Guess:
    """Guesses the language of each segment from its script and, in Latin script, from all words so far."""

    def __init__(self) -> None:
        self._votes: Counter[str] = Counter()
        self._latin = "en"
        self._han = "zh"

    def language_of(self, segment: str) -> str:
        """Return one of `LANGUAGE_CODES`."""
        worth = {code: worth * len(_SCRIPTS[code].findall(segment)) for code, worth in _LETTERS_WORTH.items()}
        if worth["ja"]:
            # Han among kana is Japanese, and so is a later segment of Han alone.
            self._han = "ja"
        worth[self._han] += worth.pop("zh") if self._han == "ja" else 0
        script = max(worth, key=lambda code: worth[code])
        if worth[script] > len(_LATIN.findall(segment)):
            return script
        return self._latin_language_of(segment)

    def _latin_language_of(self, segment: str) -> str:
        text = segment.lower()
        for word in _WORD.findall(text):
            self._votes.update(_LANGUAGES_OF_WORD.get(word, ()))
        for letter in text:
            self._votes.update(_LANGUAGES_OF_LETTER.get(letter, ()))
        best = max(self._votes.values(), default=0)
        # A tie changes nothing.
        if self._votes[self._latin] < best:
            self._latin = next(code for code in _WORDS if self._votes[code] == best)
        return self._latin
