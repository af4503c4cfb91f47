"""An emulator of Alibaba Cloud Model Studio (DashScope): pictures, speech and voices, with every fault that can be ordered.

It was written from the project's reference of the wire, never from the real service, and the vendor's own SDK performs
against it. Not emulated: uploads for ``oss://`` URLs, CosyVoice, image2image.
"""

from __future__ import annotations

from pixvox.testing.dashscope.faults import (
    Closed,
    Cut,
    Dripped,
    ErrorEvent,
    Expired,
    Fault,
    FewerImages,
    NoResult,
    OddChunks,
    PartlyFailed,
    PlacedAt,
    Raw,
    Redirected,
    Refused,
    Retyped,
    Split,
    Stalled,
    TaskFailed,
    TaskUnknown,
)
from pixvox.testing.dashscope.pictures import Painting, edited, painted
from pixvox.testing.dashscope.record import ReceivedEvent, RequestRecord
from pixvox.testing.dashscope.server import DashScopeEmulator
from pixvox.testing.dashscope.sound import billed_characters, expected_pcm
from pixvox.testing.dashscope.tasks import TaskRecord
from pixvox.testing.dashscope.vendor import Behaviour
from pixvox.testing.dashscope.voices import CustomVoice

__all__ = [
    "Behaviour",
    "Closed",
    "CustomVoice",
    "Cut",
    "DashScopeEmulator",
    "Dripped",
    "ErrorEvent",
    "Expired",
    "Fault",
    "FewerImages",
    "NoResult",
    "OddChunks",
    "Painting",
    "PartlyFailed",
    "PlacedAt",
    "Raw",
    "ReceivedEvent",
    "Redirected",
    "Refused",
    "RequestRecord",
    "Retyped",
    "Split",
    "Stalled",
    "TaskFailed",
    "TaskRecord",
    "TaskUnknown",
    "billed_characters",
    "edited",
    "expected_pcm",
    "painted",
]
