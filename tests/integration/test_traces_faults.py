"""The span tree of each kind of failure: whose it was, and how far each request came."""

from __future__ import annotations

import socket

import grpc
import pytest

import serving
from calling import config_message, fault, spoken, text_message
from emulated import failure_of, provider_table
from pixvox.testing.dashscope import (
    Behaviour,
    Closed,
    Cut,
    DashScopeEmulator,
    ErrorEvent,
    Expired,
    Fault,
    Refused,
    Stalled,
    TaskFailed,
)
from pixvox.v1 import image_service_pb2, media_pb2
from traces import (
    ANY,
    AT_ONCE,
    MULTIMODAL,
    PICTURES,
    REALTIME,
    SSE,
    TASKS,
    Vendor,
    billed,
    error,
    failed,
    operation,
    picture,
    rpc,
    settings_of,
    span,
    traced,
)

LIMITED = Refused(429, "Throttling.RateQuota")
GENERATE = "ImageService/GenerateImage"


@pytest.fixture
async def emulator():
    async with DashScopeEmulator(behaviour=Behaviour(task_pending=1, task_running=0)) as running:
        yield running


@pytest.fixture
def qwen(emulator):
    return Vendor(emulator)


async def test_a_request_that_is_wrong_is_the_callers_fault(emulator):
    async with traced(settings_of(emulator)) as place:
        await failure_of(place.stubs.images.GenerateImage(picture(n=999)))
    place.check(rpc(GENERATE, code="INVALID_ARGUMENT"))


async def test_an_input_that_cannot_be_had_is_an_error_of_its_download(emulator):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        image = media_pb2.MediaInput(uri=f"http://127.0.0.1:{closed.getsockname()[1]}/a?token=b")
        async with traced(settings_of(emulator)) as place:
            request = image_service_pb2.EditImageRequest(prompt="blur", images=[image], model="qwen-image-edit")
            await failure_of(place.stubs.images.EditImage(request))
    attributes = {"http.request.method": "GET", "pixvox.field": "images[0]", "error.type": "MEDIA_FETCH_FAILED"}
    place.check(rpc("ImageService/EditImage", span("GET input", attributes, status="error"), code="INVALID_ARGUMENT"))


async def test_a_refusal_that_passes_is_an_attempt_and_another_one(emulator, qwen):
    emulator.faults.add(Fault("generate", LIMITED))
    async with traced(settings_of(emulator)) as place:
        await place.stubs.images.GenerateImage(picture())
    body = {"http.request.body.size": ANY}
    limited = body | {"pixvox.provider_code": "Throttling.RateQuota"}
    again = body | {"http.request.resend_count": 1}
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                billed(PICTURES, "0.035", images=1) | AT_ONCE,
                qwen.request("POST", MULTIMODAL, "image generation", limited, status=429),
                qwen.request("POST", MULTIMODAL, "image generation", again),
                qwen.download(of="image generation"),
            ),
        )
    )


async def test_a_refusal_that_lasts_fails_the_operation_and_is_not_the_services_fault(emulator, qwen):
    emulator.faults.add(Fault("generate", Refused(400, "InvalidParameter", "n is wrong")))
    async with traced(settings_of(emulator)) as place:
        failure = await failure_of(place.stubs.images.GenerateImage(picture()))
    attributes = failed("INVALID_PARAMETER", code="InvalidParameter", id=failure.metadata["provider_request_id"])
    refused = {"http.request.body.size": ANY, "pixvox.provider_code": "InvalidParameter"}
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                attributes | AT_ONCE,
                qwen.request("POST", MULTIMODAL, "image generation", refused, status=400),
                **error("INVALID_PARAMETER"),
            ),
            code="INVALID_ARGUMENT",
        )
    )


async def test_a_vendor_that_is_not_there_was_asked_nothing(emulator):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}/api/v1"
        providers = {"qwen": provider_table(emulator, http_base=base)}
        async with traced(serving.settings_with(providers, {})) as place:
            await failure_of(place.stubs.images.GenerateImage(picture()))
    found = place.named("POST image generation")
    assert [one.attributes.get("http.request.resend_count") for one in found] == [None, 1, 2]
    assert {one.attributes["pixvox.attempt.replay_class"] for one in found} == {"not_dispatched"}
    assert {one.attributes["error.type"] for one in found} == {"connect"}
    (asked,) = place.named(f"generate_content {PICTURES}")
    assert asked.attributes["pixvox.attempt.replay_class"] == "not_dispatched"
    (call,) = place.named(f"pixvox.v1.{GENERATE}")
    assert (call.attributes["rpc.status_code"], call.attributes["error.type"], call.status.description) == (
        "UNAVAILABLE",
        "PROVIDER_UNAVAILABLE",
        "PROVIDER_UNAVAILABLE",
    )


