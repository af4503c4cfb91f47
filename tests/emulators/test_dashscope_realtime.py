"""The emulator holds realtime sessions as the vendor does, and breaks them off as ordered."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import av
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from pixvox.testing.dashscope import (
    Closed,
    Cut,
    ErrorEvent,
    Fault,
    NoResult,
    OddChunks,
    Refused,
    Split,
    Stalled,
    billed_characters,
    expected_pcm,
)

FLASH = "qwen3-tts-flash-realtime"
RESPONSE = [
    "input_text_buffer.committed",
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
    "response.audio.delta",
    "response.audio.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
]
NUMBERS = itertools.count()


@asynccontextmanager
async def opened(emulator, model: str = FLASH, key: str = "sk-test"):
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{emulator.ws_base}/realtime?model={model}"
    async with connect(url, additional_headers=headers, compression=None, close_timeout=1) as socket:
        yield socket


async def send(socket, kind: str, **members: object) -> None:
    await socket.send(json.dumps({"event_id": f"event_{next(NUMBERS)}", "type": kind, **members}))


async def say(socket, *texts: str) -> None:
    for text in texts:
        await send(socket, "input_text_buffer.append", text=text)
    await send(socket, "session.finish")


async def events(socket) -> list[dict]:
    """Return the events to the end of the connection."""
    received = []
    with suppress(ConnectionClosed):
        while True:
            received.append(json.loads(await socket.recv()))
    return received


def types(received: list[dict]) -> list[str]:
    """Return the types, deltas in a row as one."""
    return [kind for kind, _ in itertools.groupby(event["type"] for event in received)]


def sound(received: list[dict]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in received if event["type"] == "response.audio.delta")


async def test_the_events_of_a_session_come_in_the_documented_order(dashscope_emulator):
    async with opened(dashscope_emulator) as socket:
        await send(socket, "session.update", session={"voice": "Cherry", "mode": "commit", "volume": 60})
        await say(socket, "Good morning.")
        received = await events(socket)
    assert types(received) == ["session.created", "session.updated", *RESPONSE, "session.finished"]
    assert (
        received[0]["session"].items() >= {"object": "realtime.session", "model": FLASH, "sample_rate": 24000}.items()
    )
    assert received[1]["session"].items() >= {"voice": "Cherry", "volume": 60, "language_type": "Auto"}.items()
    assert received[-2]["response"]["usage"] == {"characters": 13}
    assert len({event["event_id"] for event in received}) == len(received)
    assert sound(received) == expected_pcm("Good morning.", "Cherry", volume=60)
    assert socket.close_code == 1000


async def test_text_that_trickles_in_is_spoken_sentence_by_sentence(dashscope_emulator):
    text = "One two. Three 3.14 four! 五六。Seven"
    async with opened(dashscope_emulator) as socket:
        await say(socket, *text)
        received = await events(socket)
    assert types(received).count("response.done") == 4
    assert sound(received) == expected_pcm(text, "Cherry")
    usages = [event["response"]["usage"]["characters"] for event in received if event["type"] == "response.done"]
    assert sum(usages) == billed_characters(text)
    assert dashscope_emulator.requests[0].usage == {"characters": billed_characters(text)}


async def test_a_commit_speaks_at_once_in_both_modes(dashscope_emulator):
    for mode in ("server_commit", "commit"):
        async with opened(dashscope_emulator) as socket:
            await send(socket, "session.update", session={"voice": "Cherry", "mode": mode})
            await send(socket, "input_text_buffer.append", text="no end of a sentence")
            await send(socket, "input_text_buffer.commit")
            async with asyncio.timeout(2):
                while json.loads(await socket.recv())["type"] != "response.done":
                    pass


@pytest.mark.parametrize("format", ["wav", "mp3", "opus"])
async def test_each_response_is_a_file_of_the_format(dashscope_emulator, format):
    async with opened(dashscope_emulator) as socket:
        await send(
            socket, "session.update", session={"voice": "Cherry", "response_format": format, "sample_rate": 16000}
        )
        await say(socket, "Good morning.")
        received = await events(socket)
    with av.open(io.BytesIO(sound(received))) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(13 * 0.06, abs=0.1)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([("session.update", {"session": {"voice": "Nobody"}})], "The requested voice 'Nobody' is not supported."),
        ([("session.update", {"session": {"mode": "commit"}})], "voice is required"),
        ([("session.update", {"session": {"voice": "Cherry", "sample_rate": 22050}})], "sample_rate"),
        ([("session.update", {"session": {"voice": "Cherry", "speech_rate": 2.5}})], "speech_rate"),
        ([("session.update", {"session": {"voice": "Cherry", "language_type": "english"}})], "language_type"),
        ([("session.update", {"session": {"voice": "Cherry"}})] * 2, "already started"),
        (
            [("input_text_buffer.append", {"text": "a"}), ("session.update", {"session": {"voice": "Cherry"}})],
            "already started",
        ),
        ([("input_text_buffer.commit", {})], "buffer is empty"),
        ([("session.finish", {}), ("input_text_buffer.append", {"text": "a"})], "already finished"),
        ([("input_text_buffer.insert", {})], "There is no event"),
    ],
)
async def test_a_wrong_event_is_answered_by_an_error_and_a_close(dashscope_emulator, sent, words):
    # Stalled, so that a finished session is still open when the next event comes.
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, chunk_interval=1)
    async with opened(dashscope_emulator) as socket:
        if sent[0][0] == "session.finish":
            await send(socket, "input_text_buffer.append", text="A longer text that is still being spoken")
        for kind, members in sent:
            await send(socket, kind, **members)
        received = await events(socket)
    assert received[-1]["type"] == "error"
    assert received[-1]["error"]["code"] == "invalid_value"
    assert words in received[-1]["error"]["message"]
    assert socket.close_code == 1007


async def test_a_system_voice_on_a_cloning_model_is_an_engine_error(dashscope_emulator):
    async with opened(dashscope_emulator, "qwen3-tts-vc-realtime-2026-01-15") as socket:
        await send(socket, "session.update", session={"voice": "Cherry"})
        received = await events(socket)
    assert received[-1]["error"] == {"code": "CLIENT_ERROR", "message": "[qwen-tts:]Engine return error code: 411"}


async def test_a_wrong_model_gets_a_session_that_dies(dashscope_emulator):
    async with opened(dashscope_emulator, "qwen3-tts-flash") as socket:
        received = await events(socket)
    assert types(received) == ["session.created"]
    assert socket.close_code == 1006


async def test_a_bad_key_is_refused_at_the_upgrade(dashscope_emulator):
    with pytest.raises(InvalidStatus) as refused:
        async with opened(dashscope_emulator, key="sk-unknown"):
            pass
    assert refused.value.response.status_code == 401


async def test_an_idle_session_is_given_up(dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, idle_seconds=0.1)
    async with opened(dashscope_emulator) as socket:
        received = await events(socket)
    assert received[-1]["error"] == {"code": "session_expired", "message": "request timeout after 0.1 seconds."}
    assert socket.close_code is not None


async def test_a_session_that_speaks_is_not_idle(dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, idle_seconds=0.1, chunk_interval=0.05)
    async with opened(dashscope_emulator) as socket:
        await say(socket, "Good morning.")
        assert types(await events(socket))[-1] == "session.finished"


async def test_deltas_come_at_the_pace_that_was_set_and_their_times_are_kept(dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, chunk_interval=0.03)
    loop = asyncio.get_running_loop()
    async with opened(dashscope_emulator) as socket:
        await say(socket, "Good morning.")
        arrived = [loop.time() async for message in socket if b"audio.delta" in message.encode()]
    sent = dashscope_emulator.requests[0].chunks_at
    assert len(sent) == len(arrived) == 8
    assert all(later - earlier >= 0.025 for earlier, later in itertools.pairwise(sent))
    assert all(0 <= there - here < 0.5 for here, there in zip(sent, arrived, strict=True))


async def test_a_client_that_closes_is_seen_to_leave(dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, chunk_interval=0.05)
    async with opened(dashscope_emulator) as socket:
        await say(socket, "Good morning to all of you.")
        while json.loads(await socket.recv())["type"] != "response.audio.delta":
            pass
    async with asyncio.timeout(1):
        await dashscope_emulator.until(lambda: dashscope_emulator.requests[0].cancelled)
    sent = len(dashscope_emulator.requests[0].chunks_at)
    await asyncio.sleep(0.15)
    assert len(dashscope_emulator.requests[0].chunks_at) == sent


async def test_a_client_that_drops_the_connection_is_seen_to_leave(dashscope_emulator):
    dashscope_emulator.behaviour = replace(dashscope_emulator.behaviour, chunk_interval=0.05)
    async with opened(dashscope_emulator) as socket:
        await say(socket, "Good morning to all of you.")
        await socket.recv()
        socket.transport.abort()
        async with asyncio.timeout(1):
            await dashscope_emulator.until(lambda: dashscope_emulator.requests[0].cancelled)


@pytest.mark.parametrize(
    ("effect", "close_code", "last", "chunks"),
    [
        (Closed(1011, after=2), 1011, "response.audio.delta", 2),
        (Closed(1000, after=None), 1000, "session.created", 0),
        (Cut(after=3), 1006, "response.audio.delta", 3),
        (Cut(after=0), 1006, "response.content_part.added", 0),
        (ErrorEvent("internal_error", "It broke.", after=2, close_code=1011), 1011, "error", 2),
        (ErrorEvent("DataInspectionFailed", "No.", after=None), 1007, "error", 0),
    ],
)
async def test_a_session_breaks_off_as_ordered(dashscope_emulator, effect, close_code, last, chunks):
    dashscope_emulator.faults.add(Fault("realtime", effect))
    async with opened(dashscope_emulator) as socket:
        with suppress(ConnectionClosed):
            await say(socket, "Good morning.")
        received = await events(socket)
    assert received[-1]["type"] == last
    assert sum(event["type"] == "response.audio.delta" for event in received) == chunks
    assert socket.close_code == close_code
    record = dashscope_emulator.requests[0]
    assert (record.finished, record.cancelled, record.broken_off) == (False, False, True)
    assert record.effects == (type(effect).__name__,)


async def test_several_responses_can_be_ordered_for_one_text(dashscope_emulator):
    dashscope_emulator.faults.add(Fault("realtime", Split(3)))
    async with opened(dashscope_emulator) as socket:
        await say(socket, "Good morning.")
        received = await events(socket)
    assert types(received).count("response.done") == 3
    assert sound(received) == expected_pcm("Good morning.", "Cherry")


async def test_odd_deltas_silence_and_stalls_can_be_ordered(dashscope_emulator):
    for effect in (OddChunks(), NoResult(), Stalled(0.2, after=2)):
        dashscope_emulator.faults.add(Fault("realtime", effect))
    results = []
    for _ in range(3):
        async with opened(dashscope_emulator) as socket:
            await say(socket, "Good morning.")
            results.append(await events(socket))
    deltas = [base64.b64decode(event["delta"]) for event in results[0] if event["type"] == "response.audio.delta"]
    assert len(deltas[0]) % 2 == 1
    assert b"".join(deltas) == expected_pcm("Good morning.", "Cherry")
    assert "response.audio.delta" not in types(results[1])
    assert "response.done" in types(results[1])
    times = dashscope_emulator.requests[2].chunks_at
    assert times[2] - times[1] >= 0.19


async def test_the_upgrade_can_be_refused_or_cut(dashscope_emulator):
    dashscope_emulator.faults.add(Fault("realtime", Refused(403, "AccessDenied")))
    dashscope_emulator.faults.add(Fault("realtime", Cut()))
    with pytest.raises(InvalidStatus) as refused:
        async with opened(dashscope_emulator):
            pass
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidMessage):
        async with opened(dashscope_emulator):
            pass
    assert [record.status for record in dashscope_emulator.requests] == [403, None]


async def test_a_plain_request_is_no_websocket(dashscope_emulator, session):
    url = f"{dashscope_emulator.ws_base.replace('ws://', 'http://')}/realtime?model={FLASH}"
    async with session.get(url, headers={"Authorization": "Bearer sk-test"}) as answered:
        assert answered.status == 400
