"""The server: builds everything, serves until it is told to stop, and drains.

`run` is a process; `running` is the same service inside an event loop, for tests and embedding.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc

import pixvox
from pixvox import health, http, logs, processes, registry
from pixvox.database import Database
from pixvox.interceptors import CallInterceptor
from pixvox.prices import PriceTable, PriceTableError
from pixvox.reflection import add_reflection
from pixvox.routing import Router
from pixvox.services.images import ImageService
from pixvox.services.models import ModelService
from pixvox.services.speech import SpeechService
from pixvox.services.voices import VoiceService
from pixvox.settings import SettingsError, address
from pixvox.telemetry import Telemetry
from pixvox.upstream import Upstream
from pixvox.v1 import (
    image_service_pb2_grpc,
    model_service_pb2_grpc,
    speech_service_pb2_grpc,
    voice_service_pb2_grpc,
)
from pixvox.voices import VoiceStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

    from pixvox.settings import ServerSettings, Settings

log = structlog.get_logger("pixvox.server")

SERVICES = ("pixvox.v1.ImageService", "pixvox.v1.SpeechService", "pixvox.v1.VoiceService", "pixvox.v1.ModelService")
# After the cut at the end of the grace period, calls get this long to send their last status.
CUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """A service that accepts calls.

    Attributes:
        target: HOST:PORT of gRPC.
        http: HOST:PORT of the side port, empty if it is off.
        admin: HOST:PORT of channelz, empty if it is off.
        calls: Tells how many calls are in flight.
    """

    target: str
    http: str
    admin: str
    calls: CallInterceptor


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code: 0 after a drain.

    Raises:
        SettingsError: The settings cannot be used, for example because a port is taken.
    """
    logs.set_up(settings.log)
    if settings.server.workers > 1:
        return processes.supervise(settings, _run_worker)
    asyncio.run(_serve(settings))
    return 0


def _run_worker(settings: Settings) -> None:
    """Be one of several processes; the entry point of a spawned interpreter."""
    logs.set_up(settings.log)
    try:
        asyncio.run(_serve(settings))
    except SettingsError as error:
        log.critical("cannot start", error=str(error))
        sys.exit(1)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    started = time.monotonic()
    async with running(settings) as service:
        log.info(
            "serving",
            listen=service.target,
            http=service.http or None,
            admin=service.admin or None,
            pid=os.getpid(),
            version=pixvox.__version__,
            providers=sorted(settings.providers),
            seconds=round(time.monotonic() - started, 3),
        )
        await stop.wait()
        log.info("draining", in_flight=service.calls.in_flight, grace_seconds=settings.server.grace_seconds)
    log.info("stopped")


@contextlib.asynccontextmanager
async def running(settings: Settings, *, exporter: SpanExporter | None = None) -> AsyncIterator[Running]:
    """Serve for the block; leaving it drains within the grace period.

    Args:
        settings: The settings. Ports may be 0.
        exporter: Gets every finished span.

    Raises:
        SettingsError: The settings cannot be used, for example because a port is taken.
    """
    async with contextlib.AsyncExitStack() as stack:
        span_file = Path(settings.telemetry.span_file) if settings.telemetry.span_file else None
        telemetry = Telemetry(span_file=span_file, exporter=exporter)
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        upstream = _upstream(settings, telemetry.tracer)
        stack.push_async_callback(upstream.aclose)
        entries = registry.build(settings.providers, upstream)
        for entry in entries:
            stack.push_async_callback(entry.provider.aclose)
        router = Router(entries, settings.defaults, telemetry.tracer, _prices(settings))
        database = await Database.open(settings.database.url)
        stack.push_async_callback(database.aclose)
        voices = VoiceStore(database)
        voice_service = VoiceService(router, upstream, voices, settings)
        # Makings outlive their callers, and end before the database does.
        stack.push_async_callback(voice_service.aclose)
        calls = CallInterceptor(telemetry, settings.deadlines)
        server = grpc.aio.server(interceptors=[calls], options=_options(settings.server))
        image_service_pb2_grpc.add_ImageServiceServicer_to_server(ImageService(router, upstream, settings), server)
        speech_service_pb2_grpc.add_SpeechServiceServicer_to_server(SpeechService(router, voices, settings), server)
        voice_service_pb2_grpc.add_VoiceServiceServicer_to_server(voice_service, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(router), server)
        checks = await _health(server, entries)
        if settings.server.reflection:
            add_reflection(server, (*SERVICES, health.SERVICE_NAME))
        target = _bound(server, settings.server.listen, "server.listen")
        admin = await _admin(settings.server.admin, stack)
        serving = {"now": True}
        side = await _side_port(settings.server.http, telemetry, serving, stack)
        await server.start()
        stack.push_async_callback(_drain, server, checks, calls, serving, settings.server.grace_seconds)
        yield Running(target, side, admin, calls)