async def test_an_answer_that_never_comes_leaves_the_outcome_unknown(emulator, qwen):
    emulator.faults.add(Fault("generate", Cut()))
    async with traced(settings_of(emulator)) as place:
        await failure_of(place.stubs.images.GenerateImage(picture()))
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                failed("OUTCOME_UNKNOWN", replay="ambiguous") | AT_ONCE,
                qwen.post(MULTIMODAL, "image generation", status=0, error="reset", replay="ambiguous"),
                **error("OUTCOME_UNKNOWN"),
            ),
            code="UNKNOWN",
            error="OUTCOME_UNKNOWN",
        )
    )


async def test_a_result_that_is_gone_fails_work_that_was_accepted(emulator, qwen):
    emulator.faults.add(Fault("download", Expired()))
    async with traced(settings_of(emulator)) as place:
        await failure_of(place.stubs.images.GenerateImage(picture()))
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                failed("PROVIDER_INTERNAL", replay="accepted", id=ANY) | AT_ONCE,
                qwen.post(MULTIMODAL, "image generation"),
                qwen.download(of="image generation", status=403),
                **error("PROVIDER_INTERNAL"),
            ),
            code="INTERNAL",
            error="PROVIDER_INTERNAL",
        )
    )


async def test_a_task_that_failed_names_itself_on_its_operation(emulator, qwen):
    emulator.faults.add(Fault("task_get", TaskFailed("InternalError.Algo"), after=1))
    async with traced(settings_of(emulator)) as place:
        await failure_of(place.stubs.images.GenerateImage(picture(TASKS)))
    (task,) = emulator.tasks
    (asked,) = place.named(f"generate_content {TASKS}")
    told = failed("PROVIDER_INTERNAL", replay="accepted", task=task.task_id, code="InternalError.Algo")
    assert told.items() <= dict(asked.attributes).items()
    polls = place.named("GET task poll")
    assert [one.attributes["pixvox.provider_task_id"] for one in polls] == [task.task_id] * 2
    (submit,) = place.named("POST image generation")
    assert {one.links[0].context.span_id for one in polls} == {submit.context.span_id}


@pytest.mark.parametrize(
    ("effect", "at_request", "reason"),
    [
        (Cut(after=3), {"error": "reset"}, "PROVIDER_DISCONNECTED"),
        (ErrorEvent("InternalError", after=3), {"code": "InternalError"}, "PROVIDER_INTERNAL"),
    ],
    ids=["cut", "error"],
)
async def test_a_stream_that_dies_in_the_middle_has_what_came_before(emulator, qwen, effect, at_request, reason):
    emulator.faults.add(Fault("speech_sse", effect))
    async with traced(settings_of(emulator)) as place:
        with pytest.raises(grpc.RpcError) as caught:
            await spoken(place.stubs, [config_message(model=SSE), text_message("Hello there.")])
    code = {"pixvox.provider_code": at_request["code"]} if "code" in at_request else {}
    attributes = (failed(reason, id=ANY) if code else failed(reason, replay="committed", id=ANY)) | code
    found = {"http.request.body.size": ANY, "pixvox.events.received": ANY} | code
    place.check(
        rpc(
            "SpeechService/StreamSpeech",
            operation(
                SSE,
                "speech",
                attributes
                | {
                    "pixvox.lane": "sse",
                    "gen_ai.request.stream": True,
                    "gen_ai.response.time_to_first_chunk": ANY,
                    "pixvox.output.bytes": ANY,
                },
                qwen.request(
                    "POST", MULTIMODAL, "speech", found, replay="committed", error=at_request.get("error", "")
                ),
                **error(reason),
            ),
            code=caught.value.code().name,
            error=reason,
        )
    )


async def test_a_session_that_dies_in_the_middle_tells_its_close_code(emulator, qwen):
    emulator.faults.add(Fault("realtime", Closed(1011, after=3)))
    async with traced(settings_of(emulator)) as place:
        with pytest.raises(grpc.RpcError) as caught:
            await spoken(place.stubs, [config_message(model=REALTIME), text_message("Hello there.")])
    attributes = failed("PROVIDER_DISCONNECTED", replay="committed", id=ANY, code="1011")
    place.check(
        rpc(
            "SpeechService/StreamSpeech",
            operation(
                REALTIME,
                "speech",
                attributes
                | {
                    "pixvox.lane": "realtime",
                    "gen_ai.request.stream": True,
                    "gen_ai.response.time_to_first_chunk": ANY,
                    "pixvox.output.bytes": 3 * 4800,
                },
                qwen.session({"pixvox.socket.close_code": 1011}, error="close_1011"),
                **error("PROVIDER_DISCONNECTED"),
            ),
            code=caught.value.code().name,
            error="PROVIDER_DISCONNECTED",
        )
    )


