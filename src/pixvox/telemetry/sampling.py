"""Which traces are exported: those that the sampler chose, and those of calls that failed or were slow."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import Link, SpanKind
    from opentelemetry.trace.span import TraceState
    from opentelemetry.util.types import Attributes

    from pixvox.telemetry.options import Options

# On the server span of a call that was not sampled and is exported all the same: why, and how many of its spans are lost.
KEPT = "pixvox.trace.kept"
LOST = "pixvox.trace.lost_spans"
# A span takes about 3 KB; calls that are held at most take 50 MB then.
SPANS_OF_CALL = 256
SPANS_HELD = 16_384


def sampler_of(options: Options) -> Sampler:
    """Return the sampler; it has the spans that it leaves out recorded if some of them may be kept."""
    sampler = _named(options)
    # The plain order to trace nothing is followed to the letter.
    return RecordingSampler(sampler) if keeps(options) else sampler


def keeps(options: Options) -> bool:
    """Tell whether calls may be exported that the sampler left out."""
    whole = options.sampler in {"always_on", "always_off"}
    return (options.keep_failed or options.slow_seconds > 0) and not whole


class RecordingSampler(Sampler):
    """Samples as another sampler does, and has the other spans recorded.

    The SDK's own `AlwaysRecordSampler` (1.45.2) loses the attributes that a span starts with.
    """

    def __init__(self, root: Sampler) -> None:
        self._root = root

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide about a span that starts."""
        result = self._root.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is Decision.DROP:
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """Return what it does."""
        return f"Recording{{{self._root.get_description()}}}"


@dataclass(slots=True)
class _Call:
    """The spans of a call that was not sampled."""

    begun: int = 0
    lost: int = 0
    ended: list[ReadableSpan] = field(default_factory=list)
    # Known when the call is over.
    kept: bool | None = None


class KeptCalls(SpanProcessor):
    """Holds the spans of calls that were not sampled until the call ends, and passes them on if it failed or was slow.

    A call is what lies under a span without a parent in this process, the server span. It failed if that span's status is
    an error; what was tried in vain under a call that went well is no reason. Spans that were sampled are passed on at once.

    At most `SPANS_OF_CALL` spans of a call and `SPANS_HELD` of all calls are held. What begins above that is lost, but for
    the server span, which says how many were. A span that outlives its call goes the same way as the call did, if it began
    within it.

    Args:
        onward: Get the spans.
        failed: Whether calls that failed are kept.
        slow_seconds: Calls that took so long are kept; 0 is never.
    """

    def __init__(self, onward: Sequence[SpanProcessor], *, failed: bool, slow_seconds: float) -> None:
        self._onward = onward
        self._failed = failed
        self._slow_nanoseconds = slow_seconds * 1e9
        # By the id of each span that is running, or that has ended within a call that is running.
        self._calls: dict[int, _Call] = {}
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note which call a span belongs to."""
        context = span.get_span_context()
        if context.trace_flags.sampled:
            return
        with self._lock:
            if _is_root(span):
                self._join(_Call(), context.span_id)
            elif span.parent is not None and (call := self._calls.get(span.parent.span_id)) is not None:
                self._join(call, context.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass a span on, hold it, or let it go."""
        if span.context.trace_flags.sampled:
            self._pass_on(span)
            return
        with self._lock:
            leaving = self._over(span) if _is_root(span) else self._ended(span)
        for one in leaving:
            self._pass_on(_sampled(one))

    def _join(self, call: _Call, span_id: int) -> None:
        if call.begun >= SPANS_OF_CALL or len(self._calls) >= SPANS_HELD:
            call.lost += 1
            return
        call.begun += 1
        self._calls[span_id] = call

    def _ended(self, span: ReadableSpan) -> list[ReadableSpan]:
        """Return what leaves when a span within a call ends."""
        call = self._calls.get(span.context.span_id)
        if call is None:
            return []
        if call.kept is None:
            call.ended.append(span)
            return []
        self._calls.pop(span.context.span_id)
        return [span] if call.kept else []

    def _over(self, root: ReadableSpan) -> list[ReadableSpan]:
        """Return what leaves when a call ends."""
        # A call for which there was no room has its root all the same.
        call = self._calls.get(root.context.span_id) or _Call()
        reason = self._reason(root)
        call.kept = reason is not None
        for span in (*call.ended, root):
            self._calls.pop(span.context.span_id, None)
        leaving = [*call.ended, _explained(root, reason, call.lost)] if reason is not None else []
        call.ended.clear()
        return leaving

    def _reason(self, root: ReadableSpan) -> str | None:
        if self._failed and root.status.status_code is StatusCode.ERROR:
            return "failed"
        taken = (root.end_time or 0) - (root.start_time or 0)
        return "slow" if 0 < self._slow_nanoseconds <= taken else None

    def _pass_on(self, span: ReadableSpan) -> None:
        for processor in self._onward:
            processor.on_end(span)

    def shutdown(self) -> None:
        """Stop the processors behind it."""
        for processor in self._onward:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the processors behind it export what they have."""
        flushed = [processor.force_flush(timeout_millis) for processor in self._onward]
        return all(flushed)


def _named(options: Options) -> Sampler:
    match options.sampler:
        case "always_on":
            return ALWAYS_ON
        case "always_off":
            return ALWAYS_OFF
        case "traceidratio":
            return TraceIdRatioBased(options.sampler_ratio)
        case "parentbased_always_on":
            return DEFAULT_ON
        case "parentbased_always_off":
            return DEFAULT_OFF
        case "parentbased_traceidratio":
            return ParentBasedTraceIdRatio(options.sampler_ratio)


def _is_root(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def _sampled(span: ReadableSpan) -> ReadableSpan:
    """Return the span with the flag without which nothing is exported."""
    context = span.context
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    sampled = copy.copy(span)
    sampled._context = SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state)
    return sampled


def _explained(root: ReadableSpan, reason: str, lost: int) -> ReadableSpan:
    explained = copy.copy(root)
    explained._attributes = {**(root.attributes or {}), KEPT: reason, **({LOST: lost} if lost else {})}
    return explained
