"""CPU that the service itself spends on a call, against a bare grpc.aio echo of a message of the same size.

GetModel is asked because it passes through everything that surrounds a call (deadline, record, metrics, log line, routing)
and nothing else; what a provider does on top is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.startup import wait_until_serving
from pixvox import client
from pixvox.v1 import model_service_pb2, model_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

CALLS = 4000
CONCURRENCY = 32
PORT = 52300
BARE = """
import asyncio, sys, grpc
from grpc_health.v1 import health, health_pb2_grpc
async def main():
    answer = open(sys.argv[1], "rb").read()
    async def get(request, context):
        return answer
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    handler = grpc.unary_unary_rpc_method_handler(get)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("pixvox.v1.ModelService", {"GetModel": handler}),))
    server.add_insecure_port(sys.argv[2])
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""
REQUEST = model_service_pb2.GetModelRequest(model="sandbox-image")


def main() -> None:
    """Print CPU per call of both servers, alternating in one run, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        bare_target, target = f"127.0.0.1:{PORT}", f"127.0.0.1:{PORT + 1}"
        own = [sys.executable, "-m", "pixvox.cli", "serve", "--http", f"127.0.0.1:{PORT + 2}", "--listen", target]
        with _process(own) as service:
            wait_until_serving(target)
            answer.write_bytes(asyncio.run(_answer(target)))
            with _process([sys.executable, "-c", BARE, str(answer), bare_target]) as bare:
                wait_until_serving(bare_target)
                _compare((bare.pid, bare_target), (service.pid, target))


def _compare(bare: tuple[int, str], own: tuple[int, str]) -> None:
    for _ in range(2):
        bare_seconds, own_seconds = (asyncio.run(_of_get_model(*one)) for one in (bare, own))
    ratio = own_seconds / bare_seconds
    print(f"CPU per GetModel, {CONCURRENCY} at once: pixvox {own_seconds * 1e3:.2f} ms,", end=" ")
    print(f"bare grpc.aio {bare_seconds * 1e3:.2f} ms, ratio {ratio:.2f}")


async def _answer(target: str) -> bytes:
    async with client.connect_aio(target) as channel:
        answer = await model_service_pb2_grpc.ModelServiceStub(channel).GetModel(REQUEST)
    return answer.SerializeToString()


async def _of_get_model(pid: int, target: str) -> float:
    async with client.connect_aio(target) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return await cpu_per_call(pid, lambda: stub.GetModel(REQUEST), CALLS)


async def cpu_per_call(pid: int, call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Return the CPU seconds that a process spends on each of so many calls, `CONCURRENCY` at once, after a warm-up."""
    await _load(call, calls // 10)
    before = _cpu_seconds(pid)
    await _load(call, calls)
    return (_cpu_seconds(pid) - before) / calls


async def _load(call: Callable[[], Awaitable[object]], calls: int) -> None:
    async def worker() -> None:
        for _ in range(calls // CONCURRENCY):
            await call()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
