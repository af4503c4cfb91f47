"""The verb itself: the order of events, and every way a stream can end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest

from pixvox.errors import (
    InvalidRequestError,
    ProviderDisconnectedError,
    ProviderInternalError,
    ProviderUnavailableError,
    StreamOrderError,
)
from pixvox.providers import sandbox
from pixvox.providers.sandbox.speech import SandboxSpeech, speech_models
from pixvox.v1 import media_pb2, speech_service_pb2

pytest.importorskip("espeakng_loader")

SENTENCE = "The quick brown fox jumps over the lazy dog. "
MODEL = speech_models()[0]


@pytest.fixture
async def speech():
    speech = SandboxSpeech()
    yield speech
    await speech.aclose()


async def these(*items):
    for item in items:
        yield item


def config(fault: dict | None = None, rate: int = 0, **fields: object) -> speech_service_pb2.SpeechConfig:
    made = speech_service_pb2.SpeechConfig(language_code="en", **fields)
    made.format.sample_rate_hertz = rate
    if fault is not None:
        made.provider_options.update({"sandbox": {"fault": fault}})
    return made


def flush(identifier: str) -> speech_service_pb2.Flush:
    return speech_service_pb2.Flush(id=identifier)


async def events_of(speech, *items, **fields: object) -> list:
    async with speech.stream_speech(config(**fields), these(*items), MODEL) as stream:
        return [event async for event in stream.events]


async def collect(speech, wanted, text, seen: list) -> None:
    """Put events where they are seen although the stream fails."""
    async with speech.stream_speech(wanted, text, MODEL) as stream:
        async for event in stream.events:
            seen.append(event)  # noqa: PERF401  # a comprehension would lose them


def sound(events: list) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


def order(events: list) -> list[str]:
    """The kinds of events, with audio in a row as one."""
    kinds = ["audio" if isinstance(event, bytes) else getattr(event, "id", "receipt") for event in events]
    return [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before or kind != "audio"]


async def test_the_receipt_comes_last_and_counts_everything(speech):
    events = await events_of(speech, SENTENCE, "  ", "And this.")
    receipt = events[-1]
    assert order(events) == ["audio", "receipt"]
    assert receipt.usage.characters == len(SENTENCE) + 2 + len("And this.")
    assert receipt.usage.audio_duration.ToMicroseconds() / 1e6 == pytest.approx(len(sound(events)) / 48000, abs=1e-5)
    assert (receipt.cost.state, receipt.cost.amount, receipt.cost.currency) == (media_pb2.COST_STATE_PRICED, "0", "USD")
    assert receipt.cost.price_table == "sandbox"
    assert len(bytes.fromhex(receipt.provider_request_id)) == 16


@pytest.mark.parametrize(("asked", "given"), [(0, 24000), (8000, 8000), (16000, 16000), (48000, 48000), (44100, 24000)])
async def test_the_rate_is_the_one_asked_for_or_the_models_own(speech, asked, given):
    async with speech.stream_speech(config(rate=asked), these(SENTENCE), MODEL) as stream:
        assert stream.sample_rate_hertz == given
        assert stream.voice == "aria"
        events = [event async for event in stream.events]
    assert all(len(event) % 2 == 0 for event in events if isinstance(event, bytes))
    assert 2.0 < len(sound(events)) / 2 / given < 4.0


async def test_audio_comes_while_the_text_is_still_being_written(speech):
    written = asyncio.Event()

    async def text():
        yield "First comes this. "
        await written.wait()
        yield "Then that."

    async with speech.stream_speech(config(), text(), MODEL) as stream:
        first = await asyncio.wait_for(anext(stream.events), 5)
        assert isinstance(first, bytes)
        written.set()
        assert isinstance([event async for event in stream.events][-1], media_pb2.Receipt)


async def test_in_a_pause_of_the_text_its_whole_words_are_spoken(speech):
    written = asyncio.Event()

    async def text():
        yield "no full stop is here but wor"
        await written.wait()
        yield "ds."

    async with speech.stream_speech(config(), text(), MODEL) as stream:
        assert isinstance(await asyncio.wait_for(anext(stream.events), 5), bytes)
        written.set()
        events = [event async for event in stream.events]
    assert events[-1].usage.characters == len("no full stop is here but words.")


async def test_a_flush_comes_back_after_the_audio_before_it(speech):
    events = await events_of(speech, "one two", flush("a"), flush("b"), " three.", flush("c"), " four")
    assert order(events) == ["audio", "a", "b", "audio", "c", "audio", "receipt"]


async def test_a_flush_is_answered_before_more_text_comes(speech):
    answered = asyncio.Event()

    async def text():
        yield "no full stop"
        yield flush("now")
        await answered.wait()

    async with speech.stream_speech(config(), text(), MODEL) as stream:
        async with asyncio.timeout(5):
            seen = [await anext(stream.events)]
            while isinstance(seen[-1], bytes):
                seen.append(await anext(stream.events))
        assert seen[-1].id == "now"
        answered.set()
        assert order([event async for event in stream.events]) == ["receipt"]


async def test_text_may_break_off_anywhere(speech):
    text = SENTENCE * 3
    whole, pieces = await events_of(speech, text), await events_of(speech, *text)
    assert len(sound(whole)) == pytest.approx(len(sound(pieces)), rel=0.02)
    assert whole[-1].usage.characters == pieces[-1].usage.characters == len(text)


async def test_text_of_spaces_gives_a_receipt_and_no_audio(speech):
    events = await events_of(speech, "   \n ")
    assert order(events) == ["receipt"]
    assert events[0].usage.characters == 5


async def test_segments_join_without_a_click(speech):
    samples = np.frombuffer(sound(await events_of(speech, SENTENCE * 4)), "<i2").astype(int)
    assert np.abs(np.diff(samples)).max() < 20000


async def no_tasks_but_ours() -> None:
    """Only this test and the engine, which lives until it is closed."""
    for _ in range(3):
        await asyncio.sleep(0)
    names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert set(names) <= {"espeak"}


async def test_a_reader_that_leaves_leaves_nothing_behind(speech):
    async with speech.stream_speech(config(), these(SENTENCE * 200), MODEL) as stream:
        await anext(stream.events)
    await no_tasks_but_ours()
    started = time.monotonic()
    assert sound(await events_of(speech, "Next."))
    assert time.monotonic() - started < 2


async def test_a_reader_that_is_cancelled_leaves_nothing_behind(speech):
    reading = asyncio.Event()

    async def read() -> None:
        async with speech.stream_speech(config(), never_ending(), MODEL) as stream:
            async for _ in stream.events:
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await no_tasks_but_ours()


async def never_ending():
    yield SENTENCE
    await asyncio.Event().wait()


async def test_an_error_of_the_text_reaches_the_reader_as_it_is(speech):
    async def text():
        yield SENTENCE
        await asyncio.sleep(0.05)
        raise StreamOrderError("a second config")

    with pytest.raises(StreamOrderError):
        await collect(speech, config(), text(), [])
    await no_tasks_but_ours()


async def test_an_error_of_the_text_reaches_a_reader_who_waits_for_audio(speech):
    async def text():
        await asyncio.sleep(0.05)
        raise StreamOrderError("no config")
        yield ""

    with pytest.raises(StreamOrderError):
        async with speech.stream_speech(config(), text(), MODEL) as stream:
            await anext(stream.events)


async def test_a_reader_that_stands_still_stops_the_reading_of_text(speech):
    given = 0

    async def text():
        nonlocal given
        for _ in range(500):
            given += 1
            yield SENTENCE

    async with speech.stream_speech(config(), text(), MODEL) as stream:
        await anext(stream.events)
        await asyncio.sleep(0.2)
        assert given < 20


async def test_a_slow_reader_does_not_slow_down_another(speech):
    async with speech.stream_speech(config(), these(SENTENCE * 50), MODEL) as slow:
        await anext(slow.events)
        started = time.monotonic()
        assert order(await events_of(speech, SENTENCE)) == ["audio", "receipt"]
        assert time.monotonic() - started < 2
        assert isinstance(await anext(slow.events), bytes)


async def test_fifty_streams_at_once_are_all_spoken_whole(speech):
    alone = await events_of(speech, "one two", flush("a"), " three. ", flush("b"), SENTENCE)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(events_of(speech, "one two", flush("a"), " three. ", flush("b"), SENTENCE))
            for _ in range(50)
        ]
    for task in tasks:
        events = task.result()
        assert order(events) == ["audio", "a", "audio", "b", "audio", "receipt"]
        assert len(sound(events)) == pytest.approx(len(sound(alone)), rel=0.02)
    await no_tasks_but_ours()


async def test_a_text_that_crashes_espeak_breaks_one_stream(speech):
    neighbour = asyncio.create_task(events_of(speech, SENTENCE * 3))
    broken = speech_service_pb2.SpeechConfig(language_code="pt")
    with pytest.raises(ProviderInternalError):
        await collect(speech, broken, these("©ѱ"), [])
    assert order(await neighbour) == ["audio", "receipt"]


@pytest.mark.parametrize("chunks", [0, 3])
async def test_a_rehearsed_disconnect_comes_after_its_chunks(speech, chunks):
    seen = []
    with pytest.raises(ProviderDisconnectedError):
        await collect(speech, config({"kind": "disconnect", "after_chunks": chunks}), these(SENTENCE), seen)
    assert len(seen) == chunks
    await no_tasks_but_ours()


async def test_a_rehearsed_stall_can_be_left(speech):
    seen = []
    reading = collect(speech, config({"kind": "stall", "after_chunks": 2}), these(SENTENCE), seen)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reading, 0.5)
    assert len(seen) == 2
    await no_tasks_but_ours()


async def test_a_rehearsed_refusal_comes_before_the_text_is_touched(speech):
    touched = defaultdict(int)

    async def text():
        touched["text"] += 1
        yield SENTENCE

    with pytest.raises(ProviderUnavailableError):
        async with speech.stream_speech(config({"kind": "unavailable"}), text(), MODEL):
            pass
    assert not touched


async def test_a_sandbox_without_faults_refuses_to_rehearse():
    strict = sandbox.create(sandbox.Config(faults=False), None)
    with pytest.raises(InvalidRequestError):
        async with strict.stream_speech(config({"kind": "crash"}), these(SENTENCE), MODEL):
            pass
    await strict.aclose()


async def test_the_sandbox_speaks_where_espeak_is_installed_and_lacks_the_verb_elsewhere(monkeypatch):
    speaking = sandbox.create(sandbox.Config(), None)
    assert MODEL.id in {model.id for model in speaking.models()}
    await speaking.aclose()
    monkeypatch.setattr(sandbox.espeak, "available", lambda: False)
    silent = sandbox.create(sandbox.Config(), None)
    assert not hasattr(silent, "stream_speech")
    assert MODEL.id not in {model.id for model in silent.models()}
    await silent.aclose()


def test_creating_a_sandbox_loads_neither_espeak_nor_pyav():
    program = """
import sys
from pixvox.providers import sandbox
sandbox.create(sandbox.Config(), None)
sys.exit("av" in sys.modules or "espeakng_loader" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
