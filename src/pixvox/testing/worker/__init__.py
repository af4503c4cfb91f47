"""An emulator of the worker's HTTP contract, with faults that can be ordered, for tests of what calls workers.

It was written from `docs/worker-openapi.json` and is held against the real worker by a test; it paints and speaks without models.
"""

from __future__ import annotations

from pixvox.testing.worker.faults import (
    LOADING,
    Cut,
    Effect,
    Failing,
    NoEnd,
    Nonsense,
    NoResult,
    Operation,
    Page,
    Refused,
    Slow,
)
from pixvox.testing.worker.record import File, Record
from pixvox.testing.worker.server import WorkerEmulator
from pixvox.testing.worker.sounds import reference_voice

__all__ = [
    "LOADING",
    "Cut",
    "Effect",
    "Failing",
    "File",
    "NoEnd",
    "NoResult",
    "Nonsense",
    "Operation",
    "Page",
    "Record",
    "Refused",
    "Slow",
    "WorkerEmulator",
    "reference_voice",
]
