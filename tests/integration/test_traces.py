"""The span tree of each call that goes well, from its server span to the last request to another host."""

from __future__ import annotations

import asyncio

import pytest

from calling import config_message, photo, settings_for_tests, spoken, text_message
from pixvox.testing.dashscope import Behaviour, DashScopeEmulator
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2
from pixvox.v1.voice_service_pb2_grpc import VoiceServiceStub
from raw_vendor import reply, vendor
from recording import cloning, designing, recording
from traces import (
    ANY,
    AT_ONCE,
    CLONES,
    CUSTOMIZATION,
    DESIGNS,
    MULTIMODAL,
    PARENT,
    PICTURES,
    REALTIME,
    SSE,
    STREAMED,
    TASKS,
    Vendor,
    billed,
    operation,
    picture,
    rpc,
    settings_of,
    span,
    traced,
)

SANDBOX = {"gen_ai.provider.name": "sandbox", "pixvox.region": None}


@pytest.fixture
async def emulator():
    async with DashScopeEmulator(behaviour=Behaviour(task_pending=1, task_running=0)) as running:
        yield running


@pytest.fixture
def qwen(emulator):
    return Vendor(emulator)


async def test_a_picture_made_at_once_is_a_request_and_a_download(emulator, qwen):
    async with traced(settings_of(emulator)) as place:
        answer = await place.stubs.images.GenerateImage(picture(PICTURES, seed=7, request_id="mine"))
    place.check(
        rpc(
            "ImageService/GenerateImage",
            operation(
                PICTURES,
                "image",
                billed(PICTURES, "0.035", images=1)
                | AT_ONCE
                | {
                    "gen_ai.request.seed": 7,
                    "gen_ai.response.id": answer.receipt.provider_request_id,
                    "pixvox.request_id": "mine",
                    "pixvox.output.bytes": len(answer.images[0].data),
                },
                qwen.post(MULTIMODAL, "image generation"),
                qwen.download(of="image generation"),
            ),
            **{"pixvox.request_id": "mine"},
        )
    )
    (made,) = place.named("POST image generation")
    assert made.attributes["pixvox.provider_request_id"] == answer.receipt.provider_request_id
    assert made.attributes["http.request.body.size"] == emulator.requests[0].body_bytes


async def test_a_picture_made_by_a_task_has_each_poll_and_download_linked_to_the_submit(emulator, qwen):
    request = picture(TASKS, n=2, size=media_pb2.Size(width=1024, height=768))
    async with traced(settings_of(emulator)) as place:
        answer = await place.stubs.images.GenerateImage(request)
    place.check(
        rpc(
            "ImageService/GenerateImage",
            operation(
                TASKS,
                "image",
                billed(TASKS, "0.05", images=2)
                | {
                    "pixvox.lane": "task",
                    "gen_ai.request.choice.count": 2,
                    "gen_ai.request.image.width": 1024,
                    "gen_ai.request.image.height": 768,
                },
                qwen.request(
                    "POST",
                    "/services/aigc/text2image/image-synthesis",
                    "image generation",
                    {"http.request.body.size": ANY, "pixvox.provider_task_id": emulator.tasks[0].task_id},
                ),
                qwen.poll(),
                qwen.poll(),
                qwen.download(of="image generation"),
                qwen.download(of="image generation"),
            ),
        )
    )
    sizes = [one.attributes["http.response.body.size"] for one in place.named("GET result download")]
    assert sorted(sizes) == sorted(len(image.data) for image in answer.images)


async def test_an_edit_has_its_input_by_address_under_the_call_and_not_under_the_operation(emulator, qwen):
    data = photo(512, 512)
    async with vendor(reply(data)) as files, traced(settings_of(emulator)) as place:
        images = [media_pb2.MediaInput(uri=f"{files.url}/private?token=secret")]
        await place.stubs.images.EditImage(
            image_service_pb2.EditImageRequest(
                prompt="blur", images=images, model="qwen-image-edit", delivery=media_pb2.DELIVERY_INLINE
            )
        )
    place.check(
        rpc(
            "ImageService/EditImage",
            span(
                "GET input",
                {
                    "http.request.method": "GET",
                    "pixvox.field": "images[0]",
                    "http.response.body.size": len(data),
                },
            ),
            operation(
                "qwen-image-edit",
                "image",
                billed("qwen-image-edit", "0.045", images=1) | AT_ONCE,
                qwen.post(MULTIMODAL, "image editing"),
                qwen.download(of="image editing"),
            ),
        )
    )


