"""The spans that a collector gets of a worker's requests, and the trace in its log."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from serving_worker import draw, edit, serve, wait_until

from pixvox_worker.engines.fake import FakeEngine
from pixvox_worker.failures import OutOfMemory
from pixvox_worker.settings import Settings, SettingsError, from_environment
from pixvox_worker.telemetry import TraceFilter

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
SECRET = "a cat of whom nobody may know"
SERVER, ERROR = 2, 2
SOURCE = str(Path(__file__).parents[2] / "src")


class Collector:
    """What was exported: spans by name, and everything as it came."""

    def __init__(self, endpoint, bodies):
        self.endpoint = endpoint
        self.bodies = bodies

    def spans(self):
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, *names):
        """The spans of these names, one of each, once they have come."""
        wait_until(lambda: {span.name for span in self.spans()} >= set(names), seconds=20)
        return [next(span for span in self.spans() if span.name == name) for name in names]


@pytest.fixture
def collector(monkeypatch):
    """A real receiver of OTLP over HTTP."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    bodies = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Collector(f"http://127.0.0.1:{server.server_address[1]}", bodies)
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span):
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def test_the_spans_of_a_request_hang_under_the_callers(collector, tiny):
    with serve(tiny / "qwen-image-edit", otel_exporter_otlp_endpoint=collector.endpoint) as client:
        assert edit(client, headers=TRACEPARENT).status_code == 200
        server, queue, inference, encode = collector.named("POST /process", "queue", "inference", "encode")
    spans = (server, queue, inference, encode)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert (server.parent_span_id.hex(), server.kind) == (CALLER, SERVER)
    assert queue.parent_span_id == inference.parent_span_id == server.span_id
    assert encode.parent_span_id == inference.span_id
    assert server.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert queue.end_time_unix_nano == inference.start_time_unix_nano == encode.start_time_unix_nano
    assert encode.end_time_unix_nano <= inference.end_time_unix_nano <= server.end_time_unix_nano
    assert {span.status.code for span in spans} == {0}
    said = attributes(server)
    assert (said["http.request.method"], said["http.route"], said["url.path"]) == ("POST", "/process", "/process")
    assert (said["http.response.status_code"], said["url.scheme"]) == (200, "http")
    worked = attributes(inference)
    assert (worked["pixvox.worker.steps"], worked["pixvox.worker.steps.done"]) == (2, 2)
    assert (worked["gen_ai.request.image.width"], worked["gen_ai.request.image.height"]) == (64, 64)
    assert (worked["pixvox.worker.batch.size"], worked["pixvox.worker.task"]) == (1, "image-editing")


def test_requests_that_ran_together_say_how_many_they_were(collector):
    with serve(
        otel_exporter_otlp_endpoint=collector.endpoint, max_batch_size=2, batch_wait_ms=500, fake_step_seconds=0.05
    ) as client:
        jobs = [draw_later(client) for _ in range(2)]
        assert [job.status_code for job in jobs] == [202, 202]
        wait_until(lambda: [span.name for span in collector.spans()].count("inference") == 2)
    sizes = [attributes(span)["pixvox.worker.batch.size"] for span in collector.spans() if span.name == "inference"]
    assert sizes == [2, 2]


def draw_later(client, **options):
    """A job in the table; its request is over at once."""
    body = {"prompt": SECRET, "options": {"async": True, "width": 64, "height": 64, "steps": 4, **options}}
    return client.post("/process", json=body, headers=TRACEPARENT)


def test_a_job_that_outlives_its_request_is_still_in_the_trace(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint, fake_step_seconds=0.05) as client:
        draw_later(client)
        server, inference = collector.named("POST /process", "inference")
    assert inference.trace_id.hex() == TRACE
    assert inference.parent_span_id == server.span_id
    assert inference.end_time_unix_nano > server.end_time_unix_nano
    assert attributes(server)["http.response.status_code"] == 202


