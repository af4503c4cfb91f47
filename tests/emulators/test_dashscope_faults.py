"""Every fault that can be ordered from the emulator happens, to the requests that it was ordered for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest

from pixvox.testing.dashscope import (
    Behaviour,
    Cut,
    DashScopeEmulator,
    Dripped,
    Expired,
    Fault,
    FewerImages,
    NoResult,
    PlacedAt,
    Raw,
    Redirected,
    Refused,
    RequestRecord,
    Retyped,
    Split,
    Stalled,
)

PATH = "/services/aigc/multimodal-generation/generation"
CAT = {
    "model": "qwen-image-2.0",
    "input": {"messages": [{"role": "user", "content": [{"text": "cat"}]}]},
    "parameters": {"n": 2, "size": "512*512"},
}
SPEECH = {"model": "qwen3-tts-flash", "input": {"text": "Good morning.", "voice": "Cherry"}}
AUTHORIZED = {"Authorization": "Bearer sk-test"}


def urls(answered) -> list[str]:
    return [part["image"] for part in answered.json["output"]["choices"][0]["message"]["content"]]


async def test_faults_are_met_in_their_order_and_so_often_as_ordered(ask, dashscope_emulator):
    faults = dashscope_emulator.faults
    faults.add(Fault("generate", Refused(503, "ServiceUnavailable"), times=2, after=1))
    faults.add(Fault("generate", Refused(429, "Throttling.RateQuota", retry_after=1.5)))
    faults.add(Fault("speech_http", Refused(500, "InternalError"), times=None))
    assert faults.pending() == 2
    answers = [await ask(PATH, CAT) for _ in range(5)]
    assert [answered.status for answered in answers] == [200, 503, 503, 429, 200]
    assert answers[3].headers["Retry-After"] == "1.5"
    assert [(await ask(PATH, SPEECH)).status for _ in range(2)] == [500, 500]
    assert faults.pending() == 0
    faults.clear()
    assert (await ask(PATH, SPEECH)).status == 200
    assert [record.effects for record in dashscope_emulator.requests[:2]] == [(), ("Refused",)]


def test_a_fault_that_cannot_happen_to_an_operation_is_refused(dashscope_emulator):
    with pytest.raises(ValueError, match="Split cannot happen to generate"):
        dashscope_emulator.faults.add(Fault("generate", Split()))
    with pytest.raises(ValueError, match="no operation"):
        dashscope_emulator.faults.add(Fault("draw", Cut()))


async def test_a_failure_can_come_with_status_200_or_without_a_code(ask, dashscope_emulator):
    dashscope_emulator.faults.add(Fault("generate", Refused(200, "DataInspectionFailed", "Input data is bad.")))
    dashscope_emulator.faults.add(Fault("generate", Refused(403, "")))
    first, second = await ask(PATH, CAT), await ask(PATH, CAT)
    assert (first.status, first.json["code"]) == (200, "DataInspectionFailed")
    assert (second.status, second.json) == (403, {})


async def test_pages_broken_json_and_wrong_types_can_be_ordered(dashscope_emulator, session):
    for effect in (Raw(), Raw(200, b'{"output": {"choices": [', "application/json"), Retyped("text/html")):
        dashscope_emulator.faults.add(Fault("generate", effect))
    received = []
    for _ in range(3):
        async with session.post(f"{dashscope_emulator.http_base}{PATH}", json=CAT, headers=AUTHORIZED) as answered:
            received.append((answered.status, answered.content_type, await answered.text()))
    assert received[0][:2] == (502, "text/html")
    assert received[1][:2] == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(received[1][2])
    assert received[2][1] == "text/html"
    assert json.loads(received[2][2])["usage"]["image_count"] == 2


async def test_pictures_can_be_missing_or_elsewhere(ask, dashscope_emulator):
    for effect in (NoResult(), FewerImages(1), PlacedAt("http://10.0.0.1")):
        dashscope_emulator.faults.add(Fault("generate", effect))
    nothing, fewer, elsewhere = [await ask(PATH, CAT) for _ in range(3)]
    assert urls(nothing) == []
    assert (len(urls(fewer)), fewer.json["usage"]["image_count"]) == (1, 1)
    assert all(url.startswith("http://10.0.0.1/") for url in urls(elsewhere))


async def test_a_download_can_expire_be_redirected_or_break(ask, dashscope_emulator, session):
    url = urls(await ask(PATH, CAT))[0]
    for effect in (Expired(), Redirected("http://192.168.0.1/x.png"), Cut(after=100), Raw(200, b"text", "image/png")):
        dashscope_emulator.faults.add(Fault("download", effect))
    async with session.get(url) as answered:
        assert answered.status == 403
    async with session.get(url, allow_redirects=False) as answered:
        assert (answered.status, answered.headers["Location"]) == (302, "http://192.168.0.1/x.png")
    async with session.get(url) as answered:
        head = await answered.content.readexactly(100)
        assert head.startswith(b"\x89PNG")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answered.content.read()
    async with session.get(url) as answered:
        assert await answered.read() == b"text"
    assert "authorization" not in dashscope_emulator.requests[1].headers


async def test_an_answer_that_is_cut_off_was_made_and_would_be_billed(dashscope_emulator, session):
    dashscope_emulator.faults.add(Fault("generate", Cut()))
    dashscope_emulator.faults.add(Fault("generate", Cut(after=10)))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await session.post(f"{dashscope_emulator.http_base}{PATH}", json=CAT, headers=AUTHORIZED)
    async with session.post(f"{dashscope_emulator.http_base}{PATH}", json=CAT, headers=AUTHORIZED) as answered:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answered.read()
    for record in dashscope_emulator.requests:
        assert record.usage == {"image_count": 2, "width": 512, "height": 512}
        assert (record.finished, record.cancelled, record.broken_off) == (False, False, True)


async def test_stalls_and_drips_take_their_time(ask, dashscope_emulator):
    dashscope_emulator.faults.add(Fault("generate", Stalled(0.1)))
    dashscope_emulator.faults.add(Fault("generate", Stalled(0.1, after=20)))
    dashscope_emulator.faults.add(Fault("generate", (Dripped(50, 0.02), Retyped("application/json"))))
    for _ in range(3):
        assert (await ask(PATH, CAT)).json["usage"]["image_count"] == 2
    for record in dashscope_emulator.requests:
        assert record.finished_at - record.asked_at >= 0.09


@pytest.mark.parametrize("after", [None, 20])
async def test_a_client_that_leaves_while_it_waits_is_seen(dashscope_emulator, session, after):
    dashscope_emulator.faults.add(Fault("generate", Stalled(30, after=after)))
    url = f"{dashscope_emulator.http_base}{PATH}"
    asking = asyncio.ensure_future(session.post(url, json=CAT, headers=AUTHORIZED))
    await dashscope_emulator.until(lambda: dashscope_emulator.requests)
    if after is None:
        asking.cancel()
    else:
        (await asking).close()
    async with asyncio.timeout(1):
        await dashscope_emulator.until(lambda: dashscope_emulator.requests[0].cancelled)
    record = dashscope_emulator.requests[0]
    assert (record.usage is None) == (after is None)
    assert record.client_closed_at > record.asked_at


async def test_a_stream_stalls_and_is_cut_after_chunks(dashscope_emulator, session):
    dashscope_emulator.faults.add(Fault("speech_sse", (Stalled(0.1, after=1), Cut(after=3))))
    headers = {**AUTHORIZED, "X-DashScope-SSE": "enable"}
    async with session.post(f"{dashscope_emulator.http_base}{PATH}", json=SPEECH, headers=headers) as answered:
        data = b""
        while b"id:3\n" not in data or not data.endswith(b"\n\n"):
            data += await answered.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answered.content.readany()
    assert data.count(b"event:result") == 3
    times = dashscope_emulator.requests[0].chunks_at
    assert times[1] - times[0] >= 0.09
    assert len(times) == 3


async def test_a_client_that_leaves_a_stream_is_seen(dashscope_emulator, session):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, chunk_interval=0.05)
    headers = {**AUTHORIZED, "X-DashScope-SSE": "enable"}
    answered = await session.post(f"{dashscope_emulator.http_base}{PATH}", json=SPEECH, headers=headers)
    await answered.content.readline()
    answered.close()
    async with asyncio.timeout(1):
        await dashscope_emulator.until(lambda: dashscope_emulator.requests[0].cancelled)


async def test_a_request_that_is_over_is_told(session):
    ended: list[RequestRecord] = []
    async with DashScopeEmulator(
        api_keys={"sk-other"}, behaviour=Behaviour(region="bj"), on_end=ended.append
    ) as emulator:
        headers = {"Authorization": "Bearer sk-other"}
        async with session.post(f"{emulator.http_base}{PATH}", json=CAT, headers=headers) as answered:
            assert answered.status == 200
        await emulator.until(lambda: ended)
    (record,) = ended
    assert (record.number, record.operation, record.status, record.finished) == (1, "generate", 200, True)
    assert record.headers["authorization"] == "Bearer ***"
    assert record.json == CAT
    assert emulator.count() == emulator.count("generate") == 1


async def test_records_are_dropped_but_counted_beyond_the_limit(session):
    async with DashScopeEmulator(records_kept=2) as emulator:
        for _ in range(3):
            async with session.get(f"{emulator.http_base}/tasks/x", headers=AUTHORIZED):
                pass
        assert [record.number for record in emulator.requests] == [2, 3]
        assert emulator.count("task_get") == 3


async def test_stopping_does_not_look_like_clients_that_left(session):
    async with DashScopeEmulator() as emulator:
        emulator.faults.add(Fault("generate", Stalled(30)))
        asking = asyncio.ensure_future(session.post(f"{emulator.http_base}{PATH}", json=CAT, headers=AUTHORIZED))
        await emulator.until(lambda: emulator.requests)
    with pytest.raises(aiohttp.ClientError):
        await asking
    assert not emulator.requests[0].cancelled
