"""A served process sends its traces, metrics and logs to a real receiver, and none of it gets in the way of calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from calling import Stubs, fault, settings_for_tests, stubs_of, until
from otlp_receiver import SIGNALS, Receiver, attributes, hanging, receiving, receiving_http
from pixvox import server
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

METHOD = "pixvox.v1.ImageService/GenerateImage"
SMALL = GenerateImageRequest(prompt="a secret lighthouse", size=media_pb2.Size(width=8, height=8))
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BLRP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
# At the end telemetry gets four seconds; the rest is what a process takes to end on a busy machine.
END_SECONDS = 9.0


class Process:
    """A `pixvox serve` of its own, whose log is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, object]] = []
        self.other: list[str] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.other.append(line.decode())

    def lines(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.log if line["event"] == event]

    async def said(self, event: str) -> dict[str, object]:
        with contextlib.suppress(TimeoutError):
            await until(lambda: self.lines(event) or self.process.returncode is not None, seconds=20)
        assert self.lines(event), (self.log, self.other)
        return self.lines(event)[-1]

    async def ended(self) -> float:
        """Send SIGTERM; return the seconds that the process took to end well."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert await self.process.wait() == 0
        await self.reading
        return time.monotonic() - started


# The last two win over OTEL_EXPORTER_OTLP_CERTIFICATE over HTTP, which is the way of `requests`.
MACHINES_OWN = ("OTEL_", "PIXVOX_", "QWEN_", "DASHSCOPE_", "TTS_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@contextlib.asynccontextmanager
async def process(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[Process]:
    machine = {name: value for name, value in os.environ.items() if not name.startswith(MACHINES_OWN)}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pixvox.cli", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments),
        cwd=folder,
        env=machine | {"PIXVOX_LOG_FORMAT": "json"} | environment,
        stderr=subprocess.PIPE,
    )
    running = Process(started)
    try:
        yield running
    finally:
        if started.returncode is None:
            # Lets workers end with it.
            started.terminate()
        await started.wait()
        await running.reading


async def draw(running: Process) -> None:
    """One picture, of the sandbox."""
    target = (await running.said("serving"))["listen"]
    async with stubs_of(str(target)) as stubs:
        await stubs.images.GenerateImage(SMALL)


async def check_all(receiver: Receiver) -> None:
    """The call's span, its line and its metric are there, belong together, and tell of the service."""
    resource, span = await receiver.span(METHOD)
    assert resource["service.name"] == "drawings"
    assert resource["service.version"]
    assert resource["service.instance.id"]
    assert resource["deployment.environment.name"] == "test"
    assert resource["telemetry.sdk.language"] == "python"
    assert span.kind == span.SPAN_KIND_SERVER
    assert attributes(span.attributes)["rpc.method"] == METHOD
    of_record, record = await receiver.record("call")
    assert of_record == resource
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    assert record.severity_text == "INFO"
    fields = attributes(record.attributes)
    assert (fields["method"], fields["code"], fields["provider"]) == (METHOD, "OK", "sandbox")
    assert fields["request_id"]
    await until(lambda: "rpc.server.call.duration" in receiver.metrics(), seconds=20)
    (point,) = receiver.metrics()["rpc.server.call.duration"].histogram.data_points
    assert attributes(point.attributes)["rpc.method"] == METHOD
    assert point.count == 1
    assert point.explicit_bounds[-1] == 1200
    assert all("lighthouse" not in str(request) for signal in SIGNALS for request in receiver.requests[signal])


NAMED = {"OTEL_SERVICE_NAME": "drawings", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
MORE = {
    "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue,authorization=Bearer%20t",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
}


async def test_a_served_process_sends_everything_over_grpc(tmp_path):
    async with receiving() as receiver:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}"}
        async with process(tmp_path, **QUICK, **NAMED, **MORE, **endpoint) as running:
            await draw(running)
            await check_all(receiver)
            assert await running.ended() < END_SECONDS
    for name in SIGNALS:
        assert receiver.headers[name][0]["x-tenant"] == "blue"
        assert receiver.headers[name][0]["authorization"] == "Bearer t"
    assert running.other == []
    assert running.lines("telemetry is not exported") == running.lines("telemetry") == []


