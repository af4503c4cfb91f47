"""What every client command shares: where to call, for how long, how to print, and how failures become exit codes."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import grpc

from pixvox import client
from pixvox.cli.exits import ExitCode, exit_code
from pixvox.cli.output import Report
from pixvox.cli.speech_stream import IncompleteStreamError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with.

    Attributes:
        channel: To the service; closed after the command, which cancels what still runs.
        target: HOST:PORT of the service.
        report: Where to show things.
        timeout: Seconds a call may take, or None to leave it to the service.
    """

    channel: grpc.Channel
    target: str
    report: Report
    timeout: float | None


def client_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all client commands, and hand it a `Session` in their place."""

    @click.option(
        "--target",
        metavar="HOST:PORT",
        envvar="PIXVOX_TARGET",
        show_envvar=True,
        default=client.DEFAULT_TARGET,
        show_default=True,
        help="Address of the service.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Give up after this time."
    )
    @functools.wraps(function)
    def run(*, target: str, as_json: bool, timeout: float | None, **values: Any) -> None:  # noqa: ANN401
        report = Report(as_json)
        with client.connect(target) as channel:
            code = _run(
                functools.partial(function, Session(channel, target, report, timeout), **values), report, target
            )
        if code:
            raise click.exceptions.Exit(code)

    return run


def gathered(kind: type[Any], name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hand a command those options that are fields of the dataclass `kind` as one value called `name`."""
    fields = [field.name for field in dataclasses.fields(kind)]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*arguments: Any, **values: Any) -> None:  # noqa: ANN401
            values[name] = kind(**{field: values.pop(field) for field in fields})
            function(*arguments, **values)

        return run

    return decorate


def _run(command: Callable[[], None], report: Report, target: str) -> ExitCode:
    try:
        command()
    except IncompleteStreamError as error:
        if error.failure is None:
            report.error(str(error), _notes(error))
        else:
            report.failure(error.failure, target, [str(error), *_notes(error)])
        return ExitCode.INCOMPLETE
    except grpc.RpcError as error:
        failure = client.failure(error)
        report.failure(failure, target, _notes(error))
        return exit_code(failure.code.name)
    except BrokenPipeError:
        # Whoever read our output has left; click ends quietly.
        raise
    except OSError as error:
        report.error(str(error), _notes(error))
        return ExitCode.FAILED
    return ExitCode.OK


def _notes(error: Exception) -> list[str]:
    return list(getattr(error, "__notes__", ()))