async def _drain(
    server: grpc.aio.Server,
    checks: health.HealthServicer,
    calls: CallInterceptor,
    serving: dict[str, bool],
    grace: float,
) -> None:
    """Take no new calls, let the running ones end within `grace` seconds, and cut what is left.

    The transport is stopped last: it would answer new calls on open connections with CANCELLED, which tells a caller
    nothing, where the interceptor says SHUTTING_DOWN and health says NOT_SERVING.
    """
    serving["now"] = False
    calls.refuse()
    await checks.enter_graceful_shutdown()
    if not await calls.ended(within=grace):
        log.warning("grace period is over", cut=calls.in_flight)
        calls.cut()
        await calls.ended(within=CUT_SECONDS)
    # What is left are watchers of health, which never end by themselves.
    await server.stop(None)


def _prices(settings: Settings) -> PriceTable:
    try:
        return PriceTable.load(Path(settings.prices.file) if settings.prices.file else None)
    except PriceTableError as error:
        raise SettingsError(f"prices.file: {error}") from error


def _upstream(settings: Settings, tracer: Tracer) -> Upstream:
    try:
        return Upstream(allowed_hosts=settings.fetch.allowed_hosts, seconds=settings.fetch.seconds, tracer=tracer)
    except ValueError as error:
        raise SettingsError(f"fetch.allowed_hosts: {error}") from error


async def _health(server: grpc.aio.Server, entries: Sequence[registry.Entry]) -> health.HealthServicer:
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in SERVICES:
        await checks.set(name, health.SERVING)
    for entry in entries:
        status = health.NOT_SERVING if entry.unready else health.SERVING
        await checks.set(f"providers/{entry.name}", status)
        if entry.unready:
            log.warning("provider is not ready", provider=entry.name, reason=entry.unready)
    return checks


async def _side_port(
    text: str, telemetry: Telemetry, serving: dict[str, bool], stack: contextlib.AsyncExitStack
) -> str:
    if not text:
        return ""
    host, port = address(text, "server.http")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"server.http: cannot listen on {text}: {error.strerror}") from error
    app = http.application(telemetry, lambda: serving["now"])
    await stack.enter_async_context(http.listening(app, listener))
    return _joined(host, listener.getsockname()[1])


async def _admin(text: str, stack: contextlib.AsyncExitStack) -> str:
    if not text:
        return ""
    server = grpc.aio.server()
    channelz.add_channelz_servicer(server)
    add_reflection(server, ("grpc.channelz.v1.Channelz",))
    bound = _bound(server, text, "server.admin")
    await server.start()
    stack.push_async_callback(server.stop, None)
    return bound


def _bound(server: grpc.aio.Server, text: str, name: str) -> str:
    host, _ = address(text, name)
    try:
        port = server.add_insecure_port(text)
    except RuntimeError as error:
        raise SettingsError(f"{name}: cannot listen on {text}; is another process using the port?") from error
    return _joined(host, port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes),
        ("grpc.max_send_message_length", settings.max_response_bytes),
        # Only workers share a port; for one process a taken port has to be an error.
        ("grpc.so_reuseport", int(settings.workers > 1)),
        # Finds callers that vanished without closing, so that their upstream work stops.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Lets callers keep idle connections open through load balancers with a ping every 10 s.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 3),
        # Makes callers reconnect now and then, or a balancer of connections never rebalances; the longest call may end.
        ("grpc.max_connection_age_ms", 3_600_000),
        ("grpc.max_connection_age_grace_ms", 3_700_000),
    ]
