"""The span tree of calls to an emulated Modal: every poll and every result behind a redirect links to the first request."""

from __future__ import annotations

from typing import Any

import pytest

import serving
from calling import config_message, spoken, text_message
from emulated import failure_of
from pixvox.settings.environment import with_environment
from pixvox.testing.modal import Fault, JobApp, ModalEmulator, edge_answer
from pixvox.v1 import image_service_pb2, media_pb2
from traces import ANY, STREAMED, Node, billed, error, operation, rpc, traced

SPEAKER = "Qwen3-TTS-CustomVoice"
JOBS = "qwen3-tts-voice-clone-06b"
MODELS = {"Qwen-Image": {"verb": "generate"}, SPEAKER: {"verb": "speak"}}
ON_MODAL = {"gen_ai.provider.name": "modal", "pixvox.region": None}
PICTURE = image_service_pb2.GenerateImageRequest(
    prompt="x", size=media_pb2.Size(width=64, height=64), seed=7, provider="modal"
)
DRAWN = {"gen_ai.request.seed": 7, "gen_ai.request.image.width": 64, "gen_ai.request.image.height": 64}
CALL_ID = {"pixvox.provider_task_id": ANY}


def settings_of(edge, **fields):
    table = {"kind": "modal", "url": edge.url, "models": MODELS, "poll_seconds": 0.02} | fields
    return serving.settings_with({"modal": table}, {}, target_defaults=serving.UNLIMITED)


def request(method: str, url: str, what: str, status: int, replay: str = "accepted", **more: Any) -> Node:
    port = int(url.partition("://")[2].partition(":")[2].partition("/")[0])
    attributes = {
        "http.request.method": method,
        "url.full": url,
        "server.address": "127.0.0.1",
        "server.port": port,
        "pixvox.upstream.operation": what,
        "http.response.status_code": status,
        "http.response.body.size": ANY,
        "pixvox.attempt.replay_class": replay,
    }
    attributes |= {"http.request.body.size": ANY} if method == "POST" else {}
    attributes |= {"error.type": str(status)} if status >= 400 else {}
    failed = {"status": "error"} if status >= 400 else {}
    return Node(f"{method} {what}", attributes | more.pop("also", {}), (), **failed, **more)


def result(url: str, what: str, status: int, replay: str = "accepted", **more: Any) -> Node:
    return request("GET", url, f"{what} result", status, replay, links=(f"submit POST {what}",), **more)


async def test_each_result_behind_a_redirect_links_to_the_request_for_the_work():
    async with ModalEmulator(work_seconds=0.4, redirect_seconds=0.1) as edge:
        async with traced(settings_of(edge)) as place:
            answer = await place.stubs.images.GenerateImage(PICTURE)
        url = f"{edge.url}/v1/images/generations"
        hops = len(edge.requests) - 1
    assert hops >= 2
    place.check(
        rpc(
            "ImageService/GenerateImage",
            operation(
                "Qwen-Image",
                "image",
                ON_MODAL
                | billed("Qwen-Image", None, images=1)
                | DRAWN
                | {"pixvox.lane": "function", "gen_ai.response.id": answer.receipt.provider_request_id},
                request("POST", url, "image generation", 303, also=CALL_ID),
                *[result(url, "image generation", 303, also=CALL_ID) for _ in range(hops - 1)],
                result(url, "image generation", 200),
            ),
        )
    )
    (first,) = place.named("POST image generation")
    assert first.attributes["pixvox.provider_task_id"] == answer.receipt.provider_request_id


async def test_a_stream_behind_a_redirect_is_one_span_to_its_last_event():
    async with ModalEmulator(speech="CustomVoice", work_seconds=0.15, redirect_seconds=0.1) as edge:
        async with traced(settings_of(edge)) as place:
            await spoken(place.stubs, [config_message(), text_message("Hello")])
        url = f"{edge.url}/v1/audio/speech"
    assert len(edge.requests) == 2
    place.check(
        rpc(
            "SpeechService/StreamSpeech",
            operation(
                SPEAKER,
                "speech",
                ON_MODAL
                | billed(SPEAKER, None, characters=5, audio_seconds=0.25)
                | STREAMED
                | {"pixvox.lane": "sse", "gen_ai.response.id": ANY},
                request("POST", url, "speech", 303, also=CALL_ID),
                result(url, "speech", 200, "committed", also={"pixvox.events.received": 11}),
            ),
        )
    )


async def test_each_poll_of_a_job_links_to_its_submission(tmp_path):
    path = tmp_path / "reference.wav"
    path.write_bytes(b"RIFF" + bytes(200))
    voices = {"host": {"audio": str(path), "transcript": "Good evening."}}
    async with JobApp(seconds=0.1) as app:
        settings = serving.settings_with({"modal": {"kind": "modal", "voices": voices, "job_poll_seconds": 0.05}}, {})
        async with traced(with_environment(settings, app.urls, appear=False)) as place:
            answers = await spoken(place.stubs, [config_message(), text_message("Hello")])
    job_id = answers[-1].summary.receipt.provider_request_id
    (submit,) = place.named("POST speech job")
    followed = [*place.named("GET speech job poll"), *place.named("GET speech job result")]
    assert len(followed) >= 2
    for one in followed:
        (link,) = one.links
        assert link.context.span_id == submit.context.span_id
        assert link.attributes["pixvox.link"] == "submit"
    assert submit.attributes["pixvox.provider_task_id"] == job_id
    (spoke,) = place.named(f"generate_content {JOBS}")
    assert (spoke.attributes["pixvox.lane"], spoke.attributes["gen_ai.response.id"]) == ("job", job_id)


@pytest.mark.parametrize("kind", ["function", "server"])
async def test_the_lane_is_the_kind_of_endpoint(kind):
    async with ModalEmulator(kind=kind) as edge, traced(settings_of(edge, kind_of_endpoint=kind)) as place:
        await place.stubs.images.GenerateImage(PICTURE)
    (drew,) = place.named("generate_content Qwen-Image")
    assert drew.attributes["pixvox.lane"] == kind


async def test_a_refusal_of_the_edge_is_named_on_its_span_and_on_the_operations():
    async with ModalEmulator() as edge:
        edge.faults.add(Fault("generate", edge_answer(429, "workspace billing cycle spend limit reached")))
        async with traced(settings_of(edge)) as place:
            await failure_of(place.stubs.images.GenerateImage(PICTURE))
        url = f"{edge.url}/v1/images/generations"
    code = {"pixvox.provider_code": "modal-http"}
    place.check(
        rpc(
            "ImageService/GenerateImage",
            operation(
                "Qwen-Image",
                "image",
                ON_MODAL | DRAWN | code | {"error.type": "PROVIDER_BILLING", "pixvox.lane": "function"},
                request("POST", url, "image generation", 429, also=code),
                **error("PROVIDER_BILLING"),
            ),
            code="FAILED_PRECONDITION",
        )
    )
