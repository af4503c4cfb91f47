"""Several emulated engines behind one provider: who gets the calls, by what they say of themselves and of their load."""

from __future__ import annotations

import asyncio

import pytest

import serving
from calling import config_message, rest_of, spoken, text_message, until
from emulated import failure_of
from engines import TEXT, broken, pcm_of, settings, way_of
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.openai import OpenAIEmulator, Refused, Stalled
from pixvox.v1.image_service_pb2 import GenerateImageRequest

PROMPT = "a red bicycle by the sea"
VLLM = way_of("vllm_omni-events")


def engines(dialect="vllm_omni"):
    return OpenAIEmulator(dialect), OpenAIEmulator(dialect)


def service(*emulators, dialect="vllm_omni", **fields):
    return serving.serving(settings(*emulators, dialect=dialect, **{"health_seconds": 0.01} | fields))


def made(emulator):
    return emulator.count("generate")


async def asked(stubs):
    return await stubs.images.GenerateImage(GenerateImageRequest(prompt=PROMPT))


async def test_calls_go_where_the_engines_say_that_they_have_less_to_do():
    first, second = engines()
    async with first, second, service(first, second) as stubs:
        # What others have given them is nothing that this process counts.
        first.load, second.load = 9, 0
        while not (first.count("health") and second.count("health")):
            await asked(stubs)
        before = made(first), made(second)
        for _ in range(6):
            await asked(stubs)
        assert (made(first) - before[0], made(second) - before[1]) == (0, 6)


async def test_an_engine_without_a_word_on_its_load_is_judged_by_our_own_calls():
    first, second = engines("kokoro")
    way = way_of("kokoro-samples")
    async with first, second, service(first, second, dialect="kokoro") as stubs:
        for emulator in (first, second):
            emulator.faults.add("speech", Stalled(0.5), times=None)
        calls = [spoken(stubs, [config_message(model="kokoro"), text_message("a")]) for _ in range(6)]
        answers = await asyncio.gather(*calls)
    assert [pcm_of(one) for one in answers] == [expected_pcm("a", way.voice)] * 6
    assert (first.count("speech"), second.count("speech")) == (3, 3)


async def test_openai_itself_is_never_asked_how_it_is():
    first, second = engines("openai")
    async with first, second, service(first, second, dialect="openai") as stubs:
        for _ in range(4):
            await asked(stubs)
    assert (first.count(), second.count()) == (2, 2)


@pytest.mark.parametrize("refusal", [Refused(503), Refused(500, "", "The model is still loading.")])
async def test_an_engine_that_takes_no_work_leaves_the_call_to_the_next(refusal):
    first, second = engines()
    async with first, second, service(first, second, health_seconds=0, eject_seconds=600) as stubs:
        for operation in ("generate", "speech"):
            first.faults.add(operation, refusal, times=None)
        for _ in range(4):
            await asked(stubs)
    # Once is enough to know.
    assert (made(first), made(second)) == (1, 4)


async def test_speech_goes_on_to_the_next_engine_as_well_before_it_has_begun():
    async with VLLM.emulator() as first, VLLM.emulator() as second:
        made_settings = settings(first, second, dialect="vllm_omni", models=[{"id": "qwen3-tts"}], health_seconds=0)
        async with serving.serving(made_settings) as stubs:
            first.faults.add("speech", Refused(503), times=None)
            for _ in range(2):
                call = stubs.speech.StreamSpeech(iter([config_message(), text_message(TEXT)]))
                assert pcm_of(await rest_of(call)) == expected_pcm(TEXT, "vivian")
    assert (first.count("speech"), second.count("speech")) == (1, 2)


async def test_an_engine_with_a_full_queue_is_not_waited_for_while_another_is_idle():
    first, second = engines()
    async with first, second, service(first, second, health_seconds=0) as stubs:
        first.faults.add("generate", Refused(429, "", "Queue full", retry_after=60), times=None)
        for _ in range(4):
            await asked(stubs)
        # It is asked again, for a full queue passes.
        assert made(first) >= 2
        assert made(second) == 4


async def test_all_engines_full_is_a_rate_limit_and_a_refusal_is_nobody_elses_to_answer():
    first, second = engines()
    async with first, second, service(first, second, health_seconds=0) as stubs:
        for emulator in (first, second):
            emulator.faults.add("generate", Refused(429, "", "Queue full", retry_after=60))
        full = await failure_of(asked(stubs))
        assert (full.reason, made(first), made(second)) == ("RATE_LIMITED", 1, 1)
        for emulator in (first, second):
            emulator.faults.add("generate", Refused(400, "", "Bad prompt"))
        refused = await failure_of(asked(stubs))
        assert (refused.reason, made(first) + made(second)) == ("INVALID_PARAMETER", 3)


async def test_an_engine_that_is_not_well_gets_no_calls_until_it_is():
    first, second = engines()
    async with first, second, service(first, second) as stubs:
        first.well = False
        async with asyncio.timeout(20):
            while not first.count("health"):
                await asked(stubs)
        before = made(first)
        for _ in range(4):
            await asked(stubs)
        assert made(first) == before
        first.well = True
        async with asyncio.timeout(20):
            while made(first) == before:
                await asked(stubs)


async def test_a_stream_that_has_begun_is_never_begun_anew_at_another_engine():
    async with VLLM.emulator() as first, VLLM.emulator() as second:
        made_settings = settings(first, second, dialect="vllm_omni", models=[{"id": "qwen3-tts"}])
        async with serving.serving(made_settings) as stubs:
            for emulator in (first, second):
                emulator.faults.add("speech", Stalled(60, after=1), times=None)
            call = asyncio.create_task(broken(stubs, config_message(), text_message(TEXT), timeout=20))
            async with asyncio.timeout(20):
                await until(lambda: first.count("speech") or second.count("speech"))
                busy = first if first.count("speech") else second
                await busy.until(lambda: next(one for one in busy.requests if one.operation == "speech").pieces)
            await busy.__aexit__()
            _, failed = await call
    assert failed.reason == "PROVIDER_DISCONNECTED"
    assert first.count("speech") + second.count("speech") == 1


async def test_many_texts_at_once_are_neither_lost_nor_mixed_up():
    way = way_of("kokoro-samples")
    first, second = OpenAIEmulator("kokoro", piece_seconds=0.002), OpenAIEmulator("kokoro", piece_seconds=0.002)
    texts = [f"text number {number}" for number in range(24)]
    async with first, second, service(first, second, dialect="kokoro") as stubs:
        calls = [spoken(stubs, [config_message(model="kokoro"), text_message(text)]) for text in texts]
        answers = await asyncio.gather(*calls)
    assert [pcm_of(one) for one in answers] == [expected_pcm(text, way.voice) for text in texts]
    assert first.count("speech") == second.count("speech") == 12
