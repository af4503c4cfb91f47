"""Which calls are exported although the sampler left them out."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from pixvox.telemetry import sampling
from pixvox.telemetry.options import Options
from pixvox.telemetry.sampling import KEPT, LOST, KeptCalls, keeps, sampler_of

SECOND = 1_000_000_000
NEVER = {"sampler": "parentbased_traceidratio", "sampler_ratio": 0.0}


class Traced:
    """A tracer with the sampling of some options, and what it exported."""

    def __init__(self, **options: object) -> None:
        given = Options(**options)
        self._exporter = InMemorySpanExporter()
        onward = SimpleSpanProcessor(self._exporter)
        self.kept = KeptCalls([onward], failed=given.keep_failed, slow_seconds=given.slow_seconds)
        provider = TracerProvider(sampler_of(given), shutdown_on_exit=False)
        provider.add_span_processor(self.kept if keeps(given) else onward)
        self.tracer = provider.get_tracer("test")

    def start(self, name: str, parent: trace.Span | None = None, seconds: float = 0.0) -> trace.Span:
        context = trace.set_span_in_context(parent) if parent is not None else trace.Context()
        return self.tracer.start_span(
            name, context, kind=SpanKind.SERVER, attributes={"given": "at the start"}, start_time=int(seconds * SECOND)
        )

    def call(self, *, failed: bool = False, seconds: float = 0.1, parent: trace.Span | None = None) -> trace.Span:
        """A call with one span under it."""
        root = self.start("root", parent)
        child = self.start("child", root)
        child.end(int(0.05 * SECOND))
        if failed:
            root.set_status(StatusCode.ERROR, "UPSTREAM_FAILED")
        root.end(int(seconds * SECOND))
        return root

    @property
    def spans(self) -> list[trace.ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


def remote(*, sampled: bool) -> trace.Span:
    """The span of a caller."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=flags))


def test_a_call_that_was_not_sampled_and_went_well_is_let_go():
    traced = Traced(**NEVER)
    traced.call()
    assert traced.spans == []


def test_a_call_that_failed_is_exported_whole_although_it_was_not_sampled():
    traced = Traced(**NEVER)
    root = traced.call(failed=True)
    assert traced.names == ["child", "root"]
    child, over = traced.spans
    assert over.context.span_id == root.get_span_context().span_id
    assert child.parent.span_id == over.context.span_id
    assert child.context.trace_id == over.context.trace_id
    assert all(span.context.trace_flags.sampled for span in traced.spans)
    assert over.status.status_code is StatusCode.ERROR
    assert over.status.description == "UPSTREAM_FAILED"
    assert over.attributes == {"given": "at the start", KEPT: "failed"}
    assert child.attributes == {"given": "at the start"}


def test_a_call_that_was_slow_is_exported():
    traced = Traced(**NEVER, slow_seconds=2.0)
    traced.call(seconds=1.9)
    assert traced.spans == []
    traced.call(seconds=2.0)
    assert traced.names == ["child", "root"]
    assert traced.spans[-1].attributes[KEPT] == "slow"


def test_no_call_is_slow_by_default():
    traced = Traced(**NEVER)
    traced.call(seconds=3600)
    assert traced.spans == []


def test_a_span_that_failed_under_a_call_that_went_well_is_no_reason():
    traced = Traced(**NEVER)
    root = traced.start("root")
    child = traced.start("child", root)
    child.set_status(StatusCode.ERROR)
    child.end()
    root.end()
    assert traced.spans == []


def test_what_was_sampled_is_exported_at_once_and_says_nothing_of_being_kept():
    traced = Traced(sampler="parentbased_always_on")
    root = traced.start("root")
    traced.start("child", root).end()
    assert traced.names == ["child"]
    root.set_status(StatusCode.ERROR)
    root.end()
    assert traced.names == ["child", "root"]
    assert KEPT not in traced.spans[-1].attributes


def test_a_callers_order_not_to_sample_holds_for_calls_that_go_well_alone():
    traced = Traced(sampler="parentbased_always_on")
    traced.call(parent=remote(sampled=False))
    assert traced.spans == []
    traced.call(parent=remote(sampled=False), failed=True)
    assert traced.names == ["child", "root"]
    assert {span.context.trace_id for span in traced.spans} == {0xA1}
    assert traced.spans[-1].parent.span_id == 0xB2


