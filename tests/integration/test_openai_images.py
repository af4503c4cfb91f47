"""Pictures of emulated engines behind OpenAI's HTTP API, through the service."""

from __future__ import annotations

import asyncio
import base64
import io
import socket

import grpc
import pytest
from google.protobuf import struct_pb2
from PIL import Image

import serving
from calling import photo
from emulated import failure_of, provider_table
from pixvox.media.images import mime_type_of
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Painting, edited, painted
from pixvox.testing.dashscope import Refused as VendorRefused
from pixvox.testing.openai import Cut, NoResult, OpenAIEmulator, PlacedAt, Raw, Refused, Stalled
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest

KEY = "sk-test"
MAKES = {
    "openai": ("gpt-image-1", "gpt-image-1", (1024, 1024)),
    "vllm_omni": ("qwen-image", "Qwen/Qwen-Image", (512, 256)),
    "sglang": ("qwen-image", "Qwen/Qwen-Image", (512, 256)),
    "localai": ("stablediffusion", "stablediffusion", (512, 256)),
    "xinference": ("qwen-image", "Qwen-Image", (512, 256)),
}
EDITOR = [{"id": "qwen-image-edit", "takes_mask": True}]
EDITORS = {"vllm_omni": "Qwen/Qwen-Image-Edit", "sglang": "Qwen/Qwen-Image-Edit", "xinference": "Qwen-Image-Edit"}
PROMPT = "a red bicycle by the sea"


def table(*emulators, **fields):
    found = {"kind": "openai", "api_key": KEY, "dialect": "openai"}
    addresses = (
        {"base_url": emulators[0].base_url} if len(emulators) == 1 else {"urls": [e.base_url for e in emulators]}
    )
    return found | addresses | fields


def service(*emulators, **fields):
    settings = serving.settings_with({"engine": table(*emulators, **fields)}, {}, target_defaults=serving.UNLIMITED)
    return serving.serving(settings)


def editors(dialect):
    """The settings of a dialect's model that edits, and the names that its engine serves."""
    if dialect == "openai":
        return {}, ()
    return {"models": EDITOR}, (EDITORS[dialect],)


def source(data):
    return media_pb2.MediaInput(data=data)


@pytest.mark.parametrize("dialect", MAKES)
async def test_each_dialect_is_asked_in_its_own_words(dialect):
    model, served, (width, height) = MAKES[dialect]
    takes_seed = dialect != "openai"
    fields = {"seed": 7, "negative_prompt": "people"} if takes_seed else {}
    request = GenerateImageRequest(prompt=PROMPT, size=media_pb2.Size(width=width, height=height), **fields)
    async with OpenAIEmulator(dialect) as emulator, service(emulator, dialect=dialect) as stubs:
        answer = await stubs.images.GenerateImage(request)
    [image] = answer.images
    expected = {"model": served, "prompt": PROMPT, "n": 1, "size": f"{width}x{height}"}
    if dialect != "openai":
        expected |= {"response_format": "b64_json", "seed": 7}
    if dialect == "xinference":
        expected |= {"size": "512*256", "kwargs": '{"seed":7,"negative_prompt":"people"}'}
        del expected["seed"]
    if dialect in {"vllm_omni", "sglang"}:
        expected["negative_prompt"] = "people"
    if dialect == "localai":
        expected["prompt"] = f"{PROMPT}|people"
    [asked] = emulator.requests
    assert asked.body == expected
    assert asked.headers["authorization"] == "Bearer ***"
    assert "traceparent" not in asked.headers
    assert image.data == painted(Painting(expected["prompt"], (width, height), 7 if takes_seed else 0))
    assert (image.mime_type, image.size.width, image.size.height) == ("image/png", width, height)
    assert answer.receipt.model == model
    assert answer.receipt.provider_request_id
    assert answer.receipt.usage.images == 1
    assert not answer.warnings


