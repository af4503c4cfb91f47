"""Spans as `telemetry.span_file` has them, and the trees that they make; the file may be being written.

A span is written when it ends, those of a call before the call's own.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

REQUEST_ID = "pixvox.request_id"
UNFINISHED = "not ended yet"
_SERVER = "SERVER"


@dataclass(frozen=True, slots=True)
class Link:
    """To another span.

    Attributes:
        trace_id: Of that span, 32 hexadecimal digits.
        span_id: Of that span, 16 hexadecimal digits.
        meaning: What that span is to this one, such as ``submit``; empty if it is not told.
    """

    trace_id: str
    span_id: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Span:
    """One span with those under it.

    Attributes:
        name: Its name.
        kind: Such as ``SERVER``.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: Likewise; empty without a parent.
        begun: Seconds since 1970.
        ended: Seconds since 1970.
        status: ``UNSET``, ``OK`` or ``ERROR``.
        attributes: By name.
        links: To other spans.
        children: In the order in which they began.
        complete: Whether it has ended; one that has not is known by its children alone.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    begun: float
    ended: float
    status: str
    attributes: Mapping[str, Any]
    links: tuple[Link, ...] = ()
    children: list[Span] = field(default_factory=list)
    complete: bool = True

    def all(self) -> Iterator[Span]:
        """Give the span and everything under it."""
        yield self
        for child in self.children:
            yield from child.all()


class SpanFile:
    """A file of spans, of which only those that are asked for are kept in memory.

    Args:
        path: Of the file.

    Attributes:
        strange: How many of the lines that were looked at are no spans.
    """

    def __init__(self, path: Path) -> None:
        self.strange = 0
        self._path = path

    def last(self, count: int) -> list[Span]:
        """Return the calls that began last, the earliest of them first.

        Raises:
            OSError: The file cannot be read.
        """
        ended = self._spans(lambda line: b'"SpanKind.SERVER"' in line)
        latest = {one.span_id: one.trace_id for one in heapq.nlargest(count, ended, key=lambda one: one.begun)}
        return [one for one in self._calls(latest.values()) if one.span_id in latest]

    def of_request(self, request_id: str) -> list[Span]:
        """Return the calls with a request id; raises as `last` does."""
        wanted = json.dumps(request_id).encode()
        found = self._spans(lambda line: wanted in line)
        traces = {one.trace_id for one in found if one.attributes.get(REQUEST_ID) == request_id}
        return [
            call
            for call in self._calls(traces)
            if any(one.attributes.get(REQUEST_ID) == request_id for one in call.all())
        ]

    def of_trace(self, beginning: str) -> list[Span]:
        """Return what belongs to the traces whose ids begin so; raises as `last` does."""
        wanted = f'"0x{beginning}'.encode()
        found = self._spans(lambda line: wanted in line)
        return self._calls({one.trace_id for one in found if one.trace_id.startswith(beginning)})

    def _calls(self, traces: Collection[str]) -> list[Span]:
        """Return the trees of some traces."""
        wanted = [f'"0x{trace}"'.encode() for trace in set(traces)]
        found = self._spans(lambda line: any(one in line for one in wanted))
        return trees(one for one in found if one.trace_id in traces)

    def _spans(self, worthwhile: Callable[[bytes], bool]) -> Iterator[Span]:
        strange = 0
        with self._path.open("rb") as file:
            for line in file:
                # The last line may be being written.
                if line.endswith(b"\n") and worthwhile(line):
                    span = _decoded(line)
                    if span is None:
                        strange += 1
                        self.strange = max(self.strange, strange)
                    else:
                        yield span


def trees(spans: Iterable[Span]) -> list[Span]:
    """Put spans under their parents, and return those that have none here, in the order in which they began.

    A parent that has not ended is stood for by a span without a name of its own. The parent of a server span is the
    caller's, and never here.
    """
    by_id = {(one.trace_id, one.span_id): one for one in spans}
    children: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for one in by_id.values():
        children[one.trace_id, "" if one.kind == _SERVER else one.parent_id].append(one)
    roots = []
    for (trace_id, parent_id), under in children.items():
        under.sort(key=lambda one: one.begun)
        parent = by_id.get((trace_id, parent_id))
        if parent is not None:
            parent.children.extend(under)
        elif parent_id:
            roots.append(_unfinished(trace_id, parent_id, under))
        else:
            roots += under
    return sorted(roots, key=lambda one: one.begun)


def _unfinished(trace_id: str, span_id: str, children: list[Span]) -> Span:
    return Span(
        name=UNFINISHED,
        kind="",
        trace_id=trace_id,
        span_id=span_id,
        parent_id="",
        begun=children[0].begun,
        ended=max(one.ended for one in children),
        status="UNSET",
        attributes={},
        children=children,
        complete=False,
    )


def _decoded(line: bytes) -> Span | None:
    """Return the span of a line as the SDK's `ReadableSpan.to_json` writes it, None if it is something else."""
    try:
        read = json.loads(line)
        return Span(
            name=str(read["name"]),
            kind=str(read["kind"]).rpartition(".")[2],
            trace_id=_id(read["context"]["trace_id"]),
            span_id=_id(read["context"]["span_id"]),
            parent_id=_id(read["parent_id"]),
            begun=datetime.fromisoformat(read["start_time"]).timestamp(),
            ended=datetime.fromisoformat(read["end_time"]).timestamp(),
            status=str(read["status"]["status_code"]),
            attributes=dict(read["attributes"] or {}),
            links=tuple(_link(one) for one in read["links"] or ()),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _link(read: Mapping[str, Any]) -> Link:
    meaning = (read["attributes"] or {}).get("pixvox.link", "")
    return Link(_id(read["context"]["trace_id"]), _id(read["context"]["span_id"]), str(meaning))


def _id(text: str | None) -> str:
    return (text or "").removeprefix("0x")
