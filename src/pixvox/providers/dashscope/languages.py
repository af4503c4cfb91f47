"""The languages of the vendor's voices: BCP-47 tags in our contract, names or bare ISO 639-1 codes on the vendor's side.

Source: "Qwen-TTS Realtime client events" (``language_type``) and "Qwen-TTS voice cloning" (``language``).
"""

from __future__ import annotations

AUTOMATIC = "Auto"

_NAMES = {
    "zh": "Chinese",
    "en": "English",
    "de": "German",
    "it": "Italian",
    "pt": "Portuguese",
    "es": "Spanish",
    "ja": "Japanese",
    "ko": "Korean",
    "fr": "French",
    "ru": "Russian",
}
_CODES = {name: code for code, name in _NAMES.items()}

LANGUAGE_CODES = tuple(_NAMES)


def language_name(language_code: str) -> str:
    """Return the ``language_type`` for a BCP-47 tag, whose region the vendor does not know; ``Auto`` for an empty one.

    Raises:
        KeyError: The vendor does not speak the language; capability tables keep such tags away.
    """
    return _NAMES[primary_code(language_code)] if language_code else AUTOMATIC


def language_code_of(name: str) -> str:
    """Return the tag for a ``language_type``; empty for ``Auto``.

    Raises:
        KeyError: There is no such language.
    """
    return "" if name == AUTOMATIC else _CODES[name]


def primary_code(language_code: str) -> str:
    """Return the bare lower-case language of a BCP-47 tag, as the customization service has it; empty for an empty one."""
    return language_code.split("-", 1)[0].lower()
