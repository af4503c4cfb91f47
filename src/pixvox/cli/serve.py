"""`pixvox serve`: runs the service in this process."""

from __future__ import annotations

from pathlib import Path

import click

from pixvox.cli.exits import ExitCode


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Address of gRPC.  [default: 127.0.0.1:50051]")
@click.option("--http", metavar="HOST:PORT", help="Address of health and metrics.  [default: 127.0.0.1:8080]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that share the port.  [default: 1]")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file.  [default: pixvox.toml if there is one]",
)
@click.pass_context
def serve(
    context: click.Context, listen: str | None, http: str | None, workers: int | None, config: Path | None
) -> None:
    """Run the service.

    Options win over the environment (PIXVOX_LISTEN, PIXVOX_HTTP, ...), which wins over the settings file. SIGTERM and
    Ctrl-C let running calls finish.
    """
    try:
        # Here, so that neither `pixvox --help` nor a client command loads the service.
        from pixvox import server, settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pixvox":
            raise
        click.echo(f"The service needs {error.name}: pip install 'pixvox[server]'", err=True)
        context.exit(ExitCode.USAGE)
    overrides = {"server.listen": listen, "server.http": http, "server.workers": workers}
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        code = server.run(settings.load(config, given))
    except settings.SettingsError as error:
        click.echo(f"The settings cannot be used: {error}", err=True)
        context.exit(ExitCode.USAGE)
    context.exit(code)