@pytest.mark.parametrize("dialect", ["openai", *EDITORS])
async def test_each_dialect_gets_the_form_of_an_edit_as_it_reads_it(dialect):
    fields, served = editors(dialect)
    first, mask = photo(), photo(64, 48)
    request = EditImageRequest(prompt="at night", images=[source(first)], mask=source(mask))
    async with (
        OpenAIEmulator(dialect, models=served) as emulator,
        service(emulator, dialect=dialect, **fields) as stubs,
    ):
        answer = await stubs.images.EditImage(request)
    [asked] = emulator.requests
    expected = {"model": served[0] if served else "gpt-image-1", "prompt": "at night", "n": "1"}
    assert asked.body == expected | ({} if dialect == "openai" else {"response_format": "b64_json"})
    image_file, mask_file = asked.files
    assert (image_file.part, image_file.content_type, image_file.data) == ("image", "image/png", first)
    assert mask_file.part == ("mask_image" if dialect == "vllm_omni" else "mask")
    sent = Image.open(io.BytesIO(mask_file.data))
    # Red and blue are not black, so that all of it may change.
    assert sent.size == (64, 48)
    assert sent.getextrema() == (((0, 0),) * 4 if dialect == "openai" else (255, 255))
    assert answer.images[0].data == edited((first,), Painting("at night", (256, 256)))


async def test_several_inputs_go_into_parts_of_the_dialects_name():
    request = EditImageRequest(prompt="swap", images=[source(photo()), source(photo(32, 32, "JPEG"))])
    async with OpenAIEmulator() as emulator, service(emulator) as stubs:
        await stubs.images.EditImage(request)
    files = emulator.requests[0].files
    assert [(one.part, one.content_type) for one in files] == [("image[]", "image/png"), ("image[]", "image/jpeg")]


async def test_options_of_the_caller_and_of_the_table_reach_the_engine():
    options = struct_pb2.Struct()
    options.update({"openai": {"num_inference_steps": 8}, "dashscope": {"else": 1}})
    models = [{"id": "qwen-image", "options": {"true_cfg_scale": 2.5}}]
    async with (
        OpenAIEmulator("vllm_omni") as emulator,
        service(emulator, dialect="vllm_omni", models=models) as stubs,
    ):
        await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT, provider_options=options))
        options.update({"openai": {"model": "another"}})
        failed = await failure_of(
            stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT, provider_options=options))
        )
    [asked] = emulator.requests
    assert (asked.body["num_inference_steps"], asked.body["true_cfg_scale"]) == (8, 2.5)
    assert type(asked.body["num_inference_steps"]) is int
    assert failed.reason == "INVALID_REQUEST"


async def test_what_a_form_has_no_place_for_is_left_out_and_said():
    options = struct_pb2.Struct()
    options.update({"openai": {"num_inference_steps": 8}})
    fields, served = editors("xinference")
    request = EditImageRequest(prompt="at night", images=[source(photo())], provider_options=options)
    async with (
        OpenAIEmulator("xinference", models=served) as emulator,
        service(emulator, dialect="xinference", **fields) as stubs,
    ):
        answer = await stubs.images.EditImage(request)
        request.seed = 7
        refused = await failure_of(stubs.images.EditImage(request))
    assert [(one.reason, one.field) for one in answer.warnings] == [
        (media_pb2.WARNING_REASON_FIELD_IGNORED, "provider_options")
    ]
    assert refused.reason == "UNSUPPORTED"
    assert emulator.count() == 1


@pytest.mark.parametrize("dialect", MAKES)
async def test_everything_that_a_dialects_table_allows_is_taken_by_its_engine(dialect):
    model, _, (width, height) = MAKES[dialect]
    async with OpenAIEmulator(dialect) as emulator, service(emulator, dialect=dialect) as stubs:
        listed = (await stubs.models.ListModels(model_service_pb2.ListModelsRequest())).models
        output = next(one for one in listed if one.id == model).generate_image.output
        for image_format in output.formats:
            request = GenerateImageRequest(
                prompt="a" * output.max_prompt_characters,
                model=model,
                n=output.max_n,
                size=media_pb2.Size(width=width, height=height),
                negative_prompt="b" * output.max_negative_prompt_characters,
                format=image_format,
            )
            if output.takes_seed:
                request.seed = 7
            answer = await stubs.images.GenerateImage(request)
            assert len(answer.images) == output.max_n
            assert {image.mime_type for image in answer.images} == {mime_type_of(image_format)}
    assert {one.status for one in emulator.requests} == {200}


async def test_a_picture_that_comes_as_the_bare_file_is_taken():
    async with OpenAIEmulator("vllm_omni") as emulator, service(emulator, dialect="vllm_omni") as stubs:
        emulator.faults.add("generate", Raw(200, photo(), "image/png"))
        answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
    assert answer.images[0].data == photo()