def test_a_callers_order_to_sample_is_followed():
    traced = Traced(**NEVER)
    traced.call(parent=remote(sampled=True))
    assert traced.names == ["child", "root"]


def test_calls_of_one_trace_are_told_apart():
    traced = Traced(**NEVER)
    well, ill = traced.start("well", remote(sampled=False)), traced.start("ill", remote(sampled=False))
    traced.start("of well", well).end()
    traced.start("of ill", ill).end()
    ill.set_status(StatusCode.ERROR)
    ill.end()
    well.end()
    assert traced.names == ["of ill", "ill"]


@pytest.mark.parametrize("failed", [True, False])
def test_a_span_that_outlives_its_call_goes_the_same_way(failed):
    traced = Traced(**NEVER)
    root = traced.start("root")
    late = traced.start("late", root)
    if failed:
        root.set_status(StatusCode.ERROR)
    root.end()
    under_late = traced.start("under late", late)
    late.end()
    under_late.end()
    assert traced.names == (["root", "late", "under late"] if failed else [])
    assert traced.kept._calls == {}


def test_a_span_under_one_that_has_ended_belongs_to_the_call():
    traced = Traced(**NEVER)
    root = traced.start("root")
    submit = traced.start("submit", root)
    submit.end()
    traced.start("poll", submit).end()
    root.set_status(StatusCode.ERROR)
    root.end()
    assert traced.names == ["submit", "poll", "root"]
    assert traced.kept._calls == {}


def test_a_call_holds_so_many_spans_and_says_how_many_are_lost(monkeypatch):
    monkeypatch.setattr(sampling, "SPANS_OF_CALL", 4)
    traced = Traced(**NEVER)
    root = traced.start("root")
    for _ in range(10):
        traced.start("poll", root).end()
    root.set_status(StatusCode.ERROR)
    root.end()
    assert traced.names == ["poll"] * 3 + ["root"]
    assert traced.spans[-1].attributes[LOST] == 7


def test_all_calls_together_hold_so_many_spans_and_each_has_its_root(monkeypatch):
    monkeypatch.setattr(sampling, "SPANS_HELD", 3)
    traced = Traced(**NEVER)
    roots = [traced.start(f"root {number}") for number in range(5)]
    for root in roots:
        traced.start("child", root).end()
        root.set_status(StatusCode.ERROR)
    assert len(traced.kept._calls) == 3
    for root in roots:
        root.end()
    assert traced.names == [f"root {number}" for number in range(5)]
    assert traced.kept._calls == {}


def test_nothing_is_held_of_calls_that_are_over():
    traced = Traced(**NEVER)
    for number in range(100):
        traced.call(failed=number % 2 == 0)
    assert traced.kept._calls == {}
    assert len(traced.spans) == 100


def test_the_order_to_trace_nothing_is_followed_to_the_letter():
    traced = Traced(sampler="always_off")
    traced.call(failed=True)
    assert traced.spans == []
    assert not traced.start("root").is_recording()


def test_what_shall_not_be_kept_is_not_even_recorded():
    traced = Traced(**NEVER, keep_failed=False)
    assert not traced.start("root").is_recording()
    traced.call(failed=True)
    assert traced.spans == []


@pytest.mark.parametrize(
    ("sampler", "described"),
    [
        ("always_on", "AlwaysOnSampler"),
        ("always_off", "AlwaysOffSampler"),
        ("traceidratio", "Recording{TraceIdRatioBased{0.25}}"),
    ],
)
def test_a_sampler_is_what_it_is_called(sampler, described):
    assert sampler_of(Options(sampler=sampler, sampler_ratio=0.25)).get_description() == described


@pytest.mark.parametrize(
    ("sampler", "root"),
    [
        ("parentbased_always_on", "AlwaysOnSampler"),
        ("parentbased_always_off", "AlwaysOffSampler"),
        ("parentbased_traceidratio", "TraceIdRatioBased{0.25}"),
    ],
)
def test_a_sampler_follows_the_caller_if_it_is_called_so(sampler, root):
    described = sampler_of(Options(sampler=sampler, sampler_ratio=0.25)).get_description()
    assert described.startswith(f"Recording{{ParentBased{{root:{root},")
