"""What telemetry costs: CPU of one GenerateImage with traces off, at 1 %, and at 100 %, in one run.

The provider is an emulated DashScope in a process of its own, so that the call makes the spans of a real one: server,
operation, attempt, download. Traces are pushed by OTLP to a receiver in another process that throws them away.
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

from benchmarks.calls import cpu_per_call
from benchmarks.startup import wait_until_serving
from pixvox import client
from pixvox.v1 import image_service_pb2, image_service_pb2_grpc, media_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 960
ROUNDS = 3
PORT = 52320
MODEL = "qwen-image-2.0"
SINK = """
import asyncio, sys, grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb, trace_service_pb2_grpc as rpc
class Sink(rpc.TraceServiceServicer):
    async def Export(self, request, context):
        return pb.ExportTraceServiceResponse()
async def main():
    server = grpc.aio.server()
    rpc.add_TraceServiceServicer_to_server(Sink(), server)
    server.add_insecure_port(sys.argv[1])
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""
VENDOR = """
import asyncio, sys
from pixvox.testing.dashscope import DashScopeEmulator
async def main():
    async with DashScopeEmulator(port=int(sys.argv[1])) as emulator:
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
CONFIG = """
[providers.qwen]
kind = "dashscope"
api_key = "sk-test"
http_base = "http://127.0.0.1:{port}/api/v1"
result_hosts = ["127.0.0.1:{port}"]
[database]
url = "sqlite+aiosqlite:///{folder}/bench.db"
[log]
level = "warning"
"""
REQUEST = image_service_pb2.GenerateImageRequest(
    prompt="a lighthouse",
    model=MODEL,
    size=media_pb2.Size(width=512, height=512),
    delivery=media_pb2.DELIVERY_URI,
)
TRACES = {
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{PORT + 9}",
    "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true",
}
KINDS = {
    "off": {},
    "1 %": TRACES | {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "100 %": TRACES,
}


def main() -> None:
    """Print CPU per call of each, and the ratio to the first."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        config = Path(folder) / "pixvox.toml"
        config.write_text(CONFIG.format(port=PORT + 8, folder=folder))
        vendor = stack.enter_context(_process([sys.executable, "-c", VENDOR, str(PORT + 8)], stdout=subprocess.PIPE))
        if vendor.stdout is not None:
            # Until it says that it is ready.
            vendor.stdout.readline()
        stack.enter_context(_process([sys.executable, "-c", SINK, f"127.0.0.1:{PORT + 9}"]))
        services = {}
        for number, (kind, environment) in enumerate(KINDS.items()):
            target = f"127.0.0.1:{PORT + number}"
            command = [
                sys.executable,
                "-m",
                "pixvox.cli",
                "serve",
                "--config",
                str(config),
                "--http",
                "",
                "--listen",
                target,
            ]
            process = stack.enter_context(_process(command, environment=environment))
            wait_until_serving(target)
            services[kind] = (process.pid, target)
        _compare(services)


def _compare(services: dict[str, tuple[int, str]]) -> None:
    seconds: dict[str, list[float]] = {kind: [] for kind in services}
    # In turns, so that a neighbour's load falls on all of them; the least of each is the least disturbed.
    for _ in range(ROUNDS):
        for kind, (pid, target) in services.items():
            seconds[kind].append(asyncio.run(_measured(pid, target)))
    base = min(seconds["off"])
    for kind, values in seconds.items():
        print(f"CPU per GenerateImage, traces {kind}: {min(values) * 1e3:.2f} ms, ratio {min(values) / base:.2f}")


async def _measured(pid: int, target: str) -> float:
    async with client.connect_aio(target) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        return await cpu_per_call(pid, lambda: stub.GenerateImage(REQUEST), CALLS)


@contextlib.contextmanager
def _process(
    command: list[str], *, environment: dict[str, str] | None = None, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, env=os.environ | (environment or {}))
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
