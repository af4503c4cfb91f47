"""`pixvox serve`: runs the service in this process."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from pixvox.cli.local import service_command


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
@service_command
def serve(
    context: click.Context, listen: str | None, http: str | None, workers: int | None, config: Path | None
) -> None:
    """Run the service.

    Options win over the environment (PIXVOX_LISTEN, PIXVOX_HTTP, ...), which wins over the settings file. SIGTERM and
    Ctrl-C let running calls finish. A changed settings file is read again, as it is on SIGHUP.
    """
    # Until there is something that can read the settings again, the signal waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from pixvox import configuration, server

    overrides = {"server.listen": listen, "server.http": http, "server.workers": workers}
    given = {name: value for name, value in overrides.items() if value is not None}
    context.exit(server.run(configuration.Source.find(config, given).read()))
