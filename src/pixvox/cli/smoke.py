"""`pixvox smoke`: tries everything on a running service."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from pixvox.cli import smoke_images, smoke_speech
from pixvox.cli.calls import Session, client_command
from pixvox.cli.exits import ExitCode
from pixvox.cli.smoke_run import CheckSkippedError, Outcome, Run, chosen_models, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_TIMEOUT = 180.0
STYLES = {"PASS": "bold green", "FAIL": "bold red", "SKIP": "yellow"}


@click.command()
@click.option("--image-url", default="", metavar="URL", help="A public picture, for the checks of inputs by address.")
@click.option("--provider", default="", help="Try this provider.  [default: the one of each verb]")
@client_command
def smoke(session: Session, image_url: str, provider: str) -> None:
    """Try everything on a running service; makes a few pictures and seconds of speech, which may cost money.

    What no configured model can do is skipped. Exits with 0 if nothing failed.
    """
    timeout = session.timeout or DEFAULT_TIMEOUT
    run = Run(session.channel, timeout, image_url, chosen_models(session.channel, provider, timeout))
    outcomes = []
    with session.report.progress("Smoke") as tell:
        for check, title, make in CHECKS:
            tell(f"{check} {title}")
            outcomes.append(outcome(check, title, make, run))
    passed = all(one.result != "FAIL" for one in outcomes)
    answer = {"target": session.target, "passed": passed, "checks": [dataclasses.asdict(one) for one in outcomes]}
    session.report.result(answer, _table(outcomes))
    if not passed:
        raise click.exceptions.Exit(ExitCode.FAILED)


def limits(run: Run) -> str:
    """SMK-10: what is too long is refused; a half that cannot be tried does not hide the other."""
    seen, left_out = [], []
    for half in (smoke_images.prompt_limit, smoke_speech.text_limit):
        try:
            seen.append(half(run))
        except CheckSkippedError as error:
            left_out.append(f"not tried: {error}")
    if not seen:
        raise CheckSkippedError("; ".join(left_out))
    return "; ".join([*seen, *left_out])


CHECKS: tuple[tuple[str, str, Callable[[Run], str]], ...] = (
    ("SMK-01", "health", smoke_images.health),
    ("SMK-02", "picture from a prompt", smoke_images.generate),
    ("SMK-03", "edit by an instruction", smoke_images.edit),
    ("SMK-04", "bad requests are refused", smoke_images.refusals),
    ("SMK-05", "input by address and by bytes", smoke_images.url_and_bytes),
    ("SMK-08", "speech is streamed", smoke_speech.stream),
    ("SMK-10", "too long is refused", limits),
)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("Check", "What", "Result", "Took", "Detail", box=None, pad_edge=False)
    for one in outcomes:
        result = Text(one.result, style=STYLES[one.result])
        table.add_row(one.check, one.title, result, f"{one.seconds:.2f} s", Text(one.detail))
    return table
