"""What the commands share that run the service's own code instead of calling a service."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar

import click

from pixvox.cli.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


def service_command(function: Callable[P, T]) -> Callable[P, T]:
    """Have a command that imports the service when it runs say what is missing, and what is wrong with the settings."""

    @functools.wraps(function)
    def run(*arguments: P.args, **values: P.kwargs) -> T:
        try:
            # Here, so that neither `pixvox --help` nor a client command loads the service.
            from pixvox.settings import SettingsError
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        try:
            return function(*arguments, **values)
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        except SettingsError as error:
            click.echo(f"The settings cannot be used: {error}", err=True)
            raise click.exceptions.Exit(ExitCode.USAGE) from error

    return run


def _missing(error: ModuleNotFoundError) -> Exception:
    if (error.name or "").partition(".")[0] == "pixvox":
        return error
    click.echo(f"The service needs {error.name}: pip install 'pixvox[server]'", err=True)
    return click.exceptions.Exit(ExitCode.USAGE)
