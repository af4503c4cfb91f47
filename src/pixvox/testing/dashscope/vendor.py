"""What the emulated vendor is like, and what it keeps between calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pixvox.testing.dashscope.faults import Effects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.testing.dashscope.fields import JsonObject
    from pixvox.testing.dashscope.files import Files
    from pixvox.testing.dashscope.rates import Rates
    from pixvox.testing.dashscope.reach import Reach
    from pixvox.testing.dashscope.record import Exchange
    from pixvox.testing.dashscope.tasks import Tasks
    from pixvox.testing.dashscope.voices import Voices


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What the emulated vendor is like; may be replaced while it runs.

    Attributes:
        region: ``sg`` or ``bj``; one rate limit differs.
        foreign_keys: Keys of another region, refused with another wording than unknown ones.
        workspaces: Workspace ids that exist; None: any.
        chunk_milliseconds: Length of an audio chunk of a stream.
        chunk_interval: Seconds between the audio chunks of a stream; 0: as quick as they are taken.
        idle_seconds: After which a realtime session without any event is given up.
        task_pending: How long a task is PENDING, in `task_unit`.
        task_running: How long it is RUNNING afterwards.
        task_unit: ``polls``: a state lasts for so many polls; ``seconds``: for so much time.
        rate_limits: Whether the limits of the reference's section 7.1 hold.
        voice_quota: Custom voices that may exist.
        result_seconds: For which result URLs are good.
    """

    region: Literal["sg", "bj"] = "sg"
    foreign_keys: frozenset[str] = frozenset()
    workspaces: frozenset[str] | None = None
    chunk_milliseconds: int = 100
    chunk_interval: float = 0.0
    # Not documented for realtime; another family of the vendor documents 23 s. [guess]
    idle_seconds: float = 23.0
    task_pending: float = 1
    task_running: float = 1
    task_unit: Literal["polls", "seconds"] = "polls"
    rate_limits: bool = False
    voice_quota: int = 1000
    result_seconds: float = 86400


@dataclass(slots=True)
class Vendor:
    """The emulated vendor.

    Attributes:
        behaviour: What it is like.
        files: Results behind URLs.
        voices: Custom voices.
        tasks: Asynchronous tasks.
        rates: Who asked how often.
        reach: How it fetches the URLs it is given.
    """

    behaviour: Behaviour
    files: Files
    voices: Voices
    tasks: Tasks
    rates: Rates
    reach: Reach


@dataclass(frozen=True, slots=True)
class Call:
    """One request that is being answered.

    Attributes:
        vendor: Who answers.
        request_id: Goes into the answer.
        body: Decoded JSON; empty where there was none.
        headers: Case does not matter.
        query: Decoded.
        tail: What the path says beyond the operation, such as a task's id.
        exchange: Where it is recorded.
        effects: What goes wrong with it.
    """

    vendor: Vendor
    request_id: str
    body: JsonObject
    headers: Mapping[str, str]
    query: Mapping[str, str]
    tail: str
    exchange: Exchange
    effects: Effects = field(default_factory=Effects)
