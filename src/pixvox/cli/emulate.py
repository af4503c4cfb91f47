"""`pixvox emulate`: runs an emulator of an upstream service, to try things with and without a key."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING

import click

from pixvox.cli.exits import ExitCode

if TYPE_CHECKING:
    from pixvox.testing.dashscope import Behaviour, RequestRecord

# Nobody asks this process for its records; a request can hold 30 MB of pictures.
_KEPT = 10


@click.group()
def emulate() -> None:
    """Run an emulator of an upstream service."""


@emulate.command()
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8090", show_default=True, help="Address.")
@click.option(
    "--api-key", "api_keys", multiple=True, default=("sk-test",), show_default=True, help="A key that is good."
)
@click.option("--public-base", metavar="URL", help="What result URLs begin with.  [default: the address]")
@click.option("--rate-limits", is_flag=True, help="Hold the vendor's rate limits.")
@click.option(
    "--voice-quota", type=click.IntRange(min=0), default=1000, show_default=True, help="Custom voices at most."
)
@click.option(
    "--chunk-interval",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=0.0,
    show_default=True,
    help="Between the audio chunks of a stream, each 100 ms long.",
)
@click.pass_context
def dashscope(
    context: click.Context,
    listen: str,
    api_keys: tuple[str, ...],
    public_base: str | None,
    rate_limits: bool,
    voice_quota: int,
    chunk_interval: float,
) -> None:
    """Emulate Alibaba's DashScope, HTTP and WebSocket on one port.

    Pictures are real PNGs behind URLs that run out, speech is audible, voices live as long as the process. Prints a line
    of JSON for each request when it is over.
    """
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter("must be HOST:PORT.", param_hint="--listen")
    try:
        from pixvox.testing.dashscope import Behaviour
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pixvox":
            raise
        click.echo(f"The emulator needs {error.name}: pip install 'pixvox[server]'", err=True)
        context.exit(ExitCode.USAGE)
    behaviour = Behaviour(rate_limits=rate_limits, voice_quota=voice_quota, chunk_interval=chunk_interval)
    try:
        asyncio.run(_serve(host.strip("[]"), int(port), api_keys, behaviour, public_base))
    except OSError as error:
        click.echo(f"Cannot listen at {listen}: {error}", err=True)
        context.exit(ExitCode.FAILED)


async def _serve(
    host: str, port: int, api_keys: tuple[str, ...], behaviour: Behaviour, public_base: str | None
) -> None:
    from pixvox.testing.dashscope import DashScopeEmulator

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with DashScopeEmulator(
        host=host,
        port=port,
        api_keys=api_keys,
        behaviour=behaviour,
        public_base=public_base,
        records_kept=_KEPT,
        on_end=_log,
    ) as emulator:
        click.echo(f"HTTP       {emulator.http_base}")
        click.echo(f"WebSocket  {emulator.ws_base}")
        await stopped.wait()


def _log(record: RequestRecord) -> None:
    now = time.monotonic()
    line = {
        "operation": record.operation,
        "method": record.method,
        "path": record.path,
        "model": record.json.get("model") if isinstance(record.json, dict) else record.query.get("model"),
        "status": record.status,
        "seconds": round(now - record.asked_at, 3),
        "finished": record.finished,
        "cancelled": record.cancelled,
        "usage": record.usage,
        "effects": record.effects,
    }
    click.echo(json.dumps({name: value for name, value in line.items() if value not in (None, (), "")}))