async def test_a_served_process_sends_everything_over_http(tmp_path):
    async with receiving_http() as receiver:
        endpoint = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        async with process(tmp_path, **QUICK, **NAMED, **MORE, **endpoint) as running:
            await draw(running)
            await check_all(receiver)
            assert await running.ended() < END_SECONDS
    for name in SIGNALS:
        assert receiver.headers[name][0]["x-tenant"] == "blue"
        assert receiver.headers[name][0]["content-encoding"] == "gzip"
    assert running.lines("telemetry is not exported") == running.lines("telemetry") == []


async def test_signals_may_go_over_tls_each_its_own_way(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1", "localhost")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(context)
    async with receiving(credentials) as grpc_receiver, receiving_http(context) as http_receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem"),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"https://{grpc_receiver.address}",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"https://{http_receiver.address}/v1/logs",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
        }
        async with process(tmp_path, **QUICK, **environment) as running:
            await draw(running)
            await grpc_receiver.span(METHOD)
            await http_receiver.record("call")
            await running.ended()
    assert running.lines("telemetry is not exported") == []
    # Nothing was said of metrics.
    assert grpc_receiver.requests["metrics"] == http_receiver.requests["metrics"] == []


async def test_what_cannot_be_sent_is_told_once_for_each_signal_with_the_reason(tmp_path):
    # Takes no gzip, so that this shows as well that gzip is what comes.
    async with receiving(options=[("grpc.compression_enabled_algorithms_bitset", 1)]) as receiver:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}"}
        async with process(tmp_path, **QUICK, **MORE, **endpoint) as running:
            for _ in range(5):
                await draw(running)
                await asyncio.sleep(0.1)
            await until(lambda: len(running.lines("telemetry is not exported")) >= len(SIGNALS), seconds=20)
            await asyncio.sleep(1)
            assert await running.ended() < END_SECONDS
    warnings = running.lines("telemetry is not exported")
    assert sorted(str(line["signal"]) for line in warnings) == sorted(SIGNALS)
    assert all("gzip" in str(line["reason"]) for line in warnings)
    assert {line["level"] for line in warnings} == {"warning"}
    assert running.other == []


async def test_a_dead_collector_costs_a_warning_and_nothing_else(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        limits = {
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2",
        }
        async with process(tmp_path, **QUICK, **limits, **endpoint) as running:
            target = str((await running.said("serving"))["listen"])
            async with stubs_of(target) as stubs:
                assert max(await paces(stubs)) < 1.0
            warning = await running.said("telemetry is not exported")
            assert "UNAVAILABLE" in str(warning["reason"]) or "DEADLINE_EXCEEDED" in str(warning["reason"])
            assert await running.ended() < END_SECONDS
    counted = [line["signal"] for line in running.lines("telemetry is not exported")]
    assert len(counted) == len(set(counted))
    assert len(running.lines("call")) == CALLS


async def test_each_worker_process_is_an_instance_of_its_own(tmp_path):
    async with receiving() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://{receiver.address}",
            "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=machine-7",
        }
        async with process(tmp_path, "--workers", "2", **QUICK, **environment):
            await until(lambda: len(instances(receiver)) == 2, seconds=30)
    assert instances(receiver) == {"machine-7/pixvox-0", "machine-7/pixvox-1"}


def instances(receiver: Receiver) -> set[str]:
    groups = [group for request in receiver.requests["metrics"] for group in request.resource_metrics]
    return {attributes(group.resource.attributes)["service.instance.id"] for group in groups}


