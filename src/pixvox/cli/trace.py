"""`pixvox trace`: what happened inside of a call, from the service's own file of spans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from pixvox.cli.exits import ExitCode
from pixvox.cli.output import Report
from pixvox.cli.span_facts import facts
from pixvox.cli.spans import SpanFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pixvox.cli.spans import Link, Span

BAR = 24


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--request-id", metavar="ID", help="The calls with this request id.")
@click.option("--trace-id", metavar="ID", help="The traces whose ids begin so, as logs have them.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=1,
    metavar="[N]",
    help="The last call, or the last N.",
)
@click.option("--full", is_flag=True, help="Show every attribute, each on a line.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def trace(
    file: Path, *, request_id: str | None, trace_id: str | None, last: int | None, full: bool, as_json: bool
) -> None:
    """Show what happened inside of a call.

    FILE is what the service writes with PIXVOX_SPAN_FILE=FILE (telemetry.span_file); it may be being written. Each line is a
    span: what was done, when within the call and for how long, and what came of it. Without an option it is the last call.
    """
    report = Report(as_json)
    if sum(one is not None for one in (request_id, trace_id, last)) > 1:
        raise click.UsageError("--request-id, --trace-id and --last exclude each other.")
    spans = SpanFile(file)
    if request_id is not None:
        calls, wanted = spans.of_request(request_id), f"with request id {request_id}"
    elif trace_id is not None:
        calls, wanted = spans.of_trace(trace_id.strip().lower().removeprefix("0x")), f"with trace id {trace_id}"
    else:
        calls, wanted = spans.last(last or 1), "that has ended"
    if spans.strange:
        report.warn(f"{spans.strange} lines of {file} are no spans.")
    if not calls:
        report.error(f"There is no call {wanted} in {file}.", ["A span is written some 0.2 s after its end."])
        raise click.exceptions.Exit(ExitCode.FAILED)
    shown = Text("\n\n").join(Text("\n").join(_lines(one, report.signs, full=full)) for one in calls)
    report.result({"calls": [_document(one) for one in calls]}, shown)


def _lines(call: Span, signs: bool, *, full: bool) -> Iterator[Text]:
    """Give the lines of a tree: guides and names in one column, then bars, times and facts."""
    names = {one.span_id: one.name for one in call.all()}
    rows = list(_rows(call, "", "", signs))
    width = max(len(guides) + len(span.name) for guides, _, span in rows)
    for guides, below, span in rows:
        name = Text.assemble((guides, "dim"), (span.name, _style(span)))
        name.pad_right(width - len(name))
        took = _seconds(span.ended - span.begun)
        trace_id = [Text(f"trace {span.trace_id}", style="dim")] if span is call else []
        yield Text("  ").join(
            [name, _bar(span, call, signs), Text(f"{took:>9}"), *_told(span, names, signs), *trace_id]
        )
        if full:
            for key, value in span.attributes.items():
                yield Text.assemble((f"{below}  ", "dim"), (f"{key} = {value}", "dim"))


def _rows(span: Span, guides: str, below: str, signs: bool) -> Iterator[tuple[str, str, Span]]:
    """Give each span with the guides before its name, and before what stands below its name."""
    yield guides, below, span
    fork, end, line = ("├─ ", "└─ ", "│  ") if signs else ("|- ", "`- ", "|  ")
    for child in span.children:
        is_last = child is span.children[-1]
        yield from _rows(child, below + (end if is_last else fork), below + ("   " if is_last else line), signs)


def _bar(span: Span, call: Span, signs: bool) -> Text:
    """Return when the span was under way, within the time of the call."""
    whole = max(call.ended - call.begun, 1e-9)
    start = min(max(0, int((span.begun - call.begun) / whole * BAR)), BAR - 1)
    length = min(max(1, round((span.ended - span.begun) / whole * BAR)), BAR - start)
    drawn = ("━" if signs else "=") * length
    return Text.assemble(" " * start, (drawn, _style(span) or "cyan"), " " * (BAR - start - length))


def _told(span: Span, names: Mapping[str, str], signs: bool) -> Iterator[Text]:
    for fact in facts(span):
        yield Text(fact, style="" if fact != span.attributes.get("error.type") else _style(span))
    for link in span.links:
        yield Text(f"{'↖' if signs else '<-'} {_linked(link, names)}", style="dim")


def _linked(link: Link, names: Mapping[str, str]) -> str:
    where = names.get(link.span_id) or f"span {link.span_id} of trace {link.trace_id}"
    return f"{link.meaning} {where}" if link.meaning else where


def _style(span: Span) -> str:
    if span.status == "ERROR":
        return "bold red"
    return "yellow" if "error.type" in span.attributes or not span.complete else ""


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 60 else f"{int(seconds // 60)}:{seconds % 60:04.1f} min"


def _document(span: Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind,
        "complete": span.complete,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "begun": span.begun,
        "seconds": round(span.ended - span.begun, 6),
        "status": span.status,
        "attributes": dict(span.attributes),
        "links": [{"trace_id": one.trace_id, "span_id": one.span_id, "meaning": one.meaning} for one in span.links],
        "children": _documents(span.children),
    }


def _documents(spans: Sequence[Span]) -> list[dict[str, Any]]:
    return [_document(one) for one in spans]
