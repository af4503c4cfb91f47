"""Speech of a worker on an emulated Modal, through the service: audio as it is made, and every way in which it ends."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

import serving
from calling import (
    check_invariants,
    config_message,
    flush_message,
    kinds,
    rest_of,
    spoken,
    text_message,
    until,
)
from pixvox import client
from pixvox.testing.modal import (
    AppAnswer,
    Cut,
    Fault,
    ModalEmulator,
    SetClock,
    SpeechBreak,
    Verbatim,
    edge_answer,
    said,
)

MODEL = "Qwen3-TTS-CustomVoice"
SPEAKING = {MODEL: {"verb": "speak", "takes_instructions": True}}


def table(edge, **fields):
    return {"kind": "modal", "url": edge.url, "poll_seconds": 0.02, "models": SPEAKING} | fields


@contextlib.asynccontextmanager
async def deployed(fields=None, **edge_settings):
    async with ModalEmulator(speech="CustomVoice", **edge_settings) as edge:
        settings = serving.settings_with({"modal": table(edge, **(fields or {}))}, {})
        async with serving.serving(settings) as stubs:
            yield edge, stubs


def samples(answers):
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def heard(stubs, *messages, **options):
    """What a stream answered before it failed, and how it failed."""
    call = stubs.speech.StreamSpeech(iter(messages), **options)
    seen = []
    try:
        async for answer in call:
            seen.append(answer)  # noqa: PERF401 - what came before the failure counts
    except grpc.RpcError as error:
        return seen, client.failure(error)
    raise AssertionError("the stream ended with OK")


async def test_a_text_is_spoken_with_a_voice_of_the_model_in_the_language_and_manner_asked_for():
    asked = config_message(voice="Ryan", language_code="de-AT", instructions="Softly.")
    async with deployed() as (edge, stubs):
        answers = await spoken(stubs, [asked, text_message("Guten "), text_message("Abend.")])
    check_invariants(answers)
    assert samples(answers) == said("Guten Abend.")
    [request] = edge.requests
    fields = {"input", "voice", "language", "instructions", "task_type", "response_format", "stream", "stream_format"}
    assert {name: request.fields[name] for name in fields} == {
        "input": "Guten Abend.",
        "voice": "Ryan",
        "language": "German",
        "instructions": "Softly.",
        "task_type": "CustomVoice",
        "response_format": "pcm",
        "stream": True,
        "stream_format": "sse",
    }
    receipt = answers[-1].summary.receipt
    assert (receipt.provider, receipt.model, receipt.usage.characters) == ("modal", MODEL, 12)


async def test_audio_leaves_while_the_rest_is_still_to_be_spoken():
    clock = SetClock()
    async with deployed(piece_seconds=1.0, clock=clock) as (edge, stubs):
        call = stubs.speech.StreamSpeech(iter([config_message(), text_message("abc")]))
        await edge.until(lambda: edge.requests)
        reading = asyncio.ensure_future(call.read())
        assert (await reading).HasField("started")
        await until(lambda: edge.worker.finished == 1)
        await clock.advance(1.0)
        first = await call.read()
        assert said("a").startswith(first.audio.data)
        assert edge.requests[0].left is False
        await clock.advance(2.0)
        rest = await rest_of(call)
    assert first.audio.data + samples(rest) == said("abc")


async def test_each_flush_is_a_request_of_its_own_and_blanks_are_none():
    messages = [config_message(), text_message("one"), flush_message("a"), text_message(" "), flush_message("b")]
    async with deployed() as (edge, stubs):
        answers = await spoken(stubs, [*messages, text_message("two")])
    check_invariants(answers)
    assert samples(answers) == said("one") + said(" two")
    assert [answer.flushed.id for answer in answers if answer.HasField("flushed")] == ["a", "b"]
    assert [request.fields["input"] for request in edge.requests] == ["one", " two"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [("error", "PROVIDER_INTERNAL"), ("end", "PROVIDER_DISCONNECTED"), ("cut", "PROVIDER_DISCONNECTED")],
)
@pytest.mark.parametrize("after", [0, 2])
async def test_a_stream_without_its_last_event_is_a_failure_and_is_never_begun_again(how, reason, after):
    async with ModalEmulator(speech="CustomVoice") as edge, ModalEmulator(speech="CustomVoice") as spare:
        targets = [{"to": "modal"}, {"to": "spare"}]
        settings = serving.settings_with(
            {"modal": table(edge), "spare": table(spare)},
            {"voice": {"verbs": ["stream_speech"], "targets": targets}},
        )
        edge.faults.add(Fault("speech", SpeechBreak(after, how)))
        async with serving.serving(settings) as stubs:
            seen, failure = await heard(stubs, config_message(model="voice"), text_message("abcd"))
    assert failure.reason == reason
    assert failure.metadata["replay"] == "committed"
    assert said("abcd").startswith(samples(seen))
    assert bool(samples(seen)) is bool(after)
    assert "summary" not in kinds(seen)
    assert len(edge.requests) == 1
    assert not spare.requests


@pytest.mark.parametrize(
    "effect",
    [
        edge_answer(404, "app for invoked web endpoint is stopped"),
        edge_answer(429, "workspace billing cycle spend limit reached"),
        edge_answer(401, "missing credentials for proxy authorization"),
        AppAnswer(503, "out_of_memory"),
        AppAnswer(429, "overloaded_error"),
    ],
)
async def test_a_refusal_before_the_first_byte_takes_the_call_to_the_next_target(effect):
    async with ModalEmulator(speech="CustomVoice") as edge, ModalEmulator(speech="CustomVoice") as spare:
        targets = [{"to": "modal"}, {"to": "spare"}]
        settings = serving.settings_with(
            {"modal": table(edge), "spare": table(spare)},
            {"voice": {"verbs": ["stream_speech"], "targets": targets}},
        )
        edge.faults.add(Fault("speech", effect, times=None))
        async with serving.serving(settings) as stubs:
            answers = await spoken(stubs, [config_message(model="voice"), text_message("Hello")])
    assert samples(answers) == said("Hello")
    assert [one.provider for one in answers[-1].summary.receipt.attempts] == ["modal", "spare"]
    assert (len(edge.requests), len(spare.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (Cut(), "OUTCOME_UNKNOWN"),
        (edge_answer(500, "Server has lost track of input"), "OUTCOME_UNKNOWN"),
        (AppAnswer(500, "internal_error"), "PROVIDER_INTERNAL"),
        (AppAnswer(504, "timeout_error"), "PROVIDER_TIMEOUT"),
        (Verbatim(200, b"<html>hello</html>", "text/html"), "PROVIDER_INTERNAL"),
    ],
)
async def test_what_may_have_been_spoken_is_not_spoken_elsewhere(effect, reason):
    async with ModalEmulator(speech="CustomVoice") as edge, ModalEmulator(speech="CustomVoice") as spare:
        targets = [{"to": "modal"}, {"to": "spare"}]
        settings = serving.settings_with(
            {"modal": table(edge), "spare": table(spare)},
            {"voice": {"verbs": ["stream_speech"], "targets": targets}},
        )
        edge.faults.add(Fault("speech", effect))
        async with serving.serving(settings) as stubs:
            _, failure = await heard(stubs, config_message(model="voice"), text_message("Hello"))
    assert failure.reason == reason
    assert failure.metadata["replay"] in {"ambiguous", "accepted"}
    assert not spare.requests


async def test_speech_that_is_slow_to_begin_is_asked_for_once_and_streams_from_where_it_was_redirected_to():
    async with deployed(work_seconds=0.3, redirect_seconds=0.1) as (edge, stubs):
        answers = await spoken(stubs, [config_message(), text_message("Hello")])
    assert samples(answers) == said("Hello")
    assert edge.count("speech") == edge.worker.begun == 1
    followed = [one for one in edge.requests if one.operation == "result"]
    assert followed
    assert all(one.method == "GET" for one in followed)
    assert answers[-1].summary.receipt.provider_request_id == followed[-1].query["__modal_function_call_id"]


async def test_a_stream_that_breaks_off_behind_a_redirect_names_the_work_and_is_not_fetched_again():
    async with deployed(work_seconds=0.3, redirect_seconds=0.1) as (edge, stubs):
        edge.faults.add(Fault("speech", SpeechBreak(1)))
        _, failure = await heard(stubs, config_message(), text_message("abc"))
    assert (failure.reason, failure.metadata["replay"]) == ("PROVIDER_DISCONNECTED", "committed")
    assert failure.metadata["provider_request_id"].startswith("fc-")
    assert edge.worker.begun == 1
    assert sum(one.status == 200 for one in edge.requests) == 1


async def test_a_worker_that_answers_in_one_piece_has_spoken_as_well():
    async with deployed() as (edge, stubs):
        edge.faults.add(Fault("speech", Verbatim(200, said("Hello"), "audio/pcm")))
        answers = await spoken(stubs, [config_message(), text_message("Hello")])
    check_invariants(answers)
    assert samples(answers) == said("Hello")
    assert kinds(answers).count("audio") > 1


async def test_a_server_that_sleeps_is_asked_until_it_speaks():
    settings = {"kind_of_endpoint": "server"}
    async with deployed(settings, kind="server", cold_seconds=0.2) as (edge, stubs):
        answers = await spoken(stubs, [config_message(), text_message("Hello")])
    assert samples(answers) == said("Hello")
    assert edge.worker.begun == 1
    assert edge.count("speech") >= 2


async def test_a_caller_who_leaves_while_listening_ends_the_work():
    clock = SetClock()
    async with deployed(piece_seconds=1.0, clock=clock) as (edge, stubs):
        call = stubs.speech.StreamSpeech(iter([config_message(), text_message("abc")]))
        await call.read()
        await until(lambda: edge.worker.finished == 1)
        await clock.advance(1.0)
        assert (await call.read()).HasField("audio")
        call.cancel()
        await edge.until(lambda: edge.requests[0].left)


async def test_a_caller_who_leaves_without_having_listened_ends_the_work():
    text = "a long text that nobody listens to " * 250
    models = {MODEL: {"verb": "speak", "max_text_characters": len(text)}}
    async with deployed({"models": models}) as (edge, stubs):
        call = stubs.speech.StreamSpeech(iter([config_message(), text_message(text)]))
        assert (await call.read()).HasField("started")
        await until(lambda: edge.worker.finished == 1)
        # 20 MB are more than the buffers between here and there hold.
        await asyncio.sleep(0.3)
        assert edge.requests[0].left is False
        call.cancel()
        await edge.until(lambda: edge.requests[0].left)
    assert edge.requests[0].status == 200


async def test_a_caller_who_leaves_before_the_first_byte_ends_the_work():
    clock = SetClock()
    async with deployed(work_seconds=60.0, clock=clock) as (edge, stubs):
        call = stubs.speech.StreamSpeech(iter([config_message(), text_message("abc")]))
        await edge.until(lambda: edge.worker.begun == 1)
        call.cancel()
        await edge.until(lambda: edge.requests[0].left)
    assert edge.worker.finished == 0


@pytest.mark.parametrize("pieces", [0, 1])
async def test_the_callers_deadline_ends_a_stream_and_the_worker_was_told_of_it(pieces):
    clock = SetClock()
    async with deployed(work_seconds=0.0 if pieces else 60.0, piece_seconds=1.0, clock=clock) as (edge, stubs):
        asking = asyncio.ensure_future(heard(stubs, config_message(), text_message("abc"), timeout=1.5))
        await edge.until(lambda: edge.worker.begun == 1)
        await clock.advance(float(pieces))
        seen, failure = await asking
        await edge.until(lambda: edge.requests[0].left)
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert samples(seen) == said("abc"[:pieces])
    assert 0 < float(edge.requests[0].headers["x-request-timeout"]) < 2.0


async def test_an_option_that_the_worker_lacks_is_refused_before_anything_is_sent():
    async with deployed() as (edge, stubs):
        asked = config_message()
        asked.config.provider_options.update({"modal": {"steps": 8}})
        _, failure = await heard(stubs, asked, text_message("Hello"))
    assert failure.reason == "INVALID_REQUEST"
    assert [one.field for one in failure.violations] == ["config.provider_options.modal.steps"]
    assert not edge.requests
