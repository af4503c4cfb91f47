"""What callers may not have engines do, and answers of engines that are doubtful or odd."""

from __future__ import annotations

import base64
import json

import pytest

import serving
from calling import photo
from emulated import failure_of
from pixvox.testing.openai import OpenAIEmulator, Raw
from pixvox.v1.image_service_pb2 import GenerateImageRequest

PROMPT = "a red bicycle by the sea"


def service(emulator, **fields):
    table = {"kind": "openai", "api_key": "sk-test", "base_url": emulator.base_url} | fields
    return serving.serving(serving.settings_with({"engine": table}, {}, target_defaults=serving.UNLIMITED))


NAMED = [
    ("sglang", "upscaling_model_path", "someone/else"),
    ("sglang", "perf_dump_path", "/etc/cron.d/x"),
    ("sglang", "diffusers_kwargs", {"image_path": "/etc/passwd"}),
    ("sglang", "width", 8192),
    ("vllm_omni", "lora", {"name": "a", "path": "/etc"}),
    ("vllm_omni", "extra_params", {"deep": [{"Image_URL": "http://169.254.169.254/"}]}),
    ("localai", "Files", ["http://169.254.169.254/"]),
    ("localai", "MODEL", "another"),
    ("openai", "N", 10),
    ("openai", "quality", float("inf")),
    ("vllm_omni", "guidance_scale", [float("nan")]),
]


@pytest.mark.parametrize(("dialect", "name", "value"), NAMED)
async def test_a_caller_can_name_neither_files_and_addresses_nor_what_the_service_sets(dialect, name, value):
    request = GenerateImageRequest(prompt=PROMPT)
    request.provider_options.update({"openai": {name: value}})
    async with OpenAIEmulator(dialect) as emulator, service(emulator, dialect=dialect) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(request))
    assert failed.reason == "INVALID_REQUEST"
    assert failed.violations[0].field.startswith("provider_options.openai")
    assert not emulator.requests


@pytest.mark.parametrize(
    ("negative", "sent"), [("", "a cat   a dog"), ("people|cars", "a cat   a dog|people cars"), ("  ", "a cat   a dog")]
)
async def test_a_bar_of_the_caller_does_not_divide_what_localai_is_asked_for(negative, sent):
    request = GenerateImageRequest(prompt="a cat | a dog", negative_prompt=negative)
    async with OpenAIEmulator("localai") as emulator, service(emulator, dialect="localai") as stubs:
        await stubs.images.GenerateImage(request)
    assert emulator.requests[0].body["prompt"] == sent


@pytest.mark.parametrize("wrap", [76, 64])
async def test_base64_may_have_lines(wrap):
    picture = photo()
    packed = base64.b64encode(picture).decode()
    lines = "\r\n".join(packed[start : start + wrap] for start in range(0, len(packed), wrap))
    body = json.dumps({"data": [{"b64_json": lines}]}).encode()
    async with OpenAIEmulator("localai") as emulator, service(emulator, dialect="localai") as stubs:
        emulator.faults.add("generate", Raw(200, body, "application/json"))
        answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
    assert answer.images[0].data == picture


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://[x]/a.png", "//[", "http://host:port/a.png", "file:///etc/passwd"]
)
async def test_an_address_that_is_none_is_no_picture(url):
    body = json.dumps({"data": [{"url": url}]}).encode()
    async with OpenAIEmulator("sglang") as emulator, service(emulator, dialect="sglang") as stubs:
        emulator.faults.add("generate", Raw(200, body, "application/json"))
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, True, "7", 1.5])
async def test_a_seed_that_is_none_is_left_out(seed):
    packed = base64.b64encode(photo()).decode()
    body = json.dumps({"data": [{"b64_json": packed}], "seed": seed}).encode()
    async with OpenAIEmulator("sglang") as emulator, service(emulator, dialect="sglang") as stubs:
        emulator.faults.add("generate", Raw(200, body, "application/json"))
        answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
    assert not answer.images[0].HasField("seed")


ERRORS = [
    ("content_policy_violation", "CONTENT_BLOCKED"),
    ("insufficient_quota", "PROVIDER_BILLING"),
    ("odd", "PROVIDER_INTERNAL"),
]


@pytest.mark.parametrize(("code", "reason"), ERRORS)
async def test_an_error_with_status_200_is_an_error(code, reason):
    body = json.dumps({"error": {"code": code, "message": "secret"}}).encode()
    async with OpenAIEmulator() as emulator, service(emulator) as stubs:
        emulator.faults.add("generate", Raw(200, body, "application/json"))
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert (failed.reason, failed.metadata["provider_code"]) == (reason, code)
    assert failed.metadata["replay"] == "accepted"
    assert "secret" not in str(failed)
