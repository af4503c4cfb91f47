"""Every bad input gets a clear error: its code, its reason and the field."""

from __future__ import annotations

import io
import struct
import zlib

import grpc
import pytest
from google.protobuf import json_format
from PIL import Image

from calling import config_message, photo, spoken, text_message
from pixvox import client
from pixvox.v1 import image_service_pb2_grpc, media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from pixvox.v1.speech_service_pb2 import SpeechConfig, StreamSpeechRequest, SynthesizeSpeechRequest

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def generate(**fields: object) -> GenerateImageRequest:
    return json_format.ParseDict({"prompt": "a tree", **fields}, GenerateImageRequest())


def edit(data: bytes, **fields: object) -> EditImageRequest:
    return EditImageRequest(prompt="blur", images=[media_pb2.MediaInput(data=data)], **fields)


def bomb(side: int) -> bytes:
    """A valid PNG of side x side black pixels in few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def large_png() -> bytes:
    """More than 10 MiB of noise in few enough pixels."""
    file = io.BytesIO()
    Image.effect_noise((4000, 3000), 200).convert("RGB").save(file, "PNG", compress_level=1)
    data = file.getvalue()
    assert 10 * 1024 * 1024 < len(data) < 20 * 1024 * 1024
    return data


GENERATE = {
    "empty prompt": (generate(prompt=""), INVALID, "INVALID_REQUEST", "prompt"),
    "blank prompt": (generate(prompt=" \n"), INVALID, "INVALID_REQUEST", "prompt"),
    "long prompt": (generate(prompt="x" * 5000), INVALID, "UNSUPPORTED", "prompt"),
    "n of 0": (generate(n=0), INVALID, "INVALID_REQUEST", "n"),
    "n of 99": (generate(n=99), INVALID, "UNSUPPORTED", "n"),
    "size 0x0": (generate(size={"width": 0, "height": 0}), INVALID, "INVALID_REQUEST", "size"),
    "size 100000x1": (generate(size={"width": 100000, "height": 1}), INVALID, "UNSUPPORTED", "size"),
    "negative seed": (generate(seed="-1"), INVALID, "INVALID_REQUEST", "seed"),
    "seed of 2**31": (generate(seed=str(2**31)), INVALID, "INVALID_REQUEST", "seed"),
    "unknown model": (generate(model="no-such-model"), NOT_FOUND, "MODEL_NOT_FOUND", "model"),
    "model without the verb": (generate(model="sandbox-speech"), INVALID, "UNSUPPORTED", "model"),
    "unknown provider": (generate(provider="no-such"), INVALID, "PROVIDER_NOT_FOUND", "provider"),
    "delivery by uri": (generate(delivery="DELIVERY_URI"), INVALID, "UNSUPPORTED", "delivery"),
    "unknown format": (generate(format=77), INVALID, "UNSUPPORTED", "format"),
    "long request id": (generate(requestId="x" * 129), INVALID, "INVALID_REQUEST", "request_id"),
    "request id with a newline": (generate(requestId="a\nb"), INVALID, "INVALID_REQUEST", "request_id"),
    "long label": (generate(labels={"team": "x" * 257}), INVALID, "INVALID_REQUEST", "labels"),
    "unknown fault": (
        generate(providerOptions={"sandbox": {"fault": {"kind": "no-such"}}}),
        INVALID,
        "INVALID_REQUEST",
        "provider_options.sandbox.fault",
    ),
}


@pytest.mark.parametrize(("request_", "code", "reason", "field"), GENERATE.values(), ids=GENERATE)
async def test_a_bad_generation_names_its_field(stubs, request_, code, reason, field):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.GenerateImage(request_)
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (code, reason)
    assert [violation.field for violation in failed.violations] == [field]
    assert failed.violations[0].description
    assert failed.request_id


EDIT = {
    "no image": (EditImageRequest(prompt="blur"), "INVALID_REQUEST", "images"),
    "seventeen images": (
        EditImageRequest(prompt="blur", images=[media_pb2.MediaInput(data=photo())] * 17),
        "INVALID_REQUEST",
        "images",
    ),
    "an image without a source": (
        EditImageRequest(prompt="blur", images=[media_pb2.MediaInput()]),
        "INVALID_REQUEST",
        "images[0]",
    ),
    "empty bytes": (edit(b""), "INVALID_REQUEST", "images[0]"),
    "a text file": (edit(b"Dear diary, today I am a text file.\n" * 20), "INVALID_MEDIA", "images[0]"),
    "a truncated PNG": (edit(photo(256, 256)[:-40]), "INVALID_MEDIA", "images[0]"),
    "half a JPEG": (edit(photo(512, 512, "JPEG")[:3000]), "INVALID_MEDIA", "images[0]"),
    "a decompression bomb": (edit(bomb(20_000)), "MEDIA_TOO_LARGE", "images[0]"),
    "an image over the limit": (edit(large_png()), "MEDIA_TOO_LARGE", "images[0]"),
    "a file address": (
        EditImageRequest(prompt="blur", images=[media_pb2.MediaInput(uri="file:///etc/passwd")]),
        "URI_NOT_ALLOWED",
        "images[0]",
    ),
    "a metadata service": (
        EditImageRequest(prompt="blur", images=[media_pb2.MediaInput(uri="http://169.254.169.254/latest")]),
        "URI_NOT_ALLOWED",
        "images[0]",
    ),
    "a mask of another size": (
        edit(photo(), mask=media_pb2.MediaInput(data=photo(10, 10))),
        "INVALID_MEDIA",
        "mask",
    ),
    "a mask that is text": (edit(photo(), mask=media_pb2.MediaInput(data=b"hello world")), "INVALID_MEDIA", "mask"),
}


@pytest.mark.parametrize(("request_", "reason", "field"), EDIT.values(), ids=EDIT)
async def test_a_bad_edit_names_its_field(stubs, request_, reason, field):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.EditImage(request_)
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (INVALID, reason)
    assert [violation.field for violation in failed.violations] == [field]


CONFIG = {
    "sample rate": ({"format": {"sampleRateHertz": 11025}}, "UNSUPPORTED", "config.format.sample_rate_hertz"),
    "encoding": ({"format": {"encoding": 42}}, "UNSUPPORTED", "config.format.encoding"),
    "voice": ({"voice": "no-such-voice"}, "VOICE_NOT_FOUND", "config.voice"),
    "language": ({"languageCode": "tlh"}, "UNSUPPORTED", "config.language_code"),
    "speaking rate": ({"speakingRate": 9}, "UNSUPPORTED", "config.speaking_rate"),
    "volume that is no number": ({"volume": "NaN"}, "INVALID_REQUEST", "config.volume"),
    "instructions": ({"instructions": "cheerfully"}, "UNSUPPORTED", "config.instructions"),
    "model": ({"model": "no-such-model"}, "MODEL_NOT_FOUND", "config.model"),
    "provider": ({"provider": "no-such"}, "PROVIDER_NOT_FOUND", "config.provider"),
    "request id": ({"requestId": "ä"}, "INVALID_REQUEST", "config.request_id"),
}


@pytest.mark.parametrize(("fields", "reason", "field"), CONFIG.values(), ids=CONFIG)
async def test_a_bad_config_names_its_field_in_both_speech_calls(stubs, fields, reason, field):
    config = json_format.ParseDict(fields, SpeechConfig())
    with pytest.raises(grpc.RpcError) as streamed:
        await spoken(stubs, [StreamSpeechRequest(config=config), text_message("hello")])
    with pytest.raises(grpc.RpcError) as whole:
        await stubs.speech.SynthesizeSpeech(SynthesizeSpeechRequest(text="hello", config=config))
    for raised in (streamed, whole):
        failed = client.failure(raised.value)
        assert failed.code == (
            NOT_FOUND if reason.endswith("NOT_FOUND") and reason != "PROVIDER_NOT_FOUND" else INVALID
        )
        assert failed.reason == reason
        assert [violation.field for violation in failed.violations] == [field]


STREAM = {
    "no message": ([], "STREAM_ORDER", "config"),
    "text before config": ([text_message("hello")], "STREAM_ORDER", "config"),
    "second config": ([config_message(), text_message("hello. "), config_message()], "STREAM_ORDER", "config"),
    "no text": ([config_message()], "INVALID_REQUEST", "text"),
    "empty text": ([config_message(), text_message("")], "INVALID_REQUEST", "text"),
    "blank text": ([config_message(), text_message("  \n")], "INVALID_REQUEST", "text"),
    "an empty message": ([config_message(), StreamSpeechRequest()], "STREAM_ORDER", "message"),
    "too much text": ([config_message(), *[text_message("x" * 5000)] * 3], "UNSUPPORTED", "text"),
}


@pytest.mark.parametrize(("messages", "reason", "field"), STREAM.values(), ids=STREAM)
async def test_a_bad_stream_names_its_field(stubs, messages, reason, field):
    with pytest.raises(grpc.RpcError) as raised:
        await spoken(stubs, messages)
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (INVALID, reason)
    assert [violation.field for violation in failed.violations] == [field]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_options_hold_only_numbers_that_json_has(stubs, value):
    picture = generate()
    picture.provider_options.update({"sandbox": {"deep": [{"er": 1.0}]}})
    picture.provider_options["sandbox"]["deep"][0]["er"] = value
    speech = SynthesizeSpeechRequest(text="Hello.")
    speech.config.provider_options["sandbox"] = value
    calls = {
        "provider_options.sandbox.deep[0].er": stubs.images.GenerateImage(picture),
        "config.provider_options.sandbox": stubs.speech.SynthesizeSpeech(speech),
    }
    for field, call in calls.items():
        with pytest.raises(grpc.RpcError) as raised:
            await call
        failed = client.failure(raised.value)
        assert (failed.code, failed.reason) == (INVALID, "INVALID_REQUEST")
        assert [violation.field for violation in failed.violations] == [field]


async def test_a_whole_synthesis_needs_text(stubs):
    for text in ("", " "):
        with pytest.raises(grpc.RpcError) as raised:
            await stubs.speech.SynthesizeSpeech(SynthesizeSpeechRequest(text=text))
        failed = client.failure(raised.value)
        assert (failed.code, failed.reason) == (INVALID, "INVALID_REQUEST")
        assert [violation.field for violation in failed.violations] == ["text"]


async def test_all_that_is_wrong_is_said_at_once(stubs):
    with pytest.raises(grpc.RpcError) as raised:
        await stubs.images.GenerateImage(generate(prompt="", n=99, seed="-5", size={"width": 9000, "height": 9000}))
    failed = client.failure(raised.value)
    assert {violation.field for violation in failed.violations} == {"prompt", "n", "seed", "size"}


async def test_a_message_over_the_limit_is_refused(stubs):
    size = 49 * 1024 * 1024
    async with client.connect_aio(stubs.target, max_request_bytes=size + 1024) as channel:
        images = image_service_pb2_grpc.ImageServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            await images.EditImage(edit(bytes(size)))
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("seconds", [1e-9, 1e-4, 1e9])
async def test_an_absurd_deadline_is_either_missed_or_capped(stubs, seconds):
    call = stubs.images.GenerateImage(generate(size={"width": 8, "height": 8}), timeout=seconds)
    if seconds < 1:
        with pytest.raises(grpc.RpcError) as raised:
            await call
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    else:
        assert (await call).images


async def test_bad_catalogue_requests_name_their_field(stubs):
    for call, request_, reason, field in (
        (stubs.models.GetModel, model_service_pb2.GetModelRequest(), "INVALID_REQUEST", "model"),
        (stubs.models.GetModel, model_service_pb2.GetModelRequest(model="no"), "MODEL_NOT_FOUND", "model"),
        (stubs.models.ListModels, model_service_pb2.ListModelsRequest(page_size=5000), "INVALID_REQUEST", "page_size"),
        (stubs.models.ListModels, model_service_pb2.ListModelsRequest(page_token="?"), "INVALID_REQUEST", "page_token"),
        (stubs.models.ListModels, model_service_pb2.ListModelsRequest(provider="no"), "PROVIDER_NOT_FOUND", "provider"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            await call(request_)
        failed = client.failure(raised.value)
        assert failed.reason == reason
        assert [violation.field for violation in failed.violations] == [field]


async def test_an_unknown_method_says_so(stubs):
    method = stubs.channel.unary_unary("/pixvox.v1.ImageService/PaintFence")
    with pytest.raises(grpc.RpcError) as raised:
        await method(b"")
    failed = client.failure(raised.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_FOUND")