async def test_a_stream_of_speech_is_one_span_for_its_whole_session(emulator, qwen):
    async with traced(settings_of(emulator)) as place:
        answers = await spoken(place.stubs, [config_message(model=REALTIME), text_message("Hello there.")])
    summary = answers[-1].summary
    place.check(
        rpc(
            "SpeechService/StreamSpeech",
            operation(
                REALTIME,
                "speech",
                billed(REALTIME, "0.000156", characters=12, audio_seconds=0.72)
                | STREAMED
                | {
                    "pixvox.lane": "realtime",
                    "gen_ai.response.id": summary.receipt.provider_request_id,
                    "pixvox.output.bytes": summary.size_bytes,
                },
                qwen.session({"pixvox.provider_request_id": summary.receipt.provider_request_id}),
            ),
        )
    )
    (session,) = place.named("GET speech session")
    assert session.attributes["pixvox.socket.messages.sent"] == len(emulator.requests[0].events)
    (spoke,) = place.named(f"generate_content {REALTIME}")
    assert spoke.start_time < session.start_time < session.end_time <= spoke.end_time


async def test_speech_over_server_sent_events_is_one_request_that_lasts_to_the_last_event(emulator, qwen):
    emulator.behaviour = Behaviour(chunk_interval=0.02)
    async with traced(settings_of(emulator)) as place:
        await spoken(place.stubs, [config_message(model=SSE), text_message("Hello there.")])
    place.check(
        rpc(
            "SpeechService/StreamSpeech",
            operation(
                SSE,
                "speech",
                billed(SSE, "0.00012", characters=12, audio_seconds=0.72) | STREAMED | {"pixvox.lane": "sse"},
                qwen.request(
                    "POST",
                    MULTIMODAL,
                    "speech",
                    {"http.request.body.size": ANY, "pixvox.events.received": 9},
                    replay="committed",
                ),
            ),
        )
    )
    (asked,) = place.named("POST speech")
    assert asked.end_time - asked.start_time > 7 * 0.02 * 1e9


async def test_speech_as_a_file_is_a_request_and_a_download_that_is_linked_to_it(emulator, qwen):
    request = speech_service_pb2.SynthesizeSpeechRequest(text="Hello there.")
    request.config.model = SSE
    async with traced(settings_of(emulator, provider={"speech_lane": "download"})) as place:
        await place.stubs.speech.SynthesizeSpeech(request)
    place.check(
        rpc(
            "SpeechService/SynthesizeSpeech",
            operation(
                SSE,
                "speech",
                billed(SSE, "0.00012", characters=12, audio_seconds=0.72) | STREAMED | {"pixvox.lane": "download"},
                qwen.post(MULTIMODAL, "speech"),
                qwen.download("speech download", of="speech"),
            ),
        )
    )


async def test_a_call_with_a_session_that_was_open_before_links_to_it(emulator, qwen):
    messages = [config_message(model=REALTIME), text_message("Hello there.")]
    async with traced(settings_of(emulator, provider={"prewarm": 1})) as place:
        for number in (2, 3):
            await spoken(place.stubs, messages)
            await emulator.until(lambda number=number: emulator.count("realtime") == number)
            # The session is then there, and is said to be so at once.
            await asyncio.sleep(0.1)
    spoke = billed(REALTIME, "0.000156", characters=12, audio_seconds=0.72) | STREAMED | {"pixvox.lane": "realtime"}
    place.check(
        rpc("SpeechService/StreamSpeech", operation(REALTIME, "speech", spoke, qwen.session())),
        qwen.session(),
        rpc("SpeechService/StreamSpeech", operation(REALTIME, "speech", spoke, links=("session GET speech session",))),
        qwen.session({"pixvox.socket.messages.sent": 0, "pixvox.socket.bytes.sent": 0}),
    )
    (joined,) = [one for one in place.named(f"generate_content {REALTIME}") if one.links]
    assert joined.links[0].context.trace_id != joined.context.trace_id


async def test_a_cloned_voice_is_one_request(emulator, qwen):
    async with vendor(reply(recording())) as files, traced(settings_of(emulator)) as place:
        audio = media_pb2.MediaInput(uri=f"{files.url}/voice.wav")
        await VoiceServiceStub(place.stubs.channel).CloneVoice(cloning(audio=audio))
    made = billed(CLONES, "0.01", voices=1)
    del made["pixvox.output.bytes"]
    place.check(
        rpc(
            "VoiceService/CloneVoice",
            span(
                "GET input",
                {"http.request.method": "GET", "pixvox.field": "audio", "http.response.body.size": len(recording())},
            ),
            operation(CLONES, "speech", made, qwen.post(CUSTOMIZATION, "voice cloning")),
        )
    )