def test_speech_has_its_spans_too(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint) as client:
        body = {"input": SECRET, "voice": "vivian", "stream": True}
        assert client.post("/v1/audio/speech", json=body, headers=TRACEPARENT).status_code == 200
        server, inference = collector.named("POST /v1/audio/speech", "inference")
    assert {server.trace_id.hex(), inference.trace_id.hex()} == {TRACE}
    worked = attributes(inference)
    assert (worked["pixvox.worker.task"], worked["pixvox.worker.job.state"]) == ("custom-voice", "completed")
    assert worked["pixvox.worker.steps.done"] > 0
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_a_running_request_that_is_cancelled_is_in_the_trace(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint, fake_step_seconds=0.05) as client:
        body = {"prompt": SECRET, "size": "64x64", "num_inference_steps": 200}
        with pytest.raises(httpx.TimeoutException):
            client.post("/v1/images/generations", json=body, headers=TRACEPARENT, timeout=0.5)
        server, inference = collector.named("POST /v1/images/generations", "inference")
    assert {server.trace_id.hex(), inference.trace_id.hex()} == {TRACE}
    worked = attributes(inference)
    assert (worked["pixvox.worker.job.state"], worked["error.type"]) == ("cancelled", "cancelled")
    assert 0 < worked["pixvox.worker.steps.done"] < 200
    # Nobody's fault.
    assert {server.status.code, inference.status.code} == {0}
    assert attributes(server)["pixvox.worker.job.state"] == "cancelled"


def test_a_waiting_job_that_is_cancelled_has_no_inference(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint, fake_step_seconds=0.05) as client:
        client.post(
            "/process", json={"prompt": "x", "options": {"async": True, "steps": 200, "width": 64, "height": 64}}
        )
        job = draw_later(client).json()["job_id"]
        client.post(f"/job/{job}/cancel")
        wait_until(lambda: any(attributes(span).get("pixvox.worker.job.id") == job for span in collector.spans()))
        cancelled = [span for span in collector.spans() if attributes(span).get("pixvox.worker.job.id") == job]
    assert [(span.name, span.trace_id.hex()) for span in cancelled] == [("queue", TRACE)]


class Broken(FakeEngine):
    """Fails as it is told."""

    failure = RuntimeError(SECRET)

    def make(self, tasks, watch):
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [(RuntimeError(SECRET), 500, "internal_error"), (OutOfMemory("Too large."), 503, "out_of_memory")],
    ids=["broken", "memory"],
)
def test_a_failed_request_is_in_the_trace(collector, failure, status, kind):
    engine = Broken(Settings())
    engine.failure = failure
    with serve(engine=engine, otel_exporter_otlp_endpoint=collector.endpoint) as client:
        body = {"prompt": SECRET, "size": "64x64", "num_inference_steps": 2}
        assert client.post("/v1/images/generations", json=body, headers=TRACEPARENT).status_code == status
        server, inference = collector.named("POST /v1/images/generations", "inference")
    assert {server.trace_id.hex(), inference.trace_id.hex()} == {TRACE}
    assert (server.status.code, inference.status.code) == (ERROR, ERROR)
    assert attributes(server)["error.type"] == str(status)
    assert attributes(inference)["error.type"] == kind


def test_a_mistake_of_ours_is_a_failure_in_the_trace_and_in_the_metrics(collector):
    class Mistaken(FakeEngine):
        def traits(self):
            raise RuntimeError(SECRET)

    with serve(engine=Mistaken(Settings()), otel_exporter_otlp_endpoint=collector.endpoint) as client:
        assert draw(client, num_inference_steps=None).status_code == 500
        (server,) = collector.named("POST /v1/images/generations")
        labels = {"route": "/v1/images/generations", "status": "500"}
        assert client.worker.metrics.registry.get_sample_value("worker_requests_total", labels) == 1
    assert (server.status.code, attributes(server)["error.type"]) == (ERROR, "500")
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_a_stream_that_fails_after_its_status_is_a_failure_in_the_trace(collector):
    engine = Broken(Settings())
    with serve(engine=engine, otel_exporter_otlp_endpoint=collector.endpoint) as client:
        body = {"prompt": SECRET, "size": "64x64", "num_inference_steps": 2, "stream": True}
        answer = client.post("/v1/images/generations", json=body, headers=TRACEPARENT)
        assert (answer.status_code, "event: error" in answer.text) == (200, True)
        (server,) = collector.named("POST /v1/images/generations")
    assert (server.status.code, attributes(server)["error.type"]) == (ERROR, "internal_error")


