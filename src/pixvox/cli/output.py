"""What a client command shows: its result, progress, warnings and errors; for people, or as JSON for scripts."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from google.protobuf import json_format
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from google.protobuf.message import Message
    from rich.console import RenderableType

    from pixvox.client import Failure

PIPE_WIDTH = 10_000

_HINTS = {
    "MODEL_NOT_FOUND": "See what there is: pixvox models",
    "PROVIDER_NOT_FOUND": "See what there is: pixvox providers",
    "VOICE_NOT_FOUND": "See what there is: pixvox models --verb stream-speech --json",
    "VOICE_MODEL_MISMATCH": "Leave --model away: a made voice decides on its model.",
    "VOICE_PROVIDER_MISMATCH": "Leave --provider away: a made voice decides on its provider.",
    "VOICE_DELETED": "Take it back into use, unless it was purged: pixvox voice undelete ID",
    "VOICE_QUOTA": "Make room, waiting does not help: pixvox voice delete ID --purge",
    "NO_PROVIDER": "The operator has to configure a provider for this; see what there is: pixvox providers",
    "SWITCHED_OFF": "Only the operator can switch it on again; see what is on: pixvox providers",
    "CIRCUIT_OPEN": "Nothing was sent; see when it is tried again: pixvox providers",
    "OVERLOADED": "Nothing was sent; try again later, or give it longer with --timeout SECONDS.",
    "REQUEST_ID_REUSED": "A new call takes a new --request-id, or none.",
    "ANSWER_NOT_KEPT": "The call was made and billed; a new --request-id makes it again.",
    "OUTCOME_UNKNOWN": "It may have been done and billed; look before a new --request-id makes it again.",
    "MEDIA_TOO_LARGE": "Send a smaller file.",
    "MEDIA_FETCH_FAILED": "Download it and give the file instead of the address.",
    "URI_NOT_ALLOWED": "Download it and give the file instead of the address.",
    "PROVIDER_UNAVAILABLE": "Nothing was done; try again later, or name another provider with --provider.",
    "PROVIDER_DISCONNECTED": "The work may have been billed; to make it again takes a new --request-id, or none.",
    "RATE_LIMITED": "Try again later, or name another provider with --provider.",
    "OUTPUT_TOO_LARGE": "Ask for fewer or smaller pictures, or a denser format.",
    "DEADLINE_EXCEEDED": "Give it longer with --timeout SECONDS.",
    "SHUTTING_DOWN": "Try again; the instance that had the call is going away.",
    "INTERNAL": "The service's log has the details under the request id.",
}
# For failures that no pixvox service made.
_HINTS_BY_CODE = {
    "UNAVAILABLE": "Nothing answers at {target}. Is it running? Start it with: pixvox serve",
    "DEADLINE_EXCEEDED": "Give it longer with --timeout SECONDS.",
    "UNIMPLEMENTED": "What listens at {target} is no pixvox service, or one of another version.",
}


class Report:
    """Where a command's words go: results to standard output, all else to standard error.

    Attributes:
        as_json: Whether the result is one JSON document.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        # Into a pipe a table's row stays one line.
        self._out = Console(
            highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH
        )
        self._err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def signs(self) -> bool:
        """Whether signs are shown beside letters: on a terminal that has them, not where a program may read."""
        return self._out.is_terminal and self._out.encoding.startswith("utf")

    @property
    def marks(self) -> tuple[str, str]:
        """How passed and failed are shown."""
        return ("✓", "✗") if self.signs else ("pass", "fail")

    def result(self, document: Mapping[str, object], shown: RenderableType, aside: bool = False) -> None:
        """Show the result: `document` for scripts or `shown` for people.

        Args:
            document: What JSON can hold.
            shown: What rich can draw.
            aside: True if standard output is taken by the media itself, so that people read it on standard error.
        """
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        else:
            (self._err if aside else self._out).print(shown, soft_wrap=isinstance(shown, Text))

    def warnings(self, warnings: Iterable[media_pb2.Warning]) -> None:
        """Show what was done otherwise than asked."""
        for warning in warnings:
            self.warn(f"{warning.field}: {warning.message}" if warning.field else warning.message)

    def warn(self, message: str) -> None:
        """Show one warning."""
        self._say(Text.assemble(("warning ", "yellow"), message))

    def error(self, message: str, notes: Iterable[str] = ()) -> None:
        """Show an error that is not a call's failure."""
        self._say(Text.assemble(("error ", "bold red"), message))
        for note in notes:
            self._say(Text(f"  {note}"))
        if self.as_json:
            click.echo(json.dumps({"error": {"message": message, "notes": list(notes)}}, ensure_ascii=False, indent=2))

    def failure(self, failure: Failure, target: str, notes: Iterable[str] = ()) -> None:
        """Show why a call failed and what to do about it."""
        self._say(
            Text.assemble(("error ", "bold red"), (failure.reason or failure.code.name, "bold"), f" {failure.message}")
        )
        for violation in failure.violations:
            self._say(Text.assemble("  field ", (violation.field, "bold"), f": {violation.description}"))
        for line in (*_facts(failure), *notes, *_hint(failure, target)):
            self._say(Text(f"  {line}", style="dim"))
        if self.as_json:
            document = {"error": failure_document(failure) | {"notes": list(notes)}}
            click.echo(json.dumps(document, ensure_ascii=False, indent=2))

    @contextmanager
    def progress(self, doing: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something goes on, and for how long; the block gets what changes the words."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=True, disable=not self._err.is_terminal) as bar:
            task = bar.add_task(doing, total=None)
            yield lambda words: bar.update(task, description=words)

    def _say(self, text: Text) -> None:
        self._err.print(text, soft_wrap=True)


def document(message: Message) -> dict[str, object]:
    """Return a message for JSON, with the field names of the proto."""
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def failure_document(failure: Failure) -> dict[str, object]:
    """Return a failure for JSON."""
    return {
        "code": failure.code.name,
        "reason": failure.reason,
        "message": failure.message,
        "violations": [{"field": one.field, "description": one.description} for one in failure.violations],
        "retry_after_seconds": failure.retry_after,
        "request_id": failure.request_id,
        "metadata": dict(failure.metadata),
    }


def receipt_text(receipt: media_pb2.Receipt) -> Text:
    """Return who did the work and what it cost, for a person."""
    pairs = [("provider", receipt.provider), ("model", receipt.model), ("cost", cost(receipt.cost))]
    pairs += [("request", receipt.request_id), ("provider's request", receipt.provider_request_id)]
    return Text("  ").join(Text.assemble((f"{name} ", "dim"), value) for name, value in pairs if value)


def cost(cost: media_pb2.Cost) -> str:
    """Return a cost for a person; what has no known price is not free."""
    return f"{cost.amount} {cost.currency}" if cost.state == media_pb2.COST_STATE_PRICED else "unpriced"


def _facts(failure: Failure) -> Iterator[str]:
    if failure.resource:
        yield f"{failure.resource[0]} {failure.resource[1]}"
    if failure.retry_after is not None:
        yield f"try again in {failure.retry_after:g} s"
    for subject, description in failure.quota:
        yield f"{subject} {description}"
    for name in ("provider", "provider_code", "provider_request_id", "attempts", "request_id"):
        if value := failure.metadata.get(name):
            yield f"{name} {value}"


def _hint(failure: Failure, target: str) -> Iterator[str]:
    hint = _HINTS.get(failure.reason) if failure.reason else _HINTS_BY_CODE.get(failure.code.name)
    if hint:
        yield f"hint: {hint.format(target=target)}"
