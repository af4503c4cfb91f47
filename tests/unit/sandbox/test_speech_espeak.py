"""The espeak-ng process: what it says, and that neither a text nor a reader can harm the others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time

import pytest

from pixvox.errors import ProviderInternalError, ProviderUnavailableError
from pixvox.providers.sandbox import espeak
from pixvox.providers.sandbox.espeak import Espeak, Manner

pytest.importorskip("espeakng_loader")

NORMAL = Manner("f2")
CRASHING = ("©ѱ", "pt")


@pytest.fixture
async def engine():
    engine = Espeak()
    await engine.open()
    yield engine
    await engine.aclose()


async def said(engine, text, language="en-us", manner=NORMAL, **options) -> bytes:
    return b"".join([piece async for piece in engine.speak(text, language, manner, **options)])


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / espeak.SAMPLE_RATE_HERTZ


async def test_pieces_are_whole_samples_and_come_at_once(engine):
    await said(engine, "Warm up.")
    speech = engine.speak("This takes about two seconds to hear.", "en-us", NORMAL)
    started = time.perf_counter()
    pieces = [await anext(speech)]
    assert time.perf_counter() - started < 0.1
    pieces += [piece async for piece in speech]
    assert len(pieces) > 10
    assert all(len(piece) % 2 == 0 and 0 < len(piece) <= 4412 for piece in pieces)


async def test_a_mark_at_the_end_makes_a_pause_if_asked(engine):
    without, with_pause = await said(engine, "Yes."), await said(engine, "Yes.", pause=True)
    assert 0.2 < seconds(with_pause) - seconds(without) < 0.5


async def test_text_is_neither_ssml_nor_a_command(engine):
    plain = await said(engine, "hello")
    assert 1 < seconds(await said(engine, "<break time='9s'/>hello")) < 6
    # Ctrl-A, a number and "S" would set the speed.
    assert seconds(await said(engine, "hello \x01400S hello")) > seconds(await said(engine, "hello hello")) + 0.5
    assert seconds(await said(engine, "hello\x00hello")) > 1.5 * seconds(plain)


async def test_what_one_segment_set_does_not_stay_for_the_next(engine):
    before = await said(engine, "hello")
    await said(engine, "bonjour", "fr", Manner("m3", rate=2.0, pitch=0.5, volume=90.0))
    assert seconds(await said(engine, "hello")) == pytest.approx(seconds(before), rel=0.02)


async def test_a_speech_that_is_closed_makes_room_for_the_next(engine):
    await said(engine, "Warm up.")
    with contextlib.closing(engine.speak("A very long text. " * 5000, "en-us", NORMAL)) as long:
        await anext(long)
    started = time.perf_counter()
    assert await said(engine, "Next.")
    # The long text alone would take seconds.
    assert time.perf_counter() - started < 0.5


async def test_a_speech_that_is_closed_while_it_waits_is_never_spoken(engine):
    speeches = [engine.speak("A very long text. " * 5000, "en-us", NORMAL) for _ in range(20)]
    for speech in speeches:
        speech.close()
    started = time.perf_counter()
    assert await said(engine, "Next.")
    assert time.perf_counter() - started < 0.5
    assert [piece async for piece in speeches[7]] == []


async def test_a_reader_that_stands_still_holds_up_nobody(engine):
    slow = engine.speak("Nobody listens to this sentence for a while.", "en-us", NORMAL)
    assert await asyncio.wait_for(said(engine, "But this one is heard."), 2)
    assert len(b"".join([piece async for piece in slow])) > espeak.SAMPLE_RATE_HERTZ


async def test_segments_are_spoken_in_the_order_of_asking(engine):
    done = []

    async def speak(number: int) -> None:
        await said(engine, "A sentence of some words.")
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(speak(number))
    assert done == list(range(10))


async def test_a_text_that_crashes_espeak_fails_alone(engine):
    queued = asyncio.create_task(said(engine, "Before."))
    await asyncio.sleep(0)
    crash = asyncio.create_task(said(engine, *CRASHING))
    await asyncio.sleep(0)
    after = asyncio.create_task(said(engine, "After."))
    assert await queued
    with pytest.raises(ProviderInternalError):
        await crash
    assert await after


async def test_a_process_that_was_killed_in_between_is_replaced(engine):
    os.kill(engine._process.pid, signal.SIGKILL)
    await engine._process.wait()
    assert await said(engine, "Here again.")


async def test_a_voice_that_does_not_exist_is_an_error(engine):
    with pytest.raises(ProviderInternalError):
        await said(engine, "hello", "xx-none")
    assert await said(engine, "hello")


async def test_closing_ends_the_process_and_fails_what_is_left():
    engine = Espeak()
    await engine.open()
    process = engine._process
    speech = engine.speak("A very long text. " * 5000, "en-us", NORMAL)
    waiting = engine.speak("Never spoken.", "en-us", NORMAL)
    await anext(speech)
    await engine.aclose()
    assert process.returncode is not None
    for unfinished in (speech, waiting):
        with pytest.raises(ProviderUnavailableError):
            [piece async for piece in unfinished]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_engine_that_was_never_opened_is_closed_as_well():
    await Espeak().aclose()


async def test_the_process_ends_with_its_parent():
    program = """
import asyncio, os
from pixvox.providers.sandbox.espeak import Espeak
async def main():
    engine = Espeak()
    await engine.open()
    print(engine._process.pid, flush=True)
    os._exit(1)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env=os.environ
    )
    output, _ = await parent.communicate()
    for _ in range(100):
        try:
            os.kill(int(output), 0)
        except ProcessLookupError:
            return
        # Somebody else may have to reap it.
        with open(f"/proc/{int(output)}/stat") as stat:  # noqa: ASYNC230, PTH123
            if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        await asyncio.sleep(0.05)
    pytest.fail("the process of espeak-ng lives on")
