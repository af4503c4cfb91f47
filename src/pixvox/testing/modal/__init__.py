"""An emulator of Modal's edge with our own worker behind it: redirects, cold starts, proxy keys and the edge's own refusals.

It was written from the project's reference of the wire, never from the real service. Not emulated: sockets.
"""

from __future__ import annotations

from pixvox.testing.modal.clocks import SetClock, WallClock
from pixvox.testing.modal.edge import ModalEmulator
from pixvox.testing.modal.faults import (
    AppAnswer,
    Cut,
    Effect,
    Fault,
    NoPicture,
    Slow,
    SpeechBreak,
    Verbatim,
    edge_answer,
)
from pixvox.testing.modal.jobs import JobApp
from pixvox.testing.modal.pictures import changed, drawn
from pixvox.testing.modal.record import RequestRecord
from pixvox.testing.modal.speech import said

__all__ = [
    "AppAnswer",
    "Cut",
    "Effect",
    "Fault",
    "JobApp",
    "ModalEmulator",
    "NoPicture",
    "RequestRecord",
    "SetClock",
    "Slow",
    "SpeechBreak",
    "Verbatim",
    "WallClock",
    "changed",
    "drawn",
    "edge_answer",
    "said",
]
