"""`pixvox.client`: channels with the right options, and failures that can be read without the server's packages."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from pixvox import client
from pixvox.errors import ModelNotFoundError, RateLimitedError, UnsupportedError, Violation
from pixvox.v1 import (
    image_service_pb2,
    image_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

LIGHT = {"grpc", "google", "pixvox", "typing_extensions"}


class Counting(
    image_service_pb2_grpc.ImageServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
    health_pb2_grpc.HealthServicer,
):
    """Counts the calls and fails the first ones of them."""

    def __init__(self):
        self.calls = 0
        self.failing = 0
        self.code = grpc.StatusCode.UNAVAILABLE
        self.error = None
        self.trailers = ()
        self.answer_bytes = 0
        self.request_bytes = 0
        self.target = ""

    async def _call(self, context):
        self.calls += 1
        if self.error is not None:
            await context.abort_with_status(rpc_status.to_status(self.error.to_status("r-1")))
        if self.calls <= self.failing:
            await context.abort(self.code, "not now", self.trailers)

    async def GenerateImage(self, request, context):
        await self._call(context)
        return image_service_pb2.GenerateImageResponse(images=[{"data": bytes(self.answer_bytes)}])

    async def EditImage(self, request, context):
        await self._call(context)
        self.request_bytes = len(request.images[0].data)
        return image_service_pb2.EditImageResponse()

    async def ListModels(self, request, context):
        await self._call(context)
        return model_service_pb2.ListModelsResponse()

    async def Check(self, request, context):
        await self._call(context)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
async def service():
    counting = Counting()
    sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=sizes)
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(counting, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(counting, server)
    health_pb2_grpc.add_HealthServicer_to_server(counting, server)
    counting.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield counting
    await server.stop(None)


async def failed(call):
    with pytest.raises(grpc.RpcError) as raised:
        await call
    return client.failure(raised.value)


async def test_a_free_read_is_repeated_while_the_service_is_unavailable(service):
    service.failing = 2
    async with client.connect_aio(service.target) as channel:
        await model_service_pb2_grpc.ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest())
    assert service.calls == 3


async def test_the_health_check_is_repeated_too(service):
    service.failing = 1
    async with client.connect_aio(service.target) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert service.calls == 2


async def test_a_free_read_is_given_up_after_four_attempts(service):
    service.failing = 99
    async with client.connect_aio(service.target) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert (await failed(stub.ListModels(model_service_pb2.ListModelsRequest()))).code.name == "UNAVAILABLE"
    assert service.calls == 4


async def test_a_free_read_that_fails_otherwise_is_not_repeated(service):
    service.failing, service.code = 1, grpc.StatusCode.RESOURCE_EXHAUSTED
    async with client.connect_aio(service.target) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        await failed(stub.ListModels(model_service_pb2.ListModelsRequest()))
    assert service.calls == 1


async def test_a_billable_call_is_never_repeated(service):
    service.failing = 1
    async with client.connect_aio(service.target) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        await failed(stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x")))
    assert service.calls == 1


async def test_a_blocking_channel_has_the_same_rules(service):
    service.failing = 2

    def call():
        with client.connect(service.target) as channel:
            model_service_pb2_grpc.ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest())
            service.calls = 0
            image_service_pb2_grpc.ImageServiceStub(channel).GenerateImage(
                image_service_pb2.GenerateImageRequest(prompt="x")
            )

    with pytest.raises(grpc.RpcError):
        await asyncio.to_thread(call)
    assert service.calls == 1


async def test_requests_of_47_and_answers_of_63_mebibytes_pass(service):
    service.answer_bytes = 63 * 1024 * 1024
    async with client.connect_aio(service.target) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        answer = await stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x"))
        await stub.EditImage(image_service_pb2.EditImageRequest(images=[{"data": bytes(47 * 1024 * 1024)}]))
    assert len(answer.images[0].data) == 63 * 1024 * 1024
    assert service.request_bytes == 47 * 1024 * 1024


async def test_a_message_above_the_limit_is_refused_on_this_side(service):
    service.answer_bytes = 2_000_000
    async with client.connect_aio(service.target, max_response_bytes=1_000_000) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        seen = await failed(stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x")))
    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_proxy_in_the_environment_is_not_asked_for_the_own_machine(service, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for target in (service.target, service.target.replace("127.0.0.1", "localhost")):
        async with client.connect_aio(target) as channel:
            await model_service_pb2_grpc.ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest())
    assert service.calls == 2


def test_the_callers_own_options_win():
    chosen = dict(
        client.channel_options(options=[("grpc.keepalive_time_ms", 60_000), ("grpc.primary_user_agent", "me")])
    )
    assert (chosen["grpc.keepalive_time_ms"], chosen["grpc.primary_user_agent"]) == (60_000, "me")


def test_pings_are_no_more_frequent_than_the_service_permits():
    chosen = dict(client.channel_options())
    assert chosen["grpc.keepalive_time_ms"] >= 10_000
    assert chosen["grpc.keepalive_timeout_ms"] < chosen["grpc.keepalive_time_ms"]


def test_only_free_calls_are_in_the_retry_policy():
    (policy,) = json.loads(dict(client.channel_options())["grpc.service_config"])["methodConfig"]
    assert policy["name"] == [
        {"service": "pixvox.v1.ModelService"},
        {"service": "grpc.health.v1.Health", "method": "Check"},
    ]
    assert policy["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]


async def test_a_failure_has_all_that_the_service_said(service):
    service.error = UnsupportedError(
        "The model cannot.",
        Violation("n", "is 9; allowed: 1..4"),
        Violation("size", "is 1x1"),
        metadata={"provider": "box", "model": "größer"},
    )
    async with client.connect_aio(service.target) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        seen = await failed(stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x")))
    assert (seen.code, seen.reason, seen.message) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "UNSUPPORTED",
        "The model cannot.",
    )
    assert seen.violations == (
        client.FieldViolation("n", "is 9; allowed: 1..4"),
        client.FieldViolation("size", "is 1x1"),
    )
    assert seen.metadata == {"provider": "box", "model": "größer", "request_id": "r-1"}
    assert seen.request_id == "r-1"
    assert (seen.retry_after, seen.resource) == (None, None)
    assert str(seen) == "INVALID_ARGUMENT (UNSUPPORTED): The model cannot.; n: is 9; allowed: 1..4; size: is 1x1"


async def test_a_failure_tells_when_to_try_again(service):
    service.error = RateLimitedError("Too many.", retry_after=2.5)
    async with client.connect_aio(service.target) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        seen = await failed(stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x")))
    assert (seen.reason, seen.retry_after) == ("RATE_LIMITED", 2.5)


async def test_a_failure_of_a_blocking_call_names_what_was_not_found(service):
    service.error = ModelNotFoundError("No such model.", resource=("model", "nope"))

    def call():
        with client.connect(service.target) as channel:
            image_service_pb2_grpc.ImageServiceStub(channel).GenerateImage(
                image_service_pb2.GenerateImageRequest(prompt="x")
            )

    with pytest.raises(grpc.RpcError) as raised:
        await asyncio.to_thread(call)
    seen = client.failure(raised.value)
    assert (seen.code, seen.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert seen.resource == ("model", "nope")


@pytest.mark.parametrize("trailers", [(), (("grpc-status-details-bin", b"\xff\xff\xff"),)])
async def test_a_failure_without_readable_details_keeps_code_and_message(service, trailers):
    service.failing, service.code, service.trailers = 1, grpc.StatusCode.INTERNAL, trailers
    async with client.connect_aio(service.target) as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        seen = await failed(stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x")))
    assert seen == client.Failure(grpc.StatusCode.INTERNAL, message="not now")


async def test_a_service_that_is_not_there_gives_a_failure_without_a_reason():
    async with client.connect_aio("127.0.0.1:1") as channel:
        stub = image_service_pb2_grpc.ImageServiceStub(channel)
        seen = await failed(stub.GenerateImage(image_service_pb2.GenerateImageRequest(prompt="x")))
    assert (seen.code, seen.reason, seen.request_id) == (grpc.StatusCode.UNAVAILABLE, "", "")
    assert "refused" in seen.message


def test_the_client_and_the_stubs_import_only_grpc_and_protobuf():
    script = """if True:
        import sys, grpc
        import pixvox.client
        from pixvox.v1 import image_service_pb2_grpc, model_service_pb2_grpc, speech_service_pb2_grpc
        from pixvox.failures import _classes
        _classes()
        names = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
        print(" ".join(names - set(sys.stdlib_module_names)))
        print(" ".join(name for name in sys.modules if name.startswith(("google.", "pixvox."))))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    packages, modules = (set(line.split()) for line in done.stdout.splitlines())
    # grpc itself imports its sister packages where they are installed.
    assert {name for name in packages if not name.startswith(("_", "cython", "grpc_"))} <= LIGHT
    assert "google.rpc" not in modules
    assert {name for name in modules if name.startswith("pixvox.") and not name.startswith("pixvox.v1")} == {
        "pixvox.client",
        "pixvox.failures",
    }
