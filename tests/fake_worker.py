"""The GPU worker with its fake engine: as a process of its own, and as an application in the loop of a test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import aiohttp
import uvicorn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(
    command: tuple[str, ...] = ("-m", "pixvox_worker"), **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as the container starts it, not awaited; it ends with the block."""
    given = {"HOST": "127.0.0.1", "ENGINE": "fake", **environment}
    with subprocess.Popen([sys.executable, *command], env={**os.environ, **given}) as worker:
        try:
            yield worker
        finally:
            worker.terminate()


def wait_until_ready(port: int, seconds: float = 60, path: str = "/health") -> None:
    """Return when `path` is answered with 200."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < end, "the worker never became ready"
            time.sleep(0.05)


@contextlib.asynccontextmanager
async def served(application: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an ASGI application behind a real socket in the running loop, once it has said that it has started."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, lifespan="on", ws="none"))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.005)
        assert server.started, "the application did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        await task
