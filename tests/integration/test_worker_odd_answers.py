"""Answers that no worker of ours gives and a proxy, an older or another engine might, through the service."""

from __future__ import annotations

import base64
import contextlib
import json
import math

import pytest
from aiohttp import web

import serving
from calling import config_message, flush_message, spoken, text_message
from emulated import failure_of
from pixvox.media.audio import decoded
from pixvox.testing.dashscope import Painting, expected_pcm, painted
from pixvox.v1 import media_pb2, voice_service_pb2_grpc
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from pixvox.v1.voice_service_pb2 import ListVoicesRequest
from recording import designing
from workers import CLONER, MODELS, SPEAKER, broken, pcm_of

SMALL = media_pb2.Size(width=64, height=64)
FILES = [painted(Painting("a cat", (64, 64), index, index)) for index in range(2)]
LOUD = expected_pcm("a" * 20, "ryan", 24_000)


@contextlib.asynccontextmanager
async def answered(*pieces, cut=False):
    """Stubs for a service whose worker gives these pieces of an event stream to whatever it is asked."""

    async def answer(request):
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Request-Id": "req-7"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if cut:
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        table = {"kind": "worker", "url": url, "models": MODELS}
        settings = serving.settings_with({"gpu": table}, {}, target_defaults=serving.UNLIMITED)
        async with serving.serving(settings) as stubs:
            yield stubs
    finally:
        await runner.cleanup()


def event(kind, end="\n", **members):
    return f"event: {kind}{end}data: {json.dumps({'type': kind, **members})}{end}{end}".encode()


def picture(data, **members):
    return event("image_generation.completed", b64_json=base64.b64encode(data).decode(), **members)


def delta(data, end="\n", **members):
    return event("speech.audio.delta", end, audio=base64.b64encode(data).decode(), **members)


DONE = event("speech.audio.done")


async def drawn(stubs, n=1):
    answer = await stubs.images.GenerateImage(GenerateImageRequest(prompt="a cat", size=SMALL, n=n), timeout=30)
    return [image.data for image in answer.images], [warning.field for warning in answer.warnings]


async def test_pictures_without_a_number_are_all_kept_in_their_order():
    async with answered(picture(FILES[0]), picture(FILES[1]), b"data: [DONE]\n\n") as stubs:
        assert await drawn(stubs, n=2) == (FILES, [])


async def test_a_picture_that_comes_twice_is_one_picture():
    both = picture(FILES[0], index=0), picture(FILES[0], index=0), picture(FILES[1], index=1)
    async with answered(*both) as stubs:
        assert await drawn(stubs, n=2) == (FILES, [])


async def test_a_picture_that_is_missing_is_told_and_the_other_one_is_kept():
    async with answered(picture(FILES[0], index=1)) as stubs:
        assert await drawn(stubs, n=2) == ([FILES[0]], ["n"])


async def test_steps_and_complaints_after_the_last_picture_change_nothing():
    late = event("x.progress", step=4, steps=4) + event("error", error={"type": "internal_error", "code": 500})
    async with answered(picture(FILES[0], index=0) + late) as stubs:
        assert await drawn(stubs) == ([FILES[0]], [])


async def test_events_may_be_cut_anywhere_have_any_line_ends_and_comments_between():
    whole = b": alive\r\n\r\n" + event("x.progress", "\r\n", step=1, steps=4) + b":\r\r"
    whole += picture(FILES[0], index=0).replace(b"\n", b"\r")
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    async with answered(*pieces) as stubs:
        assert await drawn(stubs) == ([FILES[0]], [])


@pytest.mark.parametrize("packed", ["####", "ä", "AAA"])
async def test_a_picture_that_is_no_base64_is_an_error_with_the_workers_id(packed):
    async with answered(event("image_generation.completed", b64_json=packed, index=0)) as stubs:
        failed = await failure_of(drawn(stubs))
    assert (failed.reason, failed.metadata["provider_request_id"]) == ("PROVIDER_INTERNAL", "req-7")


async def said(stubs, *texts, model=SPEAKER):
    return pcm_of(await spoken(stubs, [config_message(model=model), *map(text_message, texts)]))


