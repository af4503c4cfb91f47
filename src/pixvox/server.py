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
from functools import partial
from typing import TYPE_CHECKING

import grpc
import msgspec
import structlog
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc

import pixvox
from pixvox import health, http, logs, processes
from pixvox.database import Database
from pixvox.database.address import address_of
from pixvox.idempotency import Idempotency
from pixvox.interceptors import CallInterceptor
from pixvox.reflection import add_reflection
from pixvox.reloading import Current, Generation, Lasting, Reloads
from pixvox.routing import TargetStates
from pixvox.routing.rollbacks import Rollbacks
from pixvox.services.images import ImageService
from pixvox.services.models import ModelService
from pixvox.services.speech import SpeechService
from pixvox.services.voices import VoiceService
from pixvox.settings import SettingsError, address
from pixvox.telemetry import Telemetry, watch_loop
from pixvox.telemetry.options import Options
from pixvox.upstream import Upstream
from pixvox.v1 import (
    image_service_pb2_grpc,
    model_service_pb2_grpc,
    speech_service_pb2_grpc,
    voice_service_pb2_grpc,
)
from pixvox.voices import VoiceStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any, NoReturn

    from google.protobuf.message import Message
    from opentelemetry.sdk.trace.export import SpanExporter
    from starlette.applications import Starlette

    from pixvox.configuration import Loaded
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
        current: The configuration that is in force.
    """

    target: str
    http: str
    admin: str
    calls: CallInterceptor
    current: Current


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code: 0 after a drain.

    SIGHUP has the settings read again, as has a change of their file.

    Raises:
        SettingsError: The settings cannot be used, for example because a port is taken.
    """
    logs.set_up(loaded.settings.log)
    if loaded.settings.server.workers > 1:
        return processes.supervise(loaded.settings, partial(_run_worker, loaded))
    asyncio.run(_serve(loaded.settings, loaded))
    return 0


def _run_worker(loaded: Loaded, settings: Settings) -> None:
    """Be one of several processes; the entry point of a spawned interpreter."""
    logs.set_up(settings.log)
    try:
        asyncio.run(_serve(settings, loaded))
    except SettingsError as error:
        log.critical("cannot start", error=str(error))
        sys.exit(1)


async def _serve(settings: Settings, loaded: Loaded) -> None:
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, partial(_hung_up, processes.Terminal(), stop, reload))
    processes.let_hangups_through()
    started = time.monotonic()
    async with running(settings, loaded=loaded, reload=reload) as service:
        log.info(
            "serving",
            listen=service.target,
            http=service.http or None,
            admin=service.admin or None,
            pid=os.getpid(),
            version=pixvox.__version__,
            providers=sorted(settings.providers),
            config=str(loaded.source.path) if loaded.source.path else None,
            digest=service.current.digest,
            seconds=round(time.monotonic() - started, 3),
        )
        await stop.wait()
        log.info("draining", in_flight=service.calls.in_flight, grace_seconds=settings.server.grace_seconds)
    log.info("stopped")


async def check(settings: Settings) -> Generation:
    """Build everything that `settings` say, without serving or asking anyone, and return it closed.

    Raises:
        SettingsError: The settings cannot be used.
    """
    address_of(settings.database.url)
    async with contextlib.AsyncExitStack() as stack:
        # Without the file for spans, which would be made by opening it.
        quiet = msgspec.structs.replace(settings.telemetry, span_file="")
        telemetry = _telemetry(msgspec.structs.replace(settings, telemetry=quiet))
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        upstream = _upstream(settings, telemetry)
        stack.push_async_callback(upstream.aclose)
        generation = await Generation.build(settings, _lasting(upstream, telemetry, None, stack))
        stack.push_async_callback(generation.aclose)
    return generation


