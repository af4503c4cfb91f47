"""`pixvox conformance`: checks whether a provider keeps its contract."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pixvox.cli.exits import ExitCode
from pixvox.cli.local import service_command
from pixvox.cli.output import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from pixvox.testing.conformance import Outcome, Subject

STYLES = {"PASS": "bold green", "FAIL": "bold red", "SKIP": "yellow"}
# How long threads of the provider may take to end when all checks are over.
_FAREWELL_SECONDS = 1.0


@click.command()
@click.argument("kind")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file, of which the table of a provider of this kind is taken.",
)
@click.option(
    "--provider", "name", metavar="NAME", default="", help="Which table, if the file has several of the kind."
)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A setting; wins over the file's.")
@click.option("--only", metavar="CHECK", multiple=True, help="A check, or the beginning of several, such as speech.")
@click.option(
    "--model", "models", metavar="ID", multiple=True, help="A model to call, or all.  [default: each verb's first]"
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="The longest that one call may take.")
@click.option("--yes", is_flag=True, help="Go on although calls may cost money.")
@click.option("--list", "listing", is_flag=True, help="List the checks and do nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@service_command
def conformance(
    *,
    kind: str,
    config: Path | None,
    name: str,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    models: tuple[str, ...],
    seconds: float | None,
    yes: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """Check whether a provider keeps its contract.

    A provider of KIND is created in this process and called as the service calls it. Without --config and --set it is given the
    settings that the kind offers for this, such as those of an emulator. Exits with 0 if nothing failed.
    """
    from pixvox.settings import SettingsError
    from pixvox.testing.conformance import Subject, chosen, costs, run

    report = Report(as_json)
    try:
        checks = chosen(only)
        if listing:
            report.result({"checks": [{"check": one.name, "proves": one.proves} for one in checks]}, _list(checks))
            return
        name, table, hosts = _table(kind, config, name, settings)
        subject = Subject(kind, table, name, models=models, seconds=seconds, allowed_hosts=hosts)
        why = asyncio.run(costs(subject))
    except (SettingsError, TypeError, ValueError) as error:
        raise _unusable(report, str(error)) from error
    if why and not yes:
        raise _unusable(
            report,
            "Checking this provider may cost money.",
            why,
            "It makes some 200 calls of the first model of each verb; --only and --model choose. Go on with --yes.",
        )
    outcomes: list[Outcome] = []
    others = set(threading.enumerate())
    with report.progress("Conformance") as tell:
        for check, outcome in zip(checks, run(subject, checks), strict=True):
            outcomes.append(outcome)
            tell(f"after {check.name}")
    _show(report, subject, outcomes, others)


def _table(
    kind: str, config: Path | None, name: str, settings: Sequence[str]
) -> tuple[str, dict[str, Any] | None, tuple[str, ...]]:
    """Return the provider's name, its table, and the hosts that it may visit; no table where none was given."""
    own = dict(_setting(text) for text in settings)
    if config is None:
        if name:
            raise ValueError("--provider names a table of --config, which is missing")
        return kind, own or None, ()
    from pixvox.settings import load

    loaded = load(config)
    found = {key: table for key, table in loaded.providers.items() if table["kind"] == kind and name in {"", key}}
    if not found:
        of = f"called {name!r} " if name else ""
        raise ValueError(f"{config} has no provider {of}of kind {kind!r}")
    chosen, table = next(iter(found.items()))
    kept = {key: value for key, value in table.items() if key not in {"kind", "enabled", "switched_off"}}
    return chosen, kept | own, loaded.fetch.allowed_hosts


def _setting(text: str) -> tuple[str, Any]:
    """Return a key and its value, which is read as TOML where it is a list, a table or in quotes; else it is text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"--set {text!r} is not KEY=VALUE")
    if not value.startswith(("[", "{", '"', "'")):
        return key.strip(), value
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--set {key}: {value} is no TOML: {error}") from error


def _unusable(report: Report, message: str, *notes: str) -> click.exceptions.Exit:
    report.error(message, notes)
    return click.exceptions.Exit(ExitCode.USAGE)


def _show(report: Report, subject: Subject, outcomes: list[Outcome], others: set[threading.Thread]) -> None:
    from pixvox.testing.conformance import Result, document

    passed = all(one.result is not Result.FAIL for one in outcomes)
    answer = {"kind": subject.kind, "passed": passed, "checks": [document(one) for one in outcomes]}
    report.result(answer, _shown(outcomes))
    code = ExitCode.OK if passed else ExitCode.FAILED
    _leave_if_held(code, others)
    if code:
        raise click.exceptions.Exit(code)


def _list(checks: Sequence[Any]) -> Table:
    table = Table("Check", "What it proves", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, check.proves)
    return table


def _shown(outcomes: Sequence[Outcome]) -> RenderableType:
    from pixvox.testing.conformance import Result, lines, summary

    table = Table("Check", "Result", "Took", "Detail", box=None, pad_edge=False)
    parts: list[RenderableType] = [table]
    for one in outcomes:
        failed = one.result is Result.FAIL
        detail = f"{len(one.findings)} found, see below" if failed else "; ".join(one.notes)
        table.add_row(one.check, Text(str(one.result), STYLES[str(one.result)]), f"{one.seconds:.2f} s", Text(detail))
        if failed:
            parts.append(Text.assemble("\n", (one.check, STYLES["FAIL"]), f"  {one.proves}"))
            parts += [Text(f"  {line}") for line in lines(one)]
    return Group(*parts, Text(f"\n{summary(outcomes)}"))


def _leave_if_held(code: ExitCode, others: set[threading.Thread]) -> None:
    """End the process at once if a thread of the provider's would hold it up.

    Args:
        code: To exit with.
        others: Threads that were there before, which are somebody else's: a test runner's, for one.
    """
    until = time.monotonic() + _FAREWELL_SECONDS
    while held := [thread.name for thread in threading.enumerate() if thread not in others and _may_hold(thread)]:
        if time.monotonic() > until:
            click.echo(f"left behind: {', '.join(held)}", err=True)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        time.sleep(0.02)


def _may_hold(thread: threading.Thread) -> bool:
    # A check's own thread ends with the process. Those of executors do not, even where they are daemons.
    return thread is not threading.main_thread() and not thread.name.startswith("conformance-")