async def test_sound_may_be_cut_within_samples_and_events_anywhere():
    whole = b": alive\n\n" + delta(LOUD[:1], "\r\n") + delta(b"") + delta(LOUD[1:1001]) + delta(LOUD[1001:]) + DONE
    pieces = [whole[at : at + 997] for at in range(0, len(whole), 997)]
    async with answered(*pieces) as stubs:
        assert await said(stubs, "Hello.") == LOUD


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((delta(LOUD[:-1]), DONE), "PROVIDER_DISCONNECTED"),
        ((delta(LOUD), b"data: [DONE]\n\n"), "PROVIDER_DISCONNECTED"),
        ((DONE,), "PROVIDER_INTERNAL"),
        ((delta(LOUD, sample_rate=8_000), DONE), "PROVIDER_INTERNAL"),
        ((event("speech.audio.delta", audio="####"), DONE), "PROVIDER_INTERNAL"),
        ((event("speech.audio.delta", audio=7), DONE), "PROVIDER_INTERNAL"),
        ((delta(LOUD), event("speech.audio.error", error="text")), "PROVIDER_INTERNAL"),
    ],
)
async def test_sound_that_is_not_all_there_never_looks_finished(events, reason):
    async with answered(*events) as stubs:
        _, failed = await broken(stubs, config_message(model=SPEAKER), text_message("Hello."))
    assert (failed.reason, failed.metadata["provider_request_id"]) == (reason, "req-7")


async def test_text_of_nothing_but_space_is_never_sent_and_its_flush_is_answered():
    flushes = [
        flush_message("first"),
        *(text_message("Hello."), flush_message("second")),
        *(text_message(" \n"), flush_message("third"), text_message("\t")),
    ]
    async with answered(delta(LOUD), DONE) as stubs:
        answers = await spoken(stubs, [config_message(model=SPEAKER), *flushes])
    assert pcm_of(answers) == LOUD
    assert [answer.flushed.id for answer in answers if answer.HasField("flushed")] == ["first", "second", "third"]


async def test_marks_without_a_letter_may_have_no_sound_and_end_no_stream():
    async with answered(DONE) as stubs:
        messages = [config_message(model=SPEAKER), text_message("..."), flush_message("dots")]
        answers, failed = await broken(stubs, *messages, text_message("Hello."))
    assert [answer.flushed.id for answer in answers if answer.HasField("flushed")] == ["dots"]
    # Words do have one.
    assert (failed.reason, failed.metadata["provider_request_id"]) == ("PROVIDER_INTERNAL", "req-7")


async def test_options_that_are_no_numbers_in_json_are_the_callers_fault():
    request = GenerateImageRequest(prompt="a cat", size=SMALL)
    request.provider_options.update({"worker": {"true_cfg_scale": math.nan}})
    async with answered(picture(FILES[0])) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(request))
    assert failed.reason == "INVALID_REQUEST"
    assert [violation.field for violation in failed.violations] == ["provider_options.worker.true_cfg_scale"]


PREVIEWS = [
    (LOUD[: 24_000 * 2 - 2], "preview_text"),
    (bytes(24_000 * 4), ""),
]


@pytest.mark.parametrize(("preview", "field"), PREVIEWS)
async def test_a_design_whose_preview_could_never_speak_is_no_voice(preview, field):
    async with answered(delta(preview), DONE) as stubs:
        voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
        failed = await failure_of(voices.DesignVoice(designing(model=CLONER)))
        listed = await voices.ListVoices(ListVoicesRequest(provider="gpu", model=CLONER))
    assert not listed.voices
    assert field in {"", *(violation.field for violation in failed.violations)}
    assert failed.metadata["provider_request_id"] == "req-7"


async def test_a_design_of_one_second_is_a_voice():
    second = (LOUD * 2)[: 24_000 * 2]
    async with answered(delta(second), DONE) as stubs:
        voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
        answer = await voices.DesignVoice(designing(model=CLONER))
    assert decoded(answer.preview)[0] == second