def _hung_up(terminal: processes.Terminal, stop: asyncio.Event, reload: asyncio.Event) -> None:
    (stop if terminal.is_gone() else reload).set()


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    exporter: SpanExporter | None = None,
    loaded: Loaded | None = None,
    reload: asyncio.Event | None = None,
) -> AsyncIterator[Running]:
    """Serve for the block; leaving it drains within the grace period.

    Args:
        settings: The settings. Ports may be 0.
        exporter: Gets every finished span.
        loaded: What `settings` come from; without it they stay as they are.
        reload: Is set by whoever wants them read again.

    Raises:
        SettingsError: The settings cannot be used, for example because a port is taken.
    """
    async with contextlib.AsyncExitStack() as stack:
        telemetry = _telemetry(settings, exporter)
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        stack.enter_context(logs.exported(telemetry))
        upstream = _upstream(settings, telemetry)
        stack.push_async_callback(upstream.aclose)
        database = await Database.open(settings.database.url)
        stack.push_async_callback(database.aclose)
        lasting = _lasting(upstream, telemetry, database, stack)
        current = Current(await Generation.build(settings, lasting))
        stack.push_async_callback(current.aclose)
        stack.push_async_callback(lasting.states.aclose)
        current.router.activate()
        telemetry.show_digest(lambda: current.digest)
        voices = VoiceStore(database)
        idempotency = Idempotency(database, settings.idempotency, shares=partial(_shares, current))
        stack.push_async_callback(idempotency.aclose)
        voice_service = VoiceService(current, upstream, voices)
        # Makings outlive their callers, and end before the providers and the database do.
        stack.push_async_callback(voice_service.aclose)
        calls = CallInterceptor(
            telemetry,
            lambda: current.settings.deadlines,
            idempotency,
            caller_metadata=settings.server.caller_metadata,
            trailers=lambda: ((health.DIGEST_KEY, current.digest),),
        )
        server = grpc.aio.server(interceptors=[calls], options=_options(settings.server))
        _add_services(
            server,
            ImageService(current, upstream),
            SpeechService(current, voices, idempotency, telemetry.instruments),
            voice_service,
            ModelService(current, voices),
        )
        checks = await _health(server, current)
        if settings.server.reflection:
            add_reflection(server, (*SERVICES, health.SERVICE_NAME))
        target = _bound(server, settings.server.listen, "server.listen")
        admin = await _admin(settings.server.admin, stack)
        serving = {"now": True}
        app = http.application(telemetry, lambda: serving["now"], lambda: current.digest)
        side = await _side_port(settings.server.http, app, stack)
        await server.start()
        stack.push_async_callback(_drain, server, checks, calls, serving, settings.server.grace_seconds)
        await stack.enter_async_context(_beside(watch_loop(telemetry.instruments)))
        if loaded is not None:
            users = (calls.running, lasting.states.running, voice_service.makings)
            reloads = Reloads(loaded, current, lasting, users, partial(_show, checks), reload or asyncio.Event())
            await stack.enter_async_context(_beside(reloads.watch()))
        yield Running(target, side, admin, calls, current)


def _add_services(
    server: grpc.aio.Server,
    images: ImageService,
    speech: SpeechService,
    voices: VoiceService,
    models: ModelService,
) -> None:
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(images, server)
    speech_service_pb2_grpc.add_SpeechServiceServicer_to_server(speech, server)
    voice_service_pb2_grpc.add_VoiceServiceServicer_to_server(voices, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)


def _shares(current: Current, method: str, request: Message) -> bool:
    return current.router.shares(method, request)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, NoReturn]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


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


def _telemetry(settings: Settings, exporter: SpanExporter | None = None) -> Telemetry:
    try:
        return Telemetry(Options(**msgspec.structs.asdict(settings.telemetry)), exporter=exporter)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"telemetry.span_file: {error.strerror}") from error


def _lasting(
    upstream: Upstream, telemetry: Telemetry, database: Database | None, stack: contextlib.AsyncExitStack
) -> Lasting:
    rollbacks = Rollbacks(database)
    stack.push_async_callback(rollbacks.aclose)
    return Lasting(upstream, telemetry, TargetStates(rollbacks, telemetry.instruments), rollbacks)


def _upstream(settings: Settings, telemetry: Telemetry) -> Upstream:
    try:
        return Upstream(
            allowed_hosts=settings.fetch.allowed_hosts,
            seconds=settings.fetch.seconds,
            tracer=telemetry.tracer,
            durations=telemetry.instruments.request_duration,
        )
    except ValueError as error:
        raise SettingsError(f"fetch.allowed_hosts: {error}") from error


async def _health(server: grpc.aio.Server, current: Current) -> health.HealthServicer:
    checks = health.HealthServicer(lambda: current.digest)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in SERVICES:
        await checks.set(name, health.SERVING)
    await _show(checks, current.generation)
    return checks


async def _show(checks: health.HealthServicer, generation: Generation) -> None:
    """Have health tell of the providers of a generation, and of no others."""
    await checks.set_providers({entry.name: not entry.unready for entry in generation.entries})
    for entry in generation.entries:
        if entry.unready:
            log.warning("provider is not ready", provider=entry.name, reason=entry.unready)


async def _side_port(text: str, app: Starlette, stack: contextlib.AsyncExitStack) -> str:
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