def test_a_request_that_is_refused_is_a_span_without_children(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint) as client:
        client.post("/v1/images/generations", json={"prompt": ""}, headers=TRACEPARENT)
        (server,) = collector.named("POST /v1/images/generations")
    assert (attributes(server)["http.response.status_code"], server.status.code) == (400, 0)
    assert len(collector.spans()) == 1


def test_no_span_holds_what_the_caller_wrote(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint) as client:
        draw(client, prompt=SECRET, negative_prompt=SECRET)
        collector.named("POST /v1/images/generations", "inference", "encode")
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_the_caller_decides_that_nothing_is_sampled(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint) as client:
        unsampled = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
        body = {"prompt": "x", "size": "64x64", "num_inference_steps": 2}
        assert client.post("/v1/images/generations", json=body, headers=unsampled).status_code == 200
        draw(client)
        collector.named("inference")
    assert TRACE not in {span.trace_id.hex() for span in collector.spans()}


def test_probes_make_no_spans(collector):
    with serve(otel_exporter_otlp_endpoint=collector.endpoint) as client:
        for path in ("/livez", "/health", "/metrics", "/models", "/v1/models"):
            assert client.get(path, headers=TRACEPARENT).status_code == 200
        draw(client)
        collector.named("inference")
    names = {span.name for span in collector.spans()}
    assert names == {"POST /v1/images/generations", "queue", "inference", "encode"}


def test_a_collector_that_is_not_there_costs_the_caller_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with serve(otel_exporter_otlp_endpoint="http://127.0.0.1:9") as client:
        assert draw(client).status_code == 200


def test_without_a_collector_no_sdk_is_loaded():
    code = """
import sys
from pixvox_worker.app import create_app
from pixvox_worker.settings import from_environment
app = create_app(from_environment({"ENGINE": "fake"}))
app.build_middleware_stack()
sys.exit(any(name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")) for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=SOURCE).returncode == 0


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}, "http://c/x"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_the_standard_variables_say_where_spans_go(environment, endpoint):
    assert from_environment(environment).traces_endpoint == endpoint


def test_another_protocol_is_refused_at_the_start():
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(SettingsError, match="http/protobuf"):
        from_environment(given)


@contextlib.contextmanager
def log_lines():
    """The lines of the worker, as its process writes them."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(f"{record.getMessage()} trace={record.trace_id}")

    handler = Lines()
    handler.addFilter(TraceFilter())
    logger = logging.getLogger("pixvox_worker")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("exported", [False, True])
def test_log_lines_carry_the_trace_whether_or_not_spans_are_sent(collector, exported):
    settings = {"otel_exporter_otlp_endpoint": collector.endpoint} if exported else {}
    with log_lines() as lines, serve(engine=Broken(Settings()), **settings) as client:
        body = {"prompt": SECRET, "size": "64x64", "num_inference_steps": 2}
        client.post("/v1/images/generations", json=body, headers=TRACEPARENT)
        client.get("/health")
    about = [line for line in lines if "generations" in line or "failed" in line]
    assert len(about) == 2
    assert all(line.endswith(f"trace={TRACE}") for line in about)
    assert all(line.endswith("trace=-") for line in lines if "/health" in line)
    assert not any(SECRET in line for line in lines)


@pytest.mark.parametrize(
    "header", ["", "x", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{CALLER}-01"]
)
def test_a_header_that_is_no_trace_is_passed_over(header):
    with log_lines() as lines, serve() as client:
        client.get("/livez", headers={"traceparent": header})
        wait_until(lambda: any("/livez" in line for line in lines))
    assert all(line.endswith("trace=-") for line in lines)
