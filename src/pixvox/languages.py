"""The languages of Qwen3-TTS: BCP-47 tags in our contract, names or bare ISO 639-1 codes at whoever serves it.

Sources: "Qwen-TTS Realtime client events" (``language_type``) and "Qwen-TTS voice cloning" (``language``) of Alibaba Cloud
Model Studio; the card of Qwen3-TTS, whose names its other servers take, too.
"""

from __future__ import annotations

AUTOMATIC = "Auto"

LANGUAGE_NAMES = {
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
LANGUAGE_CODES = tuple(LANGUAGE_NAMES)


def language_name(language_code: str) -> str:
    """Return the name for a BCP-47 tag, whose region the model does not know.

    It is ``Auto``, which has the model find out, for no tag and for a language that it has no name for; capability tables
    keep the latter away.
    """
    return LANGUAGE_NAMES.get(primary_code(language_code), AUTOMATIC)


def primary_code(language_code: str) -> str:
    """Return the bare lower-case language of a BCP-47 tag; empty for an empty one."""
    return language_code.split("-", 1)[0].lower()
