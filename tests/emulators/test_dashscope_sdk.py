"""The vendor's own SDK performs against the emulator."""

from __future__ import annotations

import asyncio
import base64
import math
from dataclasses import replace

import dashscope
import pytest
from dashscope.v2.errors import APIStatusError, AuthenticationError, BadRequestError, RateLimitError

from pixvox.testing.dashscope import (
    Fault,
    Painting,
    PartlyFailed,
    Raw,
    Refused,
    TaskFailed,
    edited,
    painted,
)

# The newer half of the SDK says of itself that it is a preview.
pytestmark = pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview:FutureWarning")


def user(*parts: dict) -> list[dict]:
    return [{"role": "user", "content": list(parts)}]


def images_of(response) -> list[str]:
    return [part["image"] for choice in response.output.choices for part in choice.message.content]


async def test_generates_a_picture(sdk, session):
    response = await asyncio.to_thread(
        dashscope.MultiModalConversation.call,
        model="qwen-image-max",
        messages=user({"text": "a red bicycle"}),
        result_format="message",
        size="1328*1328",
        n=1,
        seed=7,
        watermark=False,
        prompt_extend=True,
    )
    assert (response.status_code, response.code) == (200, "")
    assert response.usage["image_count"] == 1
    assert response.output["task_metric"] == {"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0}
    async with session.get(images_of(response)[0]) as download:
        assert download.content_type == "image/png"
        assert await download.read() == painted(Painting("a red bicycle", (1328, 1328), 7))


async def test_edits_two_pictures_given_by_url_and_by_data_uri(sdk, session):
    first, second = (painted(Painting(text, (640, 480))) for text in ("cat", "hat"))
    sdk.internet["https://example.com/cat.png"] = first
    response = await asyncio.to_thread(
        dashscope.MultiModalConversation.call,
        model="qwen-image-edit-max",
        messages=user(
            {"image": "https://example.com/cat.png"},
            {"image": f"data:image/png;base64,{base64.b64encode(second).decode()}"},
            {"text": "put the hat of image 2 on the cat of image 1"},
        ),
        n=2,
        size="1033*1032",
        negative_prompt=" ",
    )
    assert response.status_code == 200
    assert response.usage["image_count"] == 2
    urls = images_of(response)
    words = "put the hat of image 2 on the cat of image 1"
    for index, url in enumerate(urls):
        async with session.get(url) as download:
            expected = edited((first, second), Painting(words, (1040, 1024), 0, index))
            assert await download.read() == expected
    assert len(urls) == 2


async def test_creates_a_task_and_waits_for_it(sdk):
    sdk.behaviour = replace(sdk.behaviour, task_pending=0)
    response = await asyncio.to_thread(
        dashscope.ImageSynthesis.call,
        model="qwen-image-plus",
        prompt="cat",
        negative_prompt="dog",
        n=1,
        size="1664*928",
    )
    assert response.status_code == 200
    assert response.output.task_status == "SUCCEEDED"
    assert response.output.results[0].orig_prompt == "cat"
    assert response.usage.image_count == 1
    assert sdk.count("task_get") == 2


async def test_cancels_a_task_that_waits_and_lists_it(sdk):
    sdk.behaviour = replace(sdk.behaviour, task_pending=math.inf)
    task = await asyncio.to_thread(
        dashscope.ImageSynthesis.async_call, model="qwen-image", prompt="cat", n=1, size="1328*1328"
    )
    assert task.output.task_status == "PENDING"
    cancelled = await asyncio.to_thread(dashscope.ImageSynthesis.cancel, task)
    assert cancelled.status_code == 200
    fetched = await asyncio.to_thread(dashscope.ImageSynthesis.fetch, task)
    assert fetched.output.task_status == "CANCELED"
    listed = await asyncio.to_thread(dashscope.ImageSynthesis.list, status="CANCELED")
    assert listed.status_code == 200
    assert [entry.status for entry in sdk.tasks] == ["CANCELED"]
    again = await asyncio.to_thread(dashscope.ImageSynthesis.cancel, task)
    assert (again.status_code, again.code) == (400, "UnsupportedOperation")


async def test_a_failed_task_is_told_with_status_200(sdk):
    sdk.faults.add(
        Fault("task_get", TaskFailed("DataInspectionFailed", "Output data may contain inappropriate content."))
    )
    response = await asyncio.to_thread(
        dashscope.ImageSynthesis.call, model="qwen-image-plus", prompt="cat", n=1, size="1664*928"
    )
    assert response.status_code == 200
    assert (response.output.task_status, response.output.code) == ("FAILED", "DataInspectionFailed")


async def test_a_partly_failed_task_has_both_kinds_of_results(sdk):
    sdk.faults.add(Fault("task_get", PartlyFailed(1)))
    response = await asyncio.to_thread(
        dashscope.ImageSynthesis.call, model="wan2.5-t2i-preview", prompt="cat", n=2, size="1280*1280"
    )
    assert response.output.task_metrics["FAILED"] == 1
    assert response.usage.image_count == 1
    assert [result.get("code") for result in response.output.results] == [None, "InternalError.Timeout"]


async def test_makes_wan_pictures_by_its_newer_protocol(sdk, client):
    job = await asyncio.to_thread(client.images.generate, model="wan2.6-t2i", prompt="cat", n=2, size="1280x1280")
    assert len(job.image_urls) == 2
    assert sdk.requests[0].json["input"] == {"messages": user({"text": "cat"})}


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "InvalidApiKey", "Invalid API-key provided."),
        (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
        (400, "InvalidParameter", "num_images_per_prompt must be 1"),
    ],
)
async def test_the_error_object_has_the_documented_status_code_and_message(sdk, monkeypatch, status, code, message):
    if status == 401:
        monkeypatch.setattr(dashscope, "api_key", "sk-unknown")
    if status == 429:
        sdk.behaviour = replace(sdk.behaviour, rate_limits=True)
    for _ in range(3 if status == 429 else 1):
        response = await asyncio.to_thread(
            dashscope.MultiModalConversation.call,
            model="qwen-image-max",
            messages=user({"text": "cat"}),
            n=2 if status == 400 else 1,
        )
    assert (response.status_code, response.code, response.message) == (status, code, message)
    assert response.request_id


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "InvalidApiKey", AuthenticationError),
        (429, "Throttling.RateQuota", RateLimitError),
        (400, "InvalidParameter", BadRequestError),
    ],
)
async def test_the_newer_client_raises_the_documented_errors(sdk, client, status, code, kind):
    sdk.faults.add(Fault("speech_http", Refused(status, code, "No.", retry_after=0), times=3))
    with pytest.raises(APIStatusError) as refused:
        await asyncio.to_thread(client.audio.tts.http.synthesize, model="qwen3-tts-flash", text="a", voice="Cherry")
    assert isinstance(refused.value, kind)
    assert (refused.value.code, refused.value.message) == (code, "No.")
    assert sdk.count("speech_http") == (3 if status == 429 else 1)


async def test_the_page_of_a_proxy_is_an_unknown_error(sdk):
    sdk.faults.add(Fault("generate", Raw(502)))
    response = await asyncio.to_thread(
        dashscope.MultiModalConversation.call, model="qwen-image-max", messages=user({"text": "cat"})
    )
    assert (response.status_code, response.code) == (502, "Unknown")
    assert "Bad Gateway" in response.message
