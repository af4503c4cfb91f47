"""`pixvox config`: checks, shows and compares settings without serving."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixvox.cli.exits import ExitCode, exit_code
from pixvox.cli.local import service_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.configuration import Difference
    from pixvox.reloading import Generation
    from pixvox.settings import Settings

FILE = click.Path(dir_okay=False, path_type=Path)
CALL_SECONDS = 10.0


@click.group()
def config() -> None:
    """Check, show and compare settings.

    Settings are those of FILE with the environment over them, as `pixvox serve --config FILE` takes them; without FILE they
    are those of `pixvox serve` here and now.
    """


@config.command()
@click.argument("file", type=FILE, required=False)
@service_command
def check(file: Path | None) -> None:
    """Build everything that the settings say, without serving or calling anyone.

    Exits with 2 if they cannot be used, and says why.
    """
    from pixvox import server

    source, settings = _loaded(file)
    for line in _facts(source, asyncio.run(server.check(settings))):
        click.echo(line)


@config.command()
@click.argument("file", type=FILE, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of TOML.")
@service_command
def show(file: Path | None, as_json: bool) -> None:
    """Print the settings with all their defaults; secrets are masked."""
    import tomli_w

    from pixvox import configuration

    told = configuration.told(_loaded(file)[1])
    click.echo(
        json.dumps(told, ensure_ascii=False, indent=2, default=str) if as_json else tomli_w.dumps(told), nl=as_json
    )


@config.command()
@click.argument("old", metavar="[OLD]", type=FILE, required=False)
@click.argument("new", metavar="[NEW]", type=FILE, required=False)
@click.option(
    "--running", metavar="HOST:PORT", help="Compare one file, or none, with what runs there, by the digest alone."
)
@service_command
def diff(old: Path | None, new: Path | None, running: str | None) -> None:
    """Tell what differs between two settings, and whether a reload is enough for it or a restart is needed.

    Exits with 0 if nothing differs and with 1 if something does.
    """
    if running is not None:
        if new is not None:
            raise click.UsageError("--running is compared with one file.")
        same = _compared(old, running)
    elif old is None:
        raise click.UsageError("Give the old file, or --running HOST:PORT.")
    else:
        found = _differences(_loaded(old)[1], _loaded(new)[1])
        for one in found:
            click.echo(
                f"{'restart' if one.restart else 'reload ':<7}  {one.name}: {_text(one.old)} -> {_text(one.new)}"
            )
        same = not found
    if not same:
        raise click.exceptions.Exit(ExitCode.FAILED)


def _loaded(file: Path | None) -> tuple[str, Settings]:
    """Return where settings come from, and the settings."""
    from pixvox.configuration import Source

    loaded = Source.find(file).read()
    return str(loaded.source.path or "defaults and the environment"), loaded.settings


def _facts(source: str, generation: Generation) -> Iterator[str]:
    yield f"ok         {source}"
    yield f"digest     {generation.digest}"
    for entry in generation.entries:
        region = f", region {entry.region}" if entry.region else ""
        unready = f"; not ready: {entry.unready}" if entry.unready else ""
        yield f"provider   {entry.name} ({entry.kind}{region}, {len(entry.models)} models){unready}"
    for name, table in generation.settings.providers.items():
        if not table.get("enabled", True):
            yield f"provider   {name} ({table['kind']}), switched off"
    for name, route in generation.settings.routes.items():
        yield f"route      {name} ({', '.join(route.verbs)}) -> {', '.join(target.to for target in route.targets)}"


def _differences(old: Settings, new: Settings) -> tuple[Difference, ...]:
    from pixvox import configuration, registry

    return configuration.differences(old, registry.aligned(old, new))


def _text(value: object) -> str:
    return "(not set)" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _compared(file: Path | None, target: str) -> bool:
    from pixvox import reloading

    source, settings = _loaded(file)
    here, there = reloading.digest(settings), _digest_at(target)
    click.echo(f"{here}  {source}")
    click.echo(f"{there}  {target}")
    click.echo("equal" if here == there else "different")
    return here == there


def _digest_at(target: str) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from pixvox import client
    from pixvox.health import DIGEST_KEY

    with client.connect(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            _, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            failure = client.failure(error)
            click.echo(f"{target} cannot be asked: {failure.message}", err=True)
            raise click.exceptions.Exit(exit_code(failure.code.name)) from error
    digest = dict(call.trailing_metadata() or ()).get(DIGEST_KEY)
    if digest is None:
        click.echo(f"What listens at {target} does not tell its digest; it is no pixvox, or an older one.", err=True)
        raise click.exceptions.Exit(ExitCode.FAILED)
    return str(digest)
