"""The server as its operator sees it: start, health, side port, drain, workers, reflection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from calling import config_message, fault, kinds, rest_of, settings_for_tests, stubs_of, text_message
from pixvox import client, server
from pixvox.settings import SettingsError
from pixvox.v1 import media_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SMALL = GenerateImageRequest(prompt="x", size=media_pb2.Size(width=8, height=8))


class Process:
    """A `pixvox serve` of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, object]] = []
        self.serving: dict[str, object] = {}

    async def started(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            entry = json.loads(line)
            self.log.append(entry)
            if entry["event"] == "serving":
                self.serving = entry
                return
        raise AssertionError(f"never served: {self.log}")

    async def ended(self) -> int:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(json.loads(line))
        return await self.process.wait()

    @property
    def target(self) -> str:
        return str(self.serving["listen"])


@contextlib.asynccontextmanager
async def served(*arguments: str, cwd: Path, **environment: str) -> AsyncIterator[Process]:
    # A key of the person who runs the tests must not make them call a vendor.
    vendor = ("QWEN_", "DASHSCOPE_", "PIXVOX_")
    machine = {name: value for name, value in os.environ.items() if not name.startswith(vendor)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pixvox.cli",
        "serve",
        *arguments,
        cwd=cwd,
        env={**machine, "PIXVOX_LISTEN": "127.0.0.1:0", "PIXVOX_HTTP": "127.0.0.1:0", **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    running = Process(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await running.ended()


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_health_is_told_for_the_service_as_a_whole_and_for_each_part(service, stubs):
    health = health_pb2_grpc.HealthStub(stubs.channel)
    for name in ("", "pixvox.v1.ImageService", "pixvox.v1.SpeechService", "pixvox.v1.ModelService"):
        assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
    with pytest.raises(grpc.RpcError) as raised:
        await health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_watcher_of_health_learns_of_the_end_after_another_watcher_left():
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(server.running(settings_for_tests()))
        async with stubs_of(service.target) as stubs:
            health = health_pb2_grpc.HealthStub(stubs.channel)
            stays, leaves = (health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2))
            assert (await stays.read()).status == (await leaves.read()).status == SERVING
            leaves.cancel()
            await asyncio.sleep(0.2)
            ending = asyncio.create_task(stack.aclose())
            async with asyncio.timeout(5):
                assert (await stays.read()).status == NOT_SERVING
            await ending


async def test_the_side_port_tells_health_and_metrics(service, stubs):
    await stubs.images.GenerateImage(SMALL)
    status, text = await asyncio.to_thread(fetched, f"http://{service.http}/healthz")
    assert (status, json.loads(text)["status"]) == (200, "SERVING")
    status, text = await asyncio.to_thread(fetched, f"http://{service.http}/metrics")
    assert status == 200
    assert 'rpc_method="pixvox.v1.ImageService/GenerateImage"' in text
    assert 'rpc_status_code="OK"' in text


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_describes_the_services_and_the_details_of_errors(stubs, package):
    method = stubs.channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    symbols = (
        "pixvox.v1.ImageService",
        "pixvox.v1.ErrorReason",
        "google.rpc.BadRequest",
        "google.rpc.RetryInfo",
        f"{package}.ServerReflection",
    )
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol) for symbol in symbols]
    answers = [answer async for answer in method(iter(requests))]
    listed = {one.name for one in answers[0].list_services_response.service}
    assert {"pixvox.v1.ImageService", "pixvox.v1.SpeechService", "grpc.health.v1.Health"} <= listed
    assert {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"} <= listed
    assert all(answer.HasField("file_descriptor_response") for answer in answers[1:])


async def test_reflection_can_be_switched_off():
    async with (
        server.running(settings_for_tests(server__reflection=False)) as service,
        stubs_of(service.target) as stubs,
    ):
        method = stubs.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as raised:
            await method(iter([b""])).read()
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_channelz_listens_on_a_port_of_its_own():
    async with (
        server.running(settings_for_tests(server__admin="127.0.0.1:0")) as service,
        stubs_of(service.admin) as admin,
    ):
        answer = await channelz_pb2_grpc.ChannelzStub(admin.channel).GetServers(channelz_pb2.GetServersRequest())
    assert len(answer.server) >= 1


async def test_sigterm_lets_a_stream_finish_and_takes_no_new_calls(tmp_path):
    async with served(cwd=tmp_path) as running:
        await running.started()
        async with stubs_of(running.target) as stubs, stubs_of(running.target) as late:
            call = stubs.speech.StreamSpeech()
            await call.write(config_message())
            await call.write(text_message("This was begun before the end. "))
            while not (await call.read()).HasField("audio"):
                pass
            watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            running.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == NOT_SERVING
            for refused in (stubs, late):
                with pytest.raises(grpc.RpcError) as raised:
                    await refused.images.GenerateImage(SMALL)
                assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
            await call.write(text_message("And it is ended after it."))
            await call.done_writing()
            assert kinds(await rest_of(call))[-1] == "summary"
        assert await running.ended() == 0


async def test_what_outlasts_the_grace_period_is_cut_with_a_reason(tmp_path):
    async with served(cwd=tmp_path, PIXVOX_GRACE_SECONDS="0.5") as running:
        await running.started()
        async with stubs_of(running.target) as stubs:
            call = stubs.images.GenerateImage(
                GenerateImageRequest(prompt="x", provider_options=fault(kind="stall", seconds=600))
            )
            await asyncio.sleep(0.3)
            running.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.RpcError) as raised:
                await call
        failed = client.failure(raised.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert failed.retry_after
        assert await running.ended() == 0


async def test_workers_share_the_port_and_stop_together(tmp_path):
    async with served("--workers", "2", cwd=tmp_path, PIXVOX_HTTP="") as running:
        await running.started()
        first = running.serving
        await running.started()
        assert running.serving["listen"] == first["listen"]
        assert running.serving["pid"] != first["pid"]
        for _ in range(4):
            async with stubs_of(running.target) as stubs:
                assert (await stubs.images.GenerateImage(SMALL)).images
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


async def test_a_worker_that_dies_at_its_start_ends_the_service(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with served("--workers", "2", cwd=tmp_path, PIXVOX_HTTP=f"127.0.0.1:{taken.getsockname()[1]}") as running:
            assert await running.process.wait() == 1


@pytest.mark.parametrize("name", ["listen", "http"])
async def test_a_taken_port_is_an_error_that_names_it(name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"server.{name}: cannot listen on {address}"):
            async with server.running(settings_for_tests(**{f"server__{name}": address})):
                pass


async def test_every_call_leaves_one_line_in_the_log(tmp_path):
    async with served(cwd=tmp_path) as running:
        await running.started()
        async with stubs_of(running.target) as stubs:
            await stubs.images.GenerateImage(
                GenerateImageRequest(prompt="topsecret", request_id="log-1", size=media_pb2.Size(width=8, height=8))
            )
            with pytest.raises(grpc.RpcError):
                await stubs.images.GenerateImage(
                    GenerateImageRequest(prompt="topsecret", request_id="log-2", provider_options=fault(kind="crash"))
                )
        running.process.send_signal(signal.SIGTERM)
        await running.ended()
    calls = {entry["request_id"]: entry for entry in running.log if entry["event"] == "call"}
    assert calls["log-1"]["code"] == "OK"
    assert calls["log-1"]["provider"] == "sandbox"
    assert calls["log-1"]["model"] == "sandbox-image"
    assert (calls["log-2"]["code"], calls["log-2"]["reason"]) == ("INTERNAL", "INTERNAL")
    (crash,) = [entry for entry in running.log if entry["event"] == "call failed unexpectedly"]
    assert crash["request_id"] == "log-2"
    assert "RuntimeError" in str(crash["exception"])
    assert "topsecret" not in json.dumps(running.log)


async def test_a_bad_setting_stops_the_start_and_is_named(tmp_path):
    (tmp_path / "pixvox.toml").write_text('[providers.mine]\nkind = "sandbox"\nnonsense = 1\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pixvox.cli", "serve", cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"providers.mine" in errors
    assert b"nonsense" in errors
    assert b"Traceback" not in errors
