"""How text flows in and audio out in time: trickling text, flushes, silence, and sessions one after another."""

from __future__ import annotations

import asyncio
import time

import pytest

from calling import (
    check_invariants,
    config_message,
    flush_message,
    kinds,
    rest_of,
    text_message,
)
from pixvox.providers.dashscope import realtime_sessions, realtime_speech
from pixvox.testing.dashscope import (
    Behaviour,
    DashScopeEmulator,
    Fault,
    OddChunks,
    Split,
    Stalled,
    billed_characters,
    expected_pcm,
)
from speaking import HTTP, REALTIME, TEXT, pcm_of, place_of


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as emulator:
        yield emulator


@pytest.fixture
async def place(vendor):
    async with place_of(vendor) as place:
        yield place


async def test_text_may_trickle_letter_by_letter(place):
    answers = await place.stream(config_message(), *(text_message(letter) for letter in TEXT))
    assert pcm_of(answers) == expected_pcm(TEXT, "Cherry")
    assert answers[-1].summary.receipt.usage.characters == billed_characters(TEXT)


async def test_audio_leaves_while_the_text_still_trickles_in(place):
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message("First comes a sentence. And"))
    answers = []
    while not answers or not answers[-1].HasField("audio"):
        answers.append(await call.read())
    await call.write(text_message(" then another one."))
    await call.done_writing()
    answers += await rest_of(call)
    check_invariants(answers)
    assert pcm_of(answers) == expected_pcm("First comes a sentence. And then another one.", "Cherry")
    assert place.said()[1:] == [
        "First comes a sentence. ",
        "input_text_buffer.commit",
        "And then another one.",
        "input_text_buffer.commit",
        "session.finish",
    ]


async def test_one_commit_is_under_way_at_a_time_and_what_comes_meanwhile_is_spoken_together(place):
    place.vendor.behaviour = Behaviour(chunk_interval=0.05)
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    sentences = ["First of all. ", "Second. ", "Third. ", "Fourth."]
    for sentence in sentences:
        await call.write(text_message(sentence))
        await asyncio.sleep(0.02)
    await call.done_writing()
    answers = await rest_of(call)
    check_invariants(answers)
    assert pcm_of(answers) == expected_pcm("".join(sentences), "Cherry")
    assert [text for text in place.said() if "." in text and "_" not in text and "session" not in text] == [
        "First of all. ",
        "Second. Third. Fourth.",
    ]


async def test_words_are_spoken_when_the_caller_pauses_in_the_middle_of_a_sentence(place, monkeypatch):
    monkeypatch.setattr(realtime_speech, "PAUSE_SECONDS", 0.1)
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(text_message("The capital is"))
    answers = []
    while not answers or not answers[-1].HasField("audio"):
        answers.append(await call.read())
    await call.write(text_message("tanbul no more."))
    await call.done_writing()
    answers += await rest_of(call)
    check_invariants(answers)
    assert pcm_of(answers) == expected_pcm("The capital istanbul no more.", "Cherry")
    assert place.said()[1:4:2] == ["The capital ", "istanbul no more."]


@pytest.mark.parametrize(
    ("model", "lane", "effect"),
    [
        (REALTIME, "sse", None),
        (REALTIME, "sse", Split(3)),
        (REALTIME, "sse", OddChunks()),
        (HTTP, "sse", None),
        (HTTP, "download", None),
    ],
    ids=str,
)
async def test_a_flush_is_answered_behind_all_audio_of_the_text_before_it(vendor, model, lane, effect):
    if effect is not None:
        vendor.faults.add(Fault("realtime", effect, times=None))
    async with place_of(vendor, speech_lane=lane) as place:
        answers = await place.stream(
            config_message(model=model),
            text_message("no full stop here"),
            flush_message("a"),
            flush_message("b"),
            text_message(" but more"),
            text_message(" comes. And more"),
            flush_message("c"),
            text_message(", to the end."),
        )
    said = ["no full stop here", "", " but more comes. And more", ", to the end."]
    parts, flushed = [b""], []
    for answer in answers:
        if answer.HasField("flushed"):
            flushed.append(answer.flushed.id)
            parts.append(b"")
        elif answer.HasField("audio"):
            parts[-1] += answer.audio.data
    assert flushed == ["a", "b", "c"]
    assert parts == [expected_pcm(text, "Cherry") for text in said]
    assert answers[-1].summary.receipt.usage.characters == billed_characters("".join(said))


