"""The vendor's models that speak: which way each is reached, and what it takes.

Source: "Qwen-TTS Realtime client events", "Qwen-TTS API (non-realtime)", "Qwen-TTS voice cloning" and "voice design" of
Alibaba Cloud Model Studio. The legacy qwen-tts models, which are billed by tokens, are left out.
"""

from __future__ import annotations

import enum
from typing import Literal

from pixvox.languages import LANGUAGE_CODES
from pixvox.media import audio
from pixvox.v1 import model_service_pb2

SAMPLE_RATE_HERTZ = 24_000
DEFAULT_VOICE = "Cherry"

MAX_REALTIME_CHARACTERS = 2000
MAX_HTTP_CHARACTERS = 600

# The vendor's audio is made into these here; every encoding can have every one of them.
_RATES = (SAMPLE_RATE_HERTZ, 8000, 12000, 16000, 48000)

_REALTIME = "-realtime"
_INSTRUCT = "-instruct-"
# Speak with cloned and with designed voices.
_MADE = ("-vc-", "-vd-")
# Speaks fewer voices than its successors; which, the vendor does not say.
_OLD = "2025-09-18"

HttpLane = Literal["sse", "download"]


class Lane(enum.Enum):
    """How a model is reached."""

    REALTIME = enum.auto()
    """By a WebSocket; audio comes while text is still arriving."""
    SSE = enum.auto()
    """By a POST that streams its answer."""
    DOWNLOAD = enum.auto()
    """By a POST that names a file."""


def speech_models(max_text_characters: int = 0, http_lane: HttpLane = "sse") -> list[model_service_pb2.Model]:
    """Return the capability table; the first model is the default.

    Args:
        max_text_characters: Of one call, where that is less than what a model takes; 0 leaves it to the model.
        http_lane: As of `lane_of`.
    """
    return [
        model_service_pb2.Model(
            id=identifier,
            description=description,
            stream_speech=_capability(identifier, max_text_characters, lane_of(identifier, http_lane)),
            requests_per_minute=10.0 if identifier.endswith(_SLOW_SNAPSHOT) else 180.0,
        )
        for description, identifiers in _MODELS
        for identifier in identifiers
    ]


def lane_of(model: str, http_lane: HttpLane = "sse") -> Lane:
    """Return how a model is reached; `http_lane` is the way to take to those without a WebSocket."""
    if _REALTIME in model:
        return Lane.REALTIME
    return Lane.SSE if http_lane == "sse" else Lane.DOWNLOAD


# Of its snapshots the vendor serves those less often: "Rate limits".
_SLOW_SNAPSHOT = "-2025-09-18"
_SOME_VOICES = f"It has about half of the vendor's voices, {DEFAULT_VOICE} among them, which is its default."

_MODELS = (
    (
        "Speaks with the vendor's own voices while the text is still arriving.",
        (
            "qwen3-tts-flash-realtime",
            "qwen3-tts-flash-realtime-2025-11-27",
            "qwen3-tts-flash-realtime-2025-09-18",
        ),
    ),
    (
        f"Speaks as instructions say, while the text is still arriving. {_SOME_VOICES}",
        ("qwen3-tts-instruct-flash-realtime", "qwen3-tts-instruct-flash-realtime-2026-01-22"),
    ),
    (
        "Speaks with a cloned voice while the text is still arriving.",
        ("qwen3-tts-vc-realtime-2026-01-15", "qwen3-tts-vc-realtime-2025-11-27"),
    ),
    (
        "Speaks with a designed voice while the text is still arriving.",
        ("qwen3-tts-vd-realtime-2026-01-15", "qwen3-tts-vd-realtime-2025-12-16"),
    ),
    (
        "Speaks a short text with the vendor's own voices, once it is complete.",
        ("qwen3-tts-flash", "qwen3-tts-flash-2025-11-27", "qwen3-tts-flash-2025-09-18"),
    ),
    (
        f"Speaks a short text as instructions say, once it is complete. {_SOME_VOICES}",
        ("qwen3-tts-instruct-flash", "qwen3-tts-instruct-flash-2026-01-26"),
    ),
    ("Speaks a short text with a cloned voice, once it is complete.", ("qwen3-tts-vc-2026-01-22",)),
    ("Speaks a short text with a designed voice, once it is complete.", ("qwen3-tts-vd-2026-01-26",)),
)

# Case matters, and some have a blank.
SYSTEM_VOICES = (
    DEFAULT_VOICE,
    *("Serena", "Ethan", "Chelsie", "Momo", "Vivian", "Moon", "Maia", "Kai", "Nofish", "Bella", "Jennifer", "Ryan"),
    *("Katerina", "Aiden", "Eldric Sage", "Mia", "Mochi", "Bellona", "Vincent", "Bunny", "Neil", "Elias", "Arthur"),
    *("Nini", "Ebona", "Seren", "Pip", "Stella", "Bodega", "Sonrisa", "Alek", "Dolce", "Sohee", "Ono Anna", "Lenn"),
    *("Emilien", "Andre", "Radio Gol", "Jada", "Dylan", "Li", "Marcus", "Roy", "Peter", "Sunny", "Eric", "Rocky"),
    "Kiki",
)


def _capability(model: str, max_text_characters: int, lane: Lane) -> model_service_pb2.StreamSpeechCapability:
    realtime = lane is Lane.REALTIME
    longest = MAX_REALTIME_CHARACTERS if realtime else MAX_HTTP_CHARACTERS
    capability = model_service_pb2.StreamSpeechCapability(
        voices=[model_service_pb2.ModelVoice(id=voice) for voice in _voices(model)],
        language_codes=LANGUAGE_CODES,
        encodings=list(audio.SAMPLE_RATES_HERTZ),
        sample_rates_hertz=_RATES,
        max_text_characters=min(longest, max_text_characters or longest),
        takes_instructions=_INSTRUCT in model,
        speaks_while_text_arrives=realtime,
        streams_audio=lane is not Lane.DOWNLOAD,
        needs_made_voice=any(kind in model for kind in _MADE),
    )
    if realtime:
        capability.speaking_rate.CopyFrom(model_service_pb2.Range(min=0.5, max=2.0))
        capability.pitch.CopyFrom(model_service_pb2.Range(min=0.5, max=2.0))
        capability.volume.CopyFrom(model_service_pb2.Range(min=0.0, max=100.0))
    return capability


def _voices(model: str) -> tuple[str, ...]:
    """Return the voices to list: a list is a closed one, so a model of which it is not known has none."""
    unknown = (*_MADE, _INSTRUCT, _OLD)
    return () if any(part in model for part in unknown) else SYSTEM_VOICES