async def test_a_call_whose_time_is_up_blames_everything_that_was_under_way(emulator, qwen):
    emulator.faults.add(Fault("generate", Stalled(30)))
    async with traced(settings_of(emulator)) as place:
        await failure_of(place.stubs.images.GenerateImage(picture(), timeout=0.5))
        await emulator.until(lambda: emulator.requests[-1].cancelled)
    late = "DEADLINE_EXCEEDED"
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                failed(late) | AT_ONCE,
                qwen.post(MULTIMODAL, "image generation", status=0, error=late, replay="ambiguous"),
                **error(late),
            ),
            code=late,
            error=late,
        )
    )


async def test_a_caller_who_leaves_is_nobodys_error(emulator, qwen):
    emulator.faults.add(Fault("generate", Stalled(30)))
    async with traced(settings_of(emulator)) as place:
        call = place.stubs.images.GenerateImage(picture())
        await emulator.until(lambda: emulator.count("generate"))
        call.cancel()
        await emulator.until(lambda: emulator.requests[-1].cancelled)
    place.check(
        rpc(
            GENERATE,
            operation(
                PICTURES,
                "image",
                failed("cancelled") | AT_ONCE,
                qwen.post(MULTIMODAL, "image generation", status=0, error="cancelled", replay="ambiguous"),
            ),
            code="CANCELLED",
        )
    )


@pytest.mark.parametrize(("model", "name"), [(REALTIME, "GET speech session"), (SSE, "POST speech")])
async def test_a_caller_who_leaves_a_stream_ends_its_spans_where_they_belong(emulator, caplog, model, name):
    emulator.behaviour = Behaviour(chunk_interval=0.05)
    async with traced(settings_of(emulator)) as place:
        call = place.stubs.speech.StreamSpeech(iter([config_message(model=model), text_message("Hello there.")]))
        while not (await call.read()).HasField("audio"):
            pass
        call.cancel()
        await emulator.until(lambda: emulator.requests[-1].cancelled)
    (request,), (asked,) = place.named(name), place.named(f"generate_content {model}")
    (rpc_,) = place.named("pixvox.v1.SpeechService/StreamSpeech")
    assert (request.parent.span_id, asked.parent.span_id) == (asked.context.span_id, rpc_.context.span_id)
    assert request.end_time <= asked.end_time <= rpc_.end_time
    assert asked.attributes["error.type"] == "cancelled"
    assert asked.attributes["pixvox.output.bytes"] % 4800 == 0
    assert {one.status.is_ok for one in place.spans} == {True}
    # It says that a context was detached in another than it was attached in.
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


async def test_a_task_whose_caller_leaves_is_called_off_by_a_request_that_is_linked_to_its_submit(emulator, qwen):
    emulator.behaviour = Behaviour(task_pending=1000)
    async with traced(settings_of(emulator)) as place:
        call = place.stubs.images.GenerateImage(picture(TASKS))
        await emulator.until(lambda: emulator.count("task_get") >= 2)
        call.cancel()
        await emulator.until(lambda: emulator.count("task_cancel"))
    (asked,) = place.named(f"generate_content {TASKS}")
    assert (asked.attributes["error.type"], asked.status.is_ok) == ("cancelled", True)
    (submit,) = place.named("POST image generation")
    (off,) = place.named("POST task cancellation")
    assert off.parent.span_id == asked.context.span_id
    assert [(link.context.span_id, dict(link.attributes)) for link in off.links] == [
        (submit.context.span_id, {"pixvox.link": "submit"})
    ]
    assert off.attributes["http.response.status_code"] == 200


async def test_a_bug_of_a_provider_is_an_error_of_its_type_and_nothing_of_its_message(emulator):
    async with traced(serving.settings_with({"sandbox": {"kind": "sandbox"}}, {})) as place:
        request = image_service_pb2.GenerateImageRequest(prompt="x", provider_options=fault(kind="crash"))
        await failure_of(place.stubs.images.GenerateImage(request))
    place.check(
        rpc(
            GENERATE,
            operation(
                "sandbox-image",
                "image",
                {"gen_ai.provider.name": "sandbox", "pixvox.region": None, "error.type": "RuntimeError"},
                **error("RuntimeError"),
            ),
            code="INTERNAL",
            error="INTERNAL",
        )
    )
