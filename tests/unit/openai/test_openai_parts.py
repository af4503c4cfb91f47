"""The parts of the provider for OpenAI's HTTP API that need no engine."""

from __future__ import annotations

import email
import email.policy
import io
import json

import pytest
from opentelemetry.sdk.trace import TracerProvider
from PIL import Image

from pixvox.errors import ProviderUnavailableError
from pixvox.provider import Blob
from pixvox.providers.openai import Config
from pixvox.providers.openai.dialects import DIALECTS
from pixvox.providers.openai.engine import Engine
from pixvox.providers.openai.image_wire import encoded_form
from pixvox.providers.openai.masks import mask_for_engine
from pixvox.providers.openai.refusals import complaint_of, error_of, retry_seconds
from pixvox.testing.openai import OpenAIEmulator
from pixvox.upstream import Reply, Safety, Upstream
from pixvox.upstream.pool import Pool


def test_a_form_is_what_a_parser_of_mime_reads():
    fields = {"prompt": 'a "b"\r\nc', "n": 2, 'odd"\r\nname': True}
    images = [Blob("image/png", b"\x89PNG--\r\n"), Blob("image/jpeg", b"\xff\xd8")]
    body, kind = encoded_form(fields, images, Blob("image/png", b"mask"), DIALECTS["vllm_omni"])
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=email.policy.HTTP)
    parts = [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]
    assert parts == [
        ("prompt", None, b'a "b"\r\nc'),
        ("n", None, b"2"),
        ("odd%22%0D%0Aname", None, b"true"),
        ("image", "1.png", b"\x89PNG--\r\n"),
        ("image", "2.jpeg", b"\xff\xd8"),
        ("mask_image", "3.png", b"mask"),
    ]


def masked(picture, *, clear):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return Image.open(io.BytesIO(mask_for_engine(Blob("image/png", file.getvalue()), clear=clear).data))


def test_a_mask_says_the_same_in_every_engines_way():
    grey = Image.new("RGB", (2, 1), "black")
    grey.putpixel((1, 0), (0, 0, 9))
    assert list(masked(grey, clear=False).get_flattened_data()) == [0, 255]
    assert list(masked(grey, clear=True).getchannel("A").get_flattened_data()) == [255, 0]
    glass = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    glass.putpixel((1, 0), (0, 0, 0, 0))
    assert list(masked(glass, clear=False).get_flattened_data()) == [0, 255]
    assert list(masked(glass, clear=True).getchannel("A").get_flattened_data()) == [255, 0]


SHAPES = [
    ({"error": {"message": "x", "type": "invalid_request_error", "code": None}}, "invalid_request_error"),
    ({"error": {"message": "x", "code": 400, "type": "BadRequestError"}}, "BadRequestError"),
    ({"error": "Unauthorized"}, ""),
    ({"detail": "x"}, ""),
    ({"detail": [{"loc": ["body"], "msg": "x"}]}, ""),
    ({"detail": {"error": "e", "message": "x"}}, ""),
    ([], ""),
    (None, ""),
]


@pytest.mark.parametrize(("body", "code"), SHAPES)
@pytest.mark.parametrize(("status", "reason"), [(400, "InvalidParameterError"), (401, "ProviderCredentialsError")])
def test_every_shape_of_a_complaint_is_read(body, code, status, reason):
    complaint = complaint_of(Reply(status, {}, json.dumps(body).encode()))
    assert complaint.code == code
    assert type(error_of(complaint)).__name__ == reason


def test_only_a_rate_limit_that_passes_is_worth_another_attempt():
    assert retry_seconds(Reply(429, {}, b"")) == 1.0
    assert retry_seconds(Reply(429, {}, b'{"error":{"code":"insufficient_quota"}}')) is None
    assert retry_seconds(Reply(503, {}, b"")) is None


def test_words_of_the_engine_are_not_handed_on():
    complaint = complaint_of(Reply(400, {}, b'{"error":{"message":"secret prompt","code":"a b/c"}}'))
    error = error_of(complaint)
    assert "secret" not in str(error)
    assert error.metadata["provider_code"] == "abc"


async def test_an_engine_that_is_down_is_left_alone_for_a_while():
    now = [0.0]
    upstream = Upstream()
    urls = ["http://127.0.0.1:9", "http://127.0.0.1:11"]
    pool = Pool([(url, upstream.origin(url)) for url in urls], eject_seconds=10.0, clock=lambda: now[0])

    async def failure():
        with pytest.raises(ProviderUnavailableError) as caught:
            await pool.call("POST", "/x", body=b"", safety=Safety.BILLABLE, operation="x")
        return caught.value

    assert (await failure()).retry_after == 10.0
    now[0] = 4.0
    again = await failure()
    assert (again.retry_after, again.metadata["replay"]) == (6.0, "not_dispatched")
    await upstream.aclose()


@pytest.mark.parametrize("propagate", [False, True])
async def test_engines_are_told_the_trace_only_if_the_operator_wants(propagate):
    upstream = Upstream(tracer=TracerProvider().get_tracer("test"))
    async with OpenAIEmulator("vllm_omni") as emulator:
        config = Config(dialect="vllm_omni", base_url=emulator.base_url, api_key="sk-test", propagate_trace=propagate)
        pool = Engine(config, upstream).pool
        await pool.call("POST", "/images/generations", body=b"{}", safety=Safety.BILLABLE, operation="x")
        await upstream.aclose()
    assert ("traceparent" in emulator.requests[0].headers) is propagate
