"""Answers of engines that a proxy has compressed on the way."""

from __future__ import annotations

import base64
import gzip
import json

import serving
from calling import config_message, photo, spoken, text_message
from emulated import failure_of
from engines import pcm_of
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from raw_vendor import reply, vendor

SOUND = bytes(range(1, 251)) * 40


def service(engine, **fields):
    table = {"kind": "openai", "base_url": engine.url} | fields
    return serving.serving(serving.settings_with({"engine": table}, {}, target_defaults=serving.UNLIMITED))


def zipped(data, kind="application/json", cut=0):
    packed = gzip.compress(data)
    return reply(packed[: len(packed) - cut], Content_Type=kind, Content_Encoding="gzip")


async def test_a_picture_that_was_compressed_on_the_way_is_the_picture():
    body = json.dumps({"data": [{"b64_json": base64.b64encode(photo()).decode()}]}).encode()
    async with vendor(zipped(body)) as engine, service(engine, dialect="sglang") as stubs:
        answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="x"))
    assert answer.images[0].data == photo()


async def test_compression_that_ends_early_is_no_picture():
    body = json.dumps({"data": [{"b64_json": base64.b64encode(photo()).decode()}]}).encode()
    async with vendor(zipped(body, cut=60)) as engine, service(engine, dialect="sglang") as stubs:
        failed = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt="x")))
    assert failed.metadata["replay"] in {"accepted", "ambiguous"}
    assert len(engine.requests) == 1


async def test_sound_is_not_to_be_compressed_on_the_way_and_is_read_if_it_is():
    async with vendor(zipped(SOUND, "audio/pcm")) as engine, service(engine, dialect="kokoro") as stubs:
        answers = await spoken(stubs, [config_message(), text_message("Hello.")])
    assert pcm_of(answers) == SOUND
    assert engine.requests[0].headers["accept-encoding"] == "identity"