async def test_a_variable_that_cannot_be_used_stops_the_start_and_is_named(tmp_path):
    for variable, value in (
        ("OTEL_TRACES_SAMPLER", "now_and_then"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_PROPAGATORS", "pigeon"),
    ):
        environment = {"OTEL_TRACES_EXPORTER": "otlp", variable: value}
        async with process(tmp_path, **environment) as running:
            assert await running.process.wait() not in {0, None}
            await running.reading
        said = "".join(running.other) + json.dumps(running.log)
        assert variable in said
        assert "Traceback" not in said


CALLS = 25
# A queue that is full at once.
NARROW = {
    "OTEL_BSP_SCHEDULE_DELAY": "10",
    "OTEL_BSP_MAX_QUEUE_SIZE": "2",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
    "OTEL_METRIC_EXPORT_INTERVAL": "50",
}


async def paces(stubs: Stubs) -> list[float]:
    """What each of a row of calls takes, in seconds."""
    taken = []
    for _ in range(CALLS):
        started = time.monotonic()
        await stubs.images.GenerateImage(SMALL)
        taken.append(time.monotonic() - started)
    return taken


@contextlib.asynccontextmanager
async def in_this_process(exporter: InMemorySpanExporter | None = None, **telemetry: object) -> AsyncIterator[Stubs]:
    settings = settings_for_tests(**{f"telemetry__{name}": value for name, value in telemetry.items()})
    async with server.running(settings, exporter=exporter) as running, stubs_of(running.target) as stubs:
        yield stubs


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_hangs_holds_up_neither_calls_nor_the_end(monkeypatch, protocol):
    async with hanging() as address:
        for name, value in {**NARROW, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}"}.items():
            monkeypatch.setenv(name, value)
        sent = {"traces": ("otlp",), "metrics": ("otlp",), "traces_protocol": protocol, "metrics_protocol": protocol}
        async with in_this_process(**sent) as stubs:
            taken = await paces(stubs)
            started = time.monotonic()
        assert time.monotonic() - started < END_SECONDS
    assert max(taken) < 1.0


async def test_a_slow_collector_does_not_slow_down_calls(monkeypatch):
    async with receiving() as receiver:
        receiver.seconds = 0.5
        for name, value in {**NARROW, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}"}.items():
            monkeypatch.setenv(name, value)
        async with in_this_process(traces=("otlp",), metrics=("otlp",)) as stubs:
            taken = await paces(stubs)
            started = time.monotonic()
        assert time.monotonic() - started < END_SECONDS
    assert statistics.median(taken) < receiver.seconds / 2
    # What did not fit into the queue was left out.
    assert 0 < len(receiver.spans()) < CALLS


async def test_a_collector_that_comes_back_gets_what_is_new(tmp_path):
    async with receiving() as receiver:
        receiver.refusal = grpc.StatusCode.INVALID_ARGUMENT
        endpoint = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{receiver.address}"}
        async with process(tmp_path, **QUICK, **endpoint) as running:
            await draw(running)
            await running.said("telemetry is not exported")
            receiver.refusal = None
            await draw(running)
            await receiver.span(METHOD)
            again = await running.said("telemetry is exported again")
            assert again["lost"]


@pytest.mark.parametrize(
    ("options", "there"), [({}, True), ({"keep_failed": False}, False), ({"slow_seconds": 9.0}, True)]
)
async def test_a_call_that_failed_is_exported_whole_although_no_trace_is_sampled(options, there):
    exporter = InMemorySpanExporter()
    never = {"sampler": "parentbased_traceidratio", "sampler_ratio": 0.0}
    async with in_this_process(exporter, **never, **options) as stubs:
        await stubs.images.GenerateImage(SMALL)
        with pytest.raises(grpc.aio.AioRpcError):
            await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", provider_options=fault(kind="crash")))
    spans = exporter.get_finished_spans()
    roots = [span for span in spans if span.parent is None]
    assert [root.name for root in roots] == [METHOD] * there
    assert all(root.attributes["pixvox.trace.kept"] == "failed" for root in roots)
    assert len({span.context.trace_id for span in spans}) == len(roots)
    if there:
        assert len(spans) > 1