@pytest.mark.parametrize("dialect", ["sglang", "localai", "xinference"])
async def test_pictures_that_are_named_by_their_address_are_fetched_without_the_key(dialect):
    async with OpenAIEmulator(dialect) as emulator:
        emulator.faults.add("generate", PlacedAt("" if dialect == "sglang" else emulator.base_url.removesuffix("/v1")))
        async with service(emulator, dialect=dialect) as stubs:
            answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
    assert answer.images[0].data.startswith(b"\x89PNG")
    assert [one.operation for one in emulator.requests] == ["generate", "download"]
    assert "authorization" not in emulator.requests[1].headers


@pytest.mark.parametrize("base", ["http://169.254.169.254", "http://127.0.0.1:9", "https://example.com"])
async def test_pictures_at_another_host_are_not_fetched(base):
    async with OpenAIEmulator() as emulator, service(emulator) as stubs:
        emulator.faults.add("generate", PlacedAt(base))
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")
    assert emulator.count() == 1


async def test_a_picture_in_another_format_than_the_model_has_is_made_into_that():
    packed = base64.b64encode(photo(64, 48, "JPEG")).decode()
    body = f'{{"data":[{{"b64_json":"data:image/jpeg;base64,{packed}"}}]}}'.encode()
    async with OpenAIEmulator("sglang") as emulator, service(emulator, dialect="sglang") as stubs:
        emulator.faults.add("generate", Raw(200, body, "application/json"))
        answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
    [image] = answer.images
    assert image.mime_type == "image/png"
    assert Image.open(io.BytesIO(image.data)).format == "PNG"


FAULTS = [
    (Refused(400, "bad"), "INVALID_PARAMETER"),
    (Refused(400, "content_policy_violation"), "CONTENT_BLOCKED"),
    (Refused(400, "moderation_blocked"), "CONTENT_BLOCKED"),
    (Refused(400, "billing_hard_limit_reached"), "PROVIDER_BILLING"),
    (Refused(401, "invalid_api_key"), "PROVIDER_CREDENTIALS"),
    (Refused(403), "PROVIDER_ACCESS_DENIED"),
    (Refused(404, "model_not_found"), "PROVIDER_CONFIG"),
    (Refused(413), "INVALID_INPUT"),
    (Refused(422), "INVALID_PARAMETER"),
    (Refused(429, "rate_limit_exceeded", retry_after=60), "RATE_LIMITED"),
    (Refused(429, "insufficient_quota"), "PROVIDER_BILLING"),
    (Refused(500), "PROVIDER_INTERNAL"),
    (Refused(500, "", "The model is still loading."), "PROVIDER_UNAVAILABLE"),
    (Refused(503), "PROVIDER_UNAVAILABLE"),
    (Raw(504), "PROVIDER_TIMEOUT"),
    (Raw(502), "OUTCOME_UNKNOWN"),
    (Raw(302, b"", "text/plain"), "PROVIDER_CONFIG"),
    (Raw(200, b"<html>"), "PROVIDER_INTERNAL"),
    (Raw(200, b'{"data":[{"b64_json":"%%"}]}', "application/json"), "PROVIDER_INTERNAL"),
    (Raw(200, b'{"data":[{"b64_json":"AAAA"}]}', "application/json"), "PROVIDER_INTERNAL"),
    (NoResult(), "PROVIDER_INTERNAL"),
    (Cut(), "OUTCOME_UNKNOWN"),
    (Cut(after=100), "OUTCOME_UNKNOWN"),
]


@pytest.mark.parametrize(("effect", "reason"), FAULTS)
async def test_every_fault_of_a_picture_has_its_reason_and_nothing_billable_is_repeated(effect, reason):
    async with OpenAIEmulator() as emulator, service(emulator) as stubs:
        emulator.faults.add("generate", effect)
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert failed.reason == reason
    assert emulator.count() == 1
    assert PROMPT not in str(failed)
    assert KEY not in str(failed)


async def test_a_rate_limit_that_passes_is_waited_for():
    async with OpenAIEmulator() as emulator, service(emulator) as stubs:
        emulator.faults.add("generate", Refused(429, "rate_limit_exceeded"))
        answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
    assert answer.receipt.usage.images == 1
    assert emulator.count() == 2


