"""The HTTP side port: health for load balancers and metrics for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.requests import Request

    from pixvox.telemetry import Telemetry


def application(telemetry: Telemetry, serving: Callable[[], bool], digest: Callable[[], str]) -> Starlette:
    """Return the ASGI application.

    `GET /healthz` answers 200 `{"status": "SERVING", "config_digest": "..."}`, or 503 with `NOT_SERVING` while draining;
    `GET /metrics` answers in the Prometheus text format.
    """

    async def healthz(_: Request) -> Response:
        up = serving()
        body = {"status": "SERVING" if up else "NOT_SERVING", "config_digest": digest()}
        return JSONResponse(body, status_code=200 if up else 503)

    async def metrics(_: Request) -> Response:
        return Response(telemetry.metrics_text(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics)])


@contextlib.asynccontextmanager
async def listening(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    """Serve `app` on a bound socket in the running loop for the block."""
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process has one home for signals, `pixvox.server`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