async def test_a_flush_is_answered_while_the_call_stays_open(place):
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    for identifier in ("a", "b", "c"):
        await call.write(text_message(f"{identifier} word "))
        await call.write(flush_message(identifier))
        async with asyncio.timeout(5):
            answers = [await call.read()]
            while not answers[-1].HasField("flushed"):
                answers.append(await call.read())
        assert answers[-1].flushed.id == identifier
        assert "audio" in kinds(answers)
    await call.done_writing()
    assert kinds(await rest_of(call)) == ["summary"]
    assert len(place.asked) == 1


async def test_a_flush_before_any_text_is_answered_at_once(place):
    call = place.stubs.speech.StreamSpeech()
    await call.write(config_message())
    await call.write(flush_message("a"))
    async with asyncio.timeout(5):
        assert kinds([await call.read(), await call.read()]) == ["started", "flushed"]
    await call.write(text_message("Hello."))
    await call.done_writing()
    answers = await rest_of(call)
    assert pcm_of(answers) == expected_pcm("Hello.", "Cherry")


async def test_several_responses_to_one_commit_are_one_stream(place):
    place.vendor.faults.add(Fault("realtime", Split(4)))
    answers = await place.stream(config_message(), text_message(TEXT))
    assert pcm_of(answers) == expected_pcm(TEXT, "Cherry")
    assert answers[-1].summary.receipt.usage.characters == billed_characters(TEXT)


@pytest.mark.parametrize("model", [REALTIME, HTTP])
async def test_pieces_that_end_within_a_sample_become_whole_samples(place, model):
    place.vendor.faults.add(Fault("realtime" if model == REALTIME else "speech_sse", OddChunks()))
    answers = await place.stream(config_message(model=model), text_message(TEXT))
    assert all(len(answer.audio.data) % 2 == 0 for answer in answers if answer.HasField("audio"))
    assert pcm_of(answers) == expected_pcm(TEXT, "Cherry")


async def test_a_silent_caller_does_not_lose_the_session_to_the_vendors_clock(vendor, monkeypatch):
    for module in (realtime_sessions, realtime_speech):
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    vendor.behaviour = Behaviour(idle_seconds=0.4)
    async with place_of(vendor) as place:
        call = place.stubs.speech.StreamSpeech()
        await call.write(config_message())
        answers = []
        for sentence in ("One. ", "Two. ", "Three."):
            await call.write(text_message(sentence))
            await asyncio.sleep(0.6)
        await call.done_writing()
        answers += await rest_of(call)
        check_invariants(answers)
        assert pcm_of(answers) == expected_pcm("One. Two. Three.", "Cherry")
        receipt = answers[-1].summary.receipt
        assert receipt.usage.characters == len("One. Two. Three.")
        assert len(place.asked) == len(receipt.provider_request_id.split(",")) == 3
        assert all(record.finished for record in place.asked)


async def test_a_session_that_the_vendor_ends_for_silence_after_all_was_spoken_is_replaced(vendor):
    vendor.behaviour = Behaviour(idle_seconds=0.2)
    async with place_of(vendor) as place:
        call = place.stubs.speech.StreamSpeech()
        await call.write(config_message())
        await call.write(text_message("One. "))
        await asyncio.sleep(0.6)
        await call.write(text_message("Two."))
        await call.done_writing()
        answers = await rest_of(call)
        check_invariants(answers)
        assert pcm_of(answers) == expected_pcm("One. Two.", "Cherry")
        assert len(place.asked) == 2


async def test_a_warm_session_is_used_by_the_next_call(vendor):
    vendor.faults.add(Fault("realtime", Stalled(0.4, after=None), times=None))
    async with place_of(vendor, prewarm=1) as place:
        seconds = []
        for _ in range(2):
            started = time.monotonic()
            answers = await place.stream(config_message(), text_message("Hello."))
            seconds.append(time.monotonic() - started)
            assert pcm_of(answers) == expected_pcm("Hello.", "Cherry")
            await asyncio.sleep(0.6)
    assert seconds[0] > 0.4
    assert seconds[1] < 0.2


async def test_many_calls_at_once_do_not_mix(place):
    texts = [f"Call number {number} speaks with its own words. " * 2 for number in range(12)]
    answers = await asyncio.gather(
        *(place.stream(config_message(voice=["Cherry", "Ethan"][len(text) % 2]), text_message(text)) for text in texts)
    )
    for text, got in zip(texts, answers, strict=True):
        assert pcm_of(got) == expected_pcm(text, ["Cherry", "Ethan"][len(text) % 2])
