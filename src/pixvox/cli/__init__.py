"""The command `pixvox`: starts the service, and makes pictures and speech with one.

Exit codes are in `pixvox.cli.exits` and at the end of `pixvox --help`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

from pixvox.cli.exits import MEANINGS, ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

# Importing gRPC and the contract takes longer than showing this page, so commands are imported when they are run.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("pixvox.cli.serve:serve", "Run the service."),
    "config": ("pixvox.cli.config:config", "Check, show and compare settings."),
    "image": ("pixvox.cli.images:image", "Make and edit pictures."),
    "speak": ("pixvox.cli.speech:speak", "Speak a text."),
    "voice": ("pixvox.cli.voices:voice", "Make voices and list them."),
    "models": ("pixvox.cli.catalogue:models", "List the models and what they can do."),
    "providers": ("pixvox.cli.catalogue:providers", "List the configured providers."),
    "explain": ("pixvox.cli.explain:explain", "Tell who would serve a call, and why."),
    "health": ("pixvox.cli.catalogue:health", "Ask whether the service is up."),
    "smoke": ("pixvox.cli.smoke:smoke", "Try everything on a running service."),
    "trace": ("pixvox.cli.trace:trace", "Show what happened inside of a call."),
    "conformance": ("pixvox.cli.conformance:conformance", "Check whether a provider keeps its contract."),
    "emulate": ("pixvox.cli.emulate:emulate", "Run an emulator of an upstream service."),
    "version": ("pixvox.cli.version:version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; Ctrl-C has its own exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            click.echo(" ".join(["Interrupted.", *getattr(interrupt, "__notes__", ())]), err=True)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


def _epilog() -> str:
    rows = "\n".join(f"  {code:>3}  {MEANINGS[code]}" for code in ExitCode)
    return f"\b\nExit codes:\n{rows}"


@click.group(cls=LazyGroup, epilog=_epilog(), context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Pictures and voice from many providers through one gRPC service.

    Start one with `pixvox serve`; the other commands talk to the one at --target.
    """