@pytest.mark.parametrize("dialect", ["vllm_omni", "sglang", "localai", "xinference"])
async def test_each_dialects_way_to_complain_is_understood(dialect):
    async with OpenAIEmulator(dialect) as emulator:
        model, served, _ = MAKES[dialect]
        odd = [{"id": "other", "name": "another", "verbs": ["generate_image"]}, {"id": model, "name": served}]
        async with service(emulator, dialect=dialect, models=odd) as stubs:
            emulator.faults.add("generate", Refused(422, "value_error"))
            refused = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT, model=model)))
            if dialect != "sglang":
                other = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT, model="other")))
                assert other.reason == "PROVIDER_CONFIG"
        async with service(emulator, dialect=dialect, api_key="wrong") as stubs:
            denied = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert refused.reason == "INVALID_PARAMETER"
    assert denied.reason == "PROVIDER_CREDENTIALS"


async def test_openai_without_a_key_is_not_asked():
    async with OpenAIEmulator() as emulator, service(emulator, api_key="") as stubs:
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT, provider="engine")))
    assert failed.reason == "PROVIDER_NOT_CONFIGURED"
    assert emulator.count() == 0


async def test_a_caller_that_leaves_and_a_deadline_end_the_request_to_the_engine():
    async with OpenAIEmulator() as emulator, service(emulator) as stubs:
        emulator.faults.add("generate", Stalled(30), times=2)
        call = stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
        await emulator.until(lambda: emulator.count() == 1)
        call.cancel()
        async with asyncio.timeout(5):
            await emulator.until(lambda: emulator.requests[0].cancelled)
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT), timeout=0.3))
        assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await emulator.until(lambda: emulator.requests[1].cancelled)


async def test_an_engines_silence_ends_at_the_configured_time():
    async with OpenAIEmulator() as emulator, service(emulator, read_seconds=0.2) as stubs:
        emulator.faults.add("generate", Stalled(30))
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert failed.reason == "OUTCOME_UNKNOWN"
    assert emulator.count() == 1


async def test_calls_go_to_the_engine_with_the_least_of_our_own_to_do():
    async with OpenAIEmulator() as first, OpenAIEmulator() as second, service(first, second) as stubs:
        for emulator in (first, second):
            emulator.faults.add("generate", Stalled(0.3), times=None)
        calls = [stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)) for _ in range(6)]
        await asyncio.gather(*calls)
    assert (first.count(), second.count()) == (3, 3)


async def test_an_engine_that_is_down_is_passed_over_and_all_down_is_unavailable():
    async with OpenAIEmulator() as alive:
        async with OpenAIEmulator() as gone:
            pass
        async with service(gone, alive) as stubs:
            for _ in range(4):
                await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))
        assert alive.count() == 4
    async with service(gone, alive) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_UNAVAILABLE", "not_dispatched")


async def test_a_call_falls_back_from_the_vendor_to_an_engine_of_ones_own():
    routes = {"made": {"verbs": ["generate_image"], "targets": [{"to": "qwen/qwen-image-2.0"}, {"to": "engine"}]}}
    async with DashScopeEmulator() as vendor, OpenAIEmulator("vllm_omni") as emulator:
        providers = {"qwen": provider_table(vendor), "engine": table(emulator, dialect="vllm_omni")}
        settings = serving.settings_with(providers, routes, target_defaults=serving.UNLIMITED)
        async with serving.serving(settings) as stubs:
            vendor.faults.add(Fault("generate", VendorRefused(503, "ServiceUnavailable"), times=None))
            request = GenerateImageRequest(prompt=PROMPT, model="made", delivery=media_pb2.DELIVERY_INLINE)
            answer = await stubs.images.GenerateImage(request)
    assert [(one.provider, one.reason) for one in answer.receipt.attempts] == [
        ("qwen", reasons.ERROR_REASON_PROVIDER_UNAVAILABLE),
        ("engine", 0),
    ]
    assert answer.images[0].data == painted(Painting(PROMPT, (256, 256)))


async def test_an_engine_that_cannot_be_reached_has_done_nothing():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        providers = {"engine": {"kind": "openai", "dialect": "sglang", "base_url": address}}
        async with serving.serving(serving.settings_with(providers, {})) as stubs:
            failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT)))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_UNAVAILABLE", "not_dispatched")
