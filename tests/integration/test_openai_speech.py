"""Speech of emulated engines behind OpenAI's HTTP API, through the service: every dialect in every way that it speaks."""

from __future__ import annotations

import asyncio

import pytest

import serving
from calling import check_invariants, config_message, flush_message, kinds, rest_of, spoken, text_message
from engines import KEY, STREAMING, TEXT, WAYS, pcm_of, settings, speaking, way_of
from pixvox.testing.dashscope import expected_pcm
from pixvox.testing.openai import OpenAIEmulator, Refused, Stalled
from pixvox.v1 import model_service_pb2
from traces import traced


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_each_dialect_is_asked_in_its_own_words_and_heard_sample_by_sample(way):
    async with speaking(way) as (emulator, stubs):
        config = config_message(model=way.model, language_code="en")
        answers = await spoken(stubs, [config, text_message(TEXT[:9]), text_message(TEXT[9:])])
    check_invariants(answers)
    [asked] = emulator.requests
    expected = {"model": way.served, "input": TEXT} | dict(way.said) | ({"voice": way.voice} if way.voice else {})
    assert asked.body == expected
    assert asked.finished
    assert pcm_of(answers) == expected_pcm(TEXT, way.voice, rate=way.rate)
    started, summary = answers[0].started, answers[-1].summary
    assert (started.model, started.voice, started.format.sample_rate_hertz) == (way.model, way.voice, way.rate)
    assert summary.receipt.usage.characters == len(TEXT)
    assert summary.receipt.provider_request_id
    assert summary.chunks > 1


@pytest.mark.parametrize("way", STREAMING, ids=str)
async def test_sound_is_handed_on_while_the_engine_is_still_speaking(way):
    async with speaking(way) as (emulator, stubs):
        emulator.faults.add("speech", Stalled(30, after=2))
        call = stubs.speech.StreamSpeech(iter([config_message(model=way.model), text_message(TEXT)]))
        async with asyncio.timeout(10):
            while not (await call.read()).HasField("audio"):
                pass
        assert emulator.requests[0].pieces == 2
        call.cancel()
        async with asyncio.timeout(10):
            await emulator.until(lambda: emulator.requests[0].cancelled)


async def test_a_whole_answer_is_handed_on_in_pieces():
    async with speaking(way_of("localai-whole")) as (_, stubs):
        answers = await spoken(stubs, [config_message(model="tts-1"), text_message(TEXT)])
    assert all(len(answer.audio.data) <= 22_050 // 10 * 2 for answer in answers)
    assert answers[-1].summary.chunks > 5


@pytest.mark.parametrize("name", ["openai-samples", "kokoro-samples", "vllm_omni-whole", "speaches-events"])
async def test_a_speed_is_sent_where_the_way_of_speaking_takes_one(name):
    way = way_of(name)
    async with speaking(way) as (emulator, stubs):
        answers = await spoken(stubs, [config_message(model=way.model, speaking_rate=1.5), text_message(TEXT)])
    assert emulator.requests[0].body["speed"] == 1.5
    assert pcm_of(answers) == expected_pcm(TEXT, way.voice, speech_rate=1.5)


async def test_a_flush_has_the_text_before_it_spoken_by_a_request_of_its_own():
    messages = [
        config_message(model="gpt-4o-mini-tts"),
        text_message("One. "),
        flush_message("a"),
        text_message("Two."),
    ]
    async with speaking(way_of("openai-events")) as (emulator, stubs):
        answers = await spoken(stubs, messages)
    check_invariants(answers)
    assert [one.body["input"] for one in emulator.requests] == ["One. ", "Two."]
    assert kinds(answers).count("flushed") == 1
    assert pcm_of(answers) == expected_pcm("One. ", "alloy") + expected_pcm("Two.", "alloy")
    assert answers[-1].summary.receipt.usage.characters == len("One. Two.")


async def test_the_list_of_models_says_how_sound_arrives_and_where_its_end_is_told():
    found = {}
    for way in WAYS:
        async with speaking(way) as (_, stubs):
            [model] = (await stubs.models.ListModels(model_service_pb2.ListModelsRequest())).models
        found[str(way)] = model.description.partition(" Sound comes ")[2]
        assert not model.stream_speech.speaks_while_text_arrives
        assert model.stream_speech.streams_audio != str(way).endswith("-whole")
    assert {name for name, said in found.items() if "its end is told" in said} == {
        *("openai-events", "vllm_omni-events", "speaches-events", "vllm_omni-samples-0.22")
    }
    assert {name for name, said in found.items() if said == "when all of it is made."} == {
        *("vllm_omni-whole", "localai-whole", "xinference-whole", "kokoro-whole")
    }


@pytest.mark.parametrize("name", ["vllm_omni-events", "kokoro-samples", "localai-whole"])
async def test_a_call_has_the_span_of_its_request_with_the_engines_id_of_it(name):
    way = way_of(name)
    async with way.emulator() as emulator:
        table = {"dialect": way.dialect, "models": [{"id": way.model}]}
        async with traced(settings(emulator, **table)) as place:
            answers = await spoken(place.stubs, [config_message(model=way.model), text_message(TEXT)])
        spans = place.spans
    [request] = [span for span in spans if span.name == "POST speech"]
    assert request.attributes["pixvox.provider_request_id"] == answers[-1].summary.receipt.provider_request_id
    assert request.attributes["pixvox.attempt.replay_class"] == "committed"
    assert way.lane in {span.attributes.get("pixvox.lane") for span in spans}
    assert not any(TEXT in span.to_json() or KEY in span.to_json() for span in spans)


async def test_an_engine_that_fails_leaves_the_call_to_the_next_target():
    first_way = way_of("vllm_omni-events")
    async with first_way.emulator() as first, OpenAIEmulator("kokoro") as second:
        providers = {
            "first": {"kind": "openai", "dialect": "vllm_omni", "base_url": first.base_url, "api_key": KEY},
            "second": {"kind": "openai", "dialect": "kokoro", "base_url": second.base_url, "api_key": KEY},
        }
        providers["first"]["models"] = [{"id": "qwen3-tts"}]
        routes = {"voice": {"verbs": ["stream_speech"], "targets": [{"to": "first"}, {"to": "second"}]}}
        made = serving.settings_with(providers, routes, target_defaults=serving.UNLIMITED)
        async with serving.serving(made) as stubs:
            first.faults.add("speech", Refused(503), times=None)
            call = stubs.speech.StreamSpeech(iter([config_message(model="voice"), text_message(TEXT)]))
            answers = await rest_of(call)
    assert [one.started.provider for one in answers if one.HasField("started")] == ["first", "second"]
    assert kinds(answers)[-1] == "summary"
    assert (first.count(), second.count()) == (1, 1)
    assert pcm_of(answers) == expected_pcm(TEXT, "af_heart")
