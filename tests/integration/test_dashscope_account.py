"""An account of DashScope as its operator sees it: from the environment, without a key, with a wrong one."""

from __future__ import annotations

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from calling import settings_for_tests, stubs_of
from pixvox import client, server, settings
from pixvox.testing.dashscope import DashScopeEmulator
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from pixvox.v1.model_service_pb2 import ListProvidersRequest


def of_environment(tmp_path, monkeypatch, **environment: str) -> settings.Settings:
    """Settings as a start with this environment and no file reads them."""
    monkeypatch.chdir(tmp_path)
    ports = {
        "server.listen": "127.0.0.1:0",
        "server.http": "",
        "database.url": f"sqlite+aiosqlite:///{tmp_path / 'voices.db'}",
    }
    return settings.load(environment=environment, overrides=ports)


async def test_with_a_key_in_the_environment_and_no_file_the_provider_is_the_default(tmp_path, monkeypatch):
    async with DashScopeEmulator(api_keys={"sk-mine"}) as emulator:
        loaded = of_environment(tmp_path, monkeypatch, QWEN_API_KEY="sk-mine", DASHSCOPE_BASE_URL=emulator.http_base)
        async with server.running(loaded) as service, stubs_of(service.target) as stubs:
            answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a red bicycle"))
            (first, _) = (await stubs.models.ListProviders(ListProvidersRequest())).providers
        assert emulator.count("generate") == 1
    assert (answer.receipt.provider, answer.receipt.region, answer.receipt.model) == (
        "dashscope",
        "sg",
        "qwen-image-max",
    )
    assert (answer.receipt.cost.amount, answer.receipt.cost.currency) == ("0.075", "USD")
    assert answer.images[0].uri.startswith("http")
    assert answer.images[0].expire_time.ToSeconds() > 0
    assert (first.name, first.region, first.ready) == ("dashscope", "sg", True)
    assert model_service_pb2.VERB_DESIGN_VOICE in first.default_verbs


async def test_without_a_key_the_provider_is_not_serving_and_says_so():
    table = {"qwen": {"kind": "dashscope"}, "sandbox": {"kind": "sandbox"}}
    loaded = msgspec.structs.replace(settings_for_tests(), providers=table)
    async with server.running(loaded) as service, stubs_of(service.target) as stubs:
        health = health_pb2_grpc.HealthStub(stubs.channel)
        statuses = [
            (await health.Check(health_pb2.HealthCheckRequest(service=name))).status
            for name in ("providers/qwen", "providers/sandbox", "")
        ]
        (qwen, _) = (await stubs.models.ListProviders(ListProvidersRequest())).providers
        with pytest.raises(grpc.RpcError) as raised:
            await stubs.images.GenerateImage(GenerateImageRequest(prompt="x"))
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert statuses == [not_serving, serving, serving]
    assert not qwen.ready
    assert "QWEN_API_KEY" in qwen.unready_reason or "key" in qwen.unready_reason
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")
    assert failed.metadata["provider"] == "qwen"


async def test_a_refused_key_names_the_region_that_it_was_tried_in(tmp_path, monkeypatch):
    async with DashScopeEmulator(api_keys={"sk-other"}) as emulator:
        loaded = of_environment(
            tmp_path,
            monkeypatch,
            QWEN_API_KEY="sk-secret-123",
            QWEN_REGION="bj",
            DASHSCOPE_BASE_URL=emulator.http_base,
        )
        async with server.running(loaded) as service, stubs_of(service.target) as stubs:
            with pytest.raises(grpc.RpcError) as raised:
                await stubs.images.GenerateImage(GenerateImageRequest(prompt="x"))
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_CREDENTIALS")
    assert failed.metadata["region"] == "bj"
    assert "bj" in failed.message
    assert failed.metadata["provider_code"] == "InvalidApiKey"
    assert "sk-secret" not in f"{failed} {failed.metadata}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("QWEN_REGION", "mars"), ("QWEN_TIMEOUT_MS", "45abc"), ("QWEN_IMAGE_MODEL", "qwen-image-max-latest")],
)
async def test_a_bad_value_in_the_environment_stops_the_start_and_is_named(tmp_path, monkeypatch, name, value):
    loaded = of_environment(tmp_path, monkeypatch, QWEN_API_KEY="sk-mine", **{name: value})
    with pytest.raises(settings.SettingsError, match=rf"{value}|{name}"):
        async with server.running(loaded):
            pass


async def test_an_own_price_wins_and_a_price_that_is_not_known_is_not_zero(tmp_path):
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'version = "ours-1"\n[prices.dashscope.sg]\ncurrency = "EUR"\nimage = {"qwen-image-max" = "0.5"}\n'
    )
    async with DashScopeEmulator(api_keys={"sk-mine"}) as emulator:
        table = {"qwen": {"kind": "dashscope", "api_key": "sk-mine", "http_base": emulator.http_base}}
        loaded = msgspec.structs.replace(settings_for_tests(prices__file=str(prices)), providers=table)
        async with server.running(loaded) as service, stubs_of(service.target) as stubs:
            own = await stubs.images.GenerateImage(GenerateImageRequest(prompt="x"))
            unknown = await stubs.images.GenerateImage(GenerateImageRequest(prompt="x", model="z-image-turbo"))
    cost = own.receipt.cost
    assert (cost.amount, cost.currency, cost.price_table) == ("0.5", "EUR", "ours-1")
    assert unknown.receipt.cost == media_pb2.Cost(state=media_pb2.COST_STATE_UNPRICED)
