"""What is told of the operation that is running, by those who have no span of it in hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry import trace

from pixvox.telemetry.calls import running_call
from pixvox.telemetry.names import ANSWER_KEPT, ANSWER_SHARED, LINK_CALL, PIXVOX_ANSWER, PIXVOX_LANE, PIXVOX_LINK

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

# The type of an error that is nobody's: a caller has left.
CANCELLED = "cancelled"
DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"

# A caller's own clock ends its call earlier than ours by what its first message took to come.
_EARLIER_SECONDS = 0.05


def took_lane(lane: str) -> None:
    """Note on the current span, which is the operation's, by which of several ways a provider does the work."""
    trace.get_current_span().set_attribute(PIXVOX_LANE, lane)


def answer_kept() -> None:
    """Note on the current span, which is a call's, that the answer is that of an earlier call."""
    trace.get_current_span().set_attribute(PIXVOX_ANSWER, ANSWER_KEPT)


def answer_shared(with_: SpanContext) -> None:
    """Note on the current span, which is a call's, that its answer is that of another call which is under way.

    Args:
        with_: The span of that call.
    """
    span = trace.get_current_span()
    span.set_attribute(PIXVOX_ANSWER, ANSWER_SHARED)
    if with_.is_valid:
        span.add_link(with_, {PIXVOX_LINK: LINK_CALL})


def cancellation() -> str:
    """Return the type of error of work that is cancelled now: the running RPC's time is up, or its caller has left."""
    call = running_call()
    late = call is not None and time.monotonic() >= call.deadline - _EARLIER_SECONDS
    return DEADLINE_EXCEEDED if late else CANCELLED
