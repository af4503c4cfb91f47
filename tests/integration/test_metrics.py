"""What the metrics say after calls of every kind."""

from __future__ import annotations

import asyncio
import urllib.request

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

import serving
from calling import config_message as config
from calling import photo, spoken, stubs_of, text_message
from deployed import COUNTERS, GAUGES, HISTOGRAMS
from pixvox import server
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Refused
from pixvox.v1 import image_service_pb2, media_pb2

MODEL = "qwen-image-2.0"
SPEECH = "qwen3-tts-flash-realtime"
ROUTES = {
    "fast": {
        "verbs": ["generate_image"],
        "targets": [
            {"to": f"first/{MODEL}", "weight": 1},
            {"to": f"second/{MODEL}", "weight": 0},
            {"to": f"second/{MODEL}"},
        ],
    }
}
# Labels that every series has, and that say nothing.
SCOPE = {"otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}


class Metrics:
    """The samples of one reading of /metrics."""

    def __init__(self, text):
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(self, name, **labels):
        """The sum of the samples of a name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
        )

    def labels(self, name):
        """The labels that samples of a name have."""
        return {key for sample in self.samples if sample.name == name for key in sample.labels} - SCOPE


async def _read(running):
    def read():
        with urllib.request.urlopen(f"http://{running.http}/metrics") as answer:
            return answer.read().decode()

    return Metrics(await asyncio.to_thread(read))


@pytest.fixture
async def first():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def second():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def running(first, second):
    providers = serving.vendors(first=first, second=second) | {"sandbox": {"kind": "sandbox"}}
    async with server.running(serving.settings_with(providers, ROUTES)) as running:
        yield running


@pytest.fixture
async def stubs(running):
    async with stubs_of(running.target) as stubs:
        yield stubs


def _picture(**fields):
    size = media_pb2.Size(width=512, height=512)
    return image_service_pb2.GenerateImageRequest(
        **({"prompt": "a lighthouse", "model": "fast", "size": size} | fields)
    )


BY_ME = (("x-pixvox-caller", "me"),)


async def test_every_metric_that_the_dashboards_ask_for_is_there_with_its_labels(running, stubs, first):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota")))
    await stubs.images.GenerateImage(_picture(), metadata=BY_ME)
    await spoken(stubs, [config(model=SPEECH), text_message("A lighthouse at dusk.")], metadata=BY_ME)
    edit = image_service_pb2.EditImageRequest(prompt="grayscale", model="sandbox-image")
    edit.images.add(data=photo())
    await stubs.images.EditImage(edit)
    with pytest.raises(grpc.aio.AioRpcError):
        await stubs.images.GenerateImage(_picture(n=0))
    await asyncio.sleep(0.6)
    metrics = await _read(running)
    there = {sample.name for sample in metrics.samples}
    # What nobody did is not there yet.
    absent = {"pixvox_usage_voices_total", "pixvox_route_rollbacks_total", "pixvox_config_reloads_total"}
    absent |= {"pixvox_calls_unpriced_total"} - there
    expected = {f"{name}_count": labels for name, labels in HISTOGRAMS.items()} | COUNTERS | GAUGES
    assert expected.keys() - there == absent
    for name in expected.keys() - absent:
        assert metrics.labels(name) <= expected[name], name


async def test_usage_and_cost_go_by_provider_model_and_caller(running, stubs):
    await stubs.images.GenerateImage(_picture(n=2), metadata=BY_ME)
    answers = await spoken(stubs, [config(model=SPEECH), text_message("Hello there.")], metadata=BY_ME)
    receipt = answers[-1].summary.receipt
    metrics = await _read(running)
    assert metrics.of("pixvox_usage_images_total", provider="first", model=MODEL, caller="me") == 2
    assert metrics.of("pixvox_usage_characters_total", model=SPEECH, caller="me") == receipt.usage.characters
    cost = metrics.of("pixvox_cost_total", model=SPEECH, currency=receipt.cost.currency)
    assert cost == pytest.approx(float(receipt.cost.amount))


async def test_an_attempt_that_failed_and_the_way_on_are_counted(running, stubs, first):
    first.faults.add(Fault("generate", Refused(429, "Throttling.RateQuota")))
    await stubs.images.GenerateImage(_picture())
    metrics = await _read(running)
    assert metrics.of("pixvox_attempts_total", provider="first", outcome="RATE_LIMITED") == 1
    assert metrics.of("pixvox_attempts_total", provider="second", outcome="ok") == 1
    assert metrics.of("pixvox_fallbacks_total", route="fast", provider="first", reason="RATE_LIMITED") == 1
    assert metrics.of("gen_ai_client_operation_duration_seconds_count", error_type="RATE_LIMITED") == 1
    assert metrics.of("http_client_request_duration_seconds_count", http_response_status_code="429") == 1


async def test_what_cannot_be_priced_is_counted(running, stubs):
    await stubs.images.GenerateImage(_picture(model="wan2.2-t2i-flash", size=media_pb2.Size(width=1024, height=1024)))
    metrics = await _read(running)
    priced = metrics.of("pixvox_cost_total", model="wan2.2-t2i-flash")
    assert metrics.of("pixvox_calls_unpriced_total", model="wan2.2-t2i-flash") == (0 if priced else 1)


async def test_failures_are_counted_by_reason_whoever_is_at_fault(running, stubs, first, second):
    first.faults.add(Fault("generate", Refused(401, "InvalidApiKey")))
    second.faults.add(Fault("generate", Refused(401, "InvalidApiKey")))
    for fields in ({"n": 0}, {}, {"model": "nonsense"}):
        with pytest.raises(grpc.aio.AioRpcError):
            await stubs.images.GenerateImage(_picture(**fields))
    metrics = await _read(running)
    for reason in ("INVALID_REQUEST", "PROVIDER_CREDENTIALS", "MODEL_NOT_FOUND"):
        assert metrics.of("pixvox_calls_failed_total", reason=reason) == 1, reason


async def test_speech_is_measured_as_its_listener_hears_it(running, stubs):
    await spoken(stubs, [config(model=SPEECH), text_message("A lighthouse at dusk, and the sea.")])
    metrics = await _read(running)
    for name in ("time_to_first_audio_seconds", "real_time_factor", "underrun_seconds"):
        assert metrics.of(f"pixvox_speech_{name}_count", provider="first", model=SPEECH) == 1
    assert metrics.of("pixvox_speech_chunk_gap_seconds_count", model=SPEECH) >= 2


async def test_callers_beyond_the_bound_share_one_label(running, stubs):
    request = _picture(model="sandbox-image", size=media_pb2.Size(width=16, height=16))
    for number in range(60):
        await stubs.images.GenerateImage(request, metadata=(("x-pixvox-caller", f"caller-{number}"),))
    metrics = await _read(running)
    callers = {one.labels["caller"] for one in metrics.samples if one.name == "pixvox_usage_images_total"}
    assert len(callers) == 51
    assert metrics.of("pixvox_usage_images_total", caller="other") == 10


async def test_a_reload_leaves_one_digest(running):
    metrics = await _read(running)
    digests = [one.labels["digest"] for one in metrics.samples if one.name == "pixvox_config_info"]
    assert digests == [running.current.digest]
