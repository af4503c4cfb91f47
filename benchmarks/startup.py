"""How long a fresh process takes to SERVING, against a bare gRPC server, and how much memory it holds at rest."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 7
BARE = """
import asyncio, sys, grpc
from grpc_health.v1 import health, health_pb2_grpc
async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(sys.argv[1])
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""


def main() -> None:
    """Print one line per server and their ratio."""
    bare = [_measured([sys.executable, "-c", BARE], port) for port in range(52100, 52100 + ROUNDS)]
    own = [
        _measured([sys.executable, "-m", "pixvox.cli", "serve", "--http", f"127.0.0.1:{port + 50}", "--listen"], port)
        for port in range(52200, 52200 + ROUNDS)
    ]
    (bare_seconds, bare_mebibytes), (seconds, mebibytes) = _median(bare), _median(own)
    print(f"start to SERVING, median of {ROUNDS}: pixvox {seconds:.2f} s, bare grpc.aio {bare_seconds:.2f} s,", end=" ")
    print(f"ratio {seconds / bare_seconds:.2f}")
    print(f"memory at rest: pixvox {mebibytes:.0f} MiB, bare grpc.aio {bare_mebibytes:.0f} MiB,", end=" ")
    print(f"ratio {mebibytes / bare_mebibytes:.2f}")


def _measured(command: list[str], port: int) -> tuple[float, float]:
    started = time.perf_counter()
    with _process([*command, f"127.0.0.1:{port}"]) as process:
        wait_until_serving(f"127.0.0.1:{port}")
        seconds = time.perf_counter() - started
        time.sleep(0.3)
        return seconds, _resident_mebibytes(process.pid)


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_until_serving(target: str) -> None:
    """Return when the health service of `target` answers."""
    with grpc.insecure_channel(target, options=[("grpc.initial_reconnect_backoff_ms", 5)]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            with contextlib.suppress(grpc.RpcError):
                health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                return
            time.sleep(0.005)


def _resident_mebibytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def _median(results: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(one for one, _ in results), statistics.median(one for _, one in results)