async def test_a_designed_voice_is_one_request_and_its_deletion_another(emulator, qwen):
    async with traced(settings_of(emulator)) as place:
        voices = VoiceServiceStub(place.stubs.channel)
        made = await voices.DesignVoice(designing())
        await voices.DeleteVoice(voice_service_pb2.DeleteVoiceRequest(id=made.voice.id))
        await voices.UndeleteVoice(voice_service_pb2.UndeleteVoiceRequest(id=made.voice.id))
        await voices.DeleteVoice(voice_service_pb2.DeleteVoiceRequest(id=made.voice.id, purge=True))
    place.check(
        rpc(
            "VoiceService/DesignVoice",
            operation(
                DESIGNS,
                "speech",
                billed(DESIGNS, "0.2", voices=1),
                qwen.post(CUSTOMIZATION, "voice design"),
            ),
        ),
        rpc("VoiceService/DeleteVoice"),
        rpc("VoiceService/UndeleteVoice"),
        rpc("VoiceService/DeleteVoice", qwen.post(CUSTOMIZATION, "voice deletion")),
    )


async def test_calls_that_ask_nobody_are_a_server_span_alone():
    async with traced(settings_for_tests()) as place:
        models, voices = place.stubs.models, VoiceServiceStub(place.stubs.channel)
        await models.ListModels(model_service_pb2.ListModelsRequest())
        await models.GetModel(model_service_pb2.GetModelRequest(model="sandbox-image"))
        await models.ListProviders(model_service_pb2.ListProvidersRequest())
        await models.ExplainRoute(model_service_pb2.ExplainRouteRequest(generate_image=picture()))
        listed = await voices.ListVoices(voice_service_pb2.ListVoicesRequest())
        await voices.GetVoice(voice_service_pb2.GetVoiceRequest(id=listed.voices[0].id))
    place.check(
        rpc("ModelService/ListModels"),
        rpc("ModelService/GetModel"),
        rpc("ModelService/ListProviders"),
        rpc("ModelService/ExplainRoute"),
        rpc("VoiceService/ListVoices"),
        rpc("VoiceService/GetVoice"),
    )


async def test_a_provider_in_the_process_has_an_operation_and_no_request(qwen):
    async with traced(settings_for_tests()) as place:
        answer = await place.stubs.images.GenerateImage(picture("sandbox-image", n=2))
    model = answer.receipt.model
    attributes = billed(model, "0", images=2) | SANDBOX | {"gen_ai.request.choice.count": 2}
    place.check(rpc("ImageService/GenerateImage", operation(model, "image", attributes)))


async def test_the_trace_of_a_caller_is_continued(emulator):
    async with traced(settings_of(emulator)) as place:
        await place.stubs.images.GenerateImage(picture(), metadata=[("traceparent", PARENT), ("tracestate", "a=b")])
    assert {one.context.trace_id for one in place.spans} == {0x0AF7651916CD43DD8448EB211C80319C}
    (call,) = place.named("pixvox.v1.ImageService/GenerateImage")
    assert (call.parent.span_id, call.parent.is_remote) == (0xB7AD6B7169203331, True)
    assert {one.context.trace_state.get("a") for one in place.spans} == {"b"}


async def test_calls_without_a_trace_of_their_own_have_one_each(emulator):
    async with traced(settings_of(emulator)) as place:
        for _ in range(2):
            await place.stubs.images.GenerateImage(picture())
    assert len({one.context.trace_id for one in place.spans}) == 2


async def test_the_vendor_is_told_the_span_of_the_attempt_where_that_is_configured(emulator):
    async with traced(settings_of(emulator, provider={"propagate_trace": True})) as place:
        await place.stubs.images.GenerateImage(picture(), metadata=[("traceparent", PARENT), ("tracestate", "a=b")])
        await spoken(place.stubs, [config_message(model=REALTIME), text_message("Hello there.")])
    asked = {one.operation: one.headers for one in emulator.requests}
    for operation_, name in (("generate", "POST image generation"), ("realtime", "GET speech session")):
        (attempt,) = place.named(name)
        context = attempt.context
        assert (
            asked[operation_]["traceparent"]
            == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        )
    assert asked["generate"]["tracestate"] == "a=b"
    # Results lie on a storage, which is nobody's worker.
    assert "traceparent" not in asked["download"]


async def test_third_parties_are_told_no_trace(emulator):
    async with traced(settings_of(emulator)) as place:
        await place.stubs.images.GenerateImage(picture(), metadata=[("traceparent", PARENT), ("tracestate", "a=b")])
        await spoken(place.stubs, [config_message(model=REALTIME), text_message("Hello there.")])
        await spoken(place.stubs, [config_message(model=SSE), text_message("Hello there.")])
    assert len(emulator.requests) == 4
    assert not [one.headers for one in emulator.requests if {"traceparent", "tracestate"} & one.headers.keys()]
