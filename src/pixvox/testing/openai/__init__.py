"""An emulator of engines behind OpenAI's HTTP API, one dialect at a time, with faults that can be ordered.

It was written from the project's reference of the wire, never from a running engine.
"""

from __future__ import annotations

from pixvox.testing.openai.faults import (
    Cut,
    Endless,
    ErrorEvent,
    NoDone,
    NoResult,
    PlacedAt,
    Raw,
    Refused,
    ShortSound,
    Stalled,
)
from pixvox.testing.openai.record import File, Record
from pixvox.testing.openai.server import OpenAIEmulator

__all__ = [
    "Cut",
    "Endless",
    "ErrorEvent",
    "File",
    "NoDone",
    "NoResult",
    "OpenAIEmulator",
    "PlacedAt",
    "Raw",
    "Record",
    "Refused",
    "ShortSound",
    "Stalled",
]
