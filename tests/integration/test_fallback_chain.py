"""DashScope, then a worker of our own, then Modal: by settings alone, for pictures, edits and speech."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import tomli_w

import serving
from calling import config_message, kinds, photo, stubs_of, text_message
from emulated import provider_table
from pixvox import client, server
from pixvox.configuration import Source
from pixvox.errors import reason_name
from pixvox.testing.dashscope import Cut as VendorCut
from pixvox.testing.dashscope import DashScopeEmulator
from pixvox.testing.dashscope import Fault as VendorFault
from pixvox.testing.dashscope import Refused as VendorRefused
from pixvox.testing.modal import Fault as ModalFault
from pixvox.testing.modal import ModalEmulator, SpeechBreak, changed, drawn, edge_answer, said
from pixvox.testing.worker import LOADING, Cut, Failing, Refused, Slow, WorkerEmulator
from pixvox.v1 import image_service_pb2, media_pb2
from traces import traced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pixvox.settings import Settings

SPEAKER = "Qwen3-TTS-12Hz-1.7B-CustomVoice"
TARGETS = {
    "generate_image": ["qwen/qwen-image-2.0", "worker/Qwen-Image", "modal/Qwen-Image"],
    "edit_image": ["qwen/qwen-image-2.0", "worker/Qwen-Image-Edit", "modal/Qwen-Image-Edit"],
    "stream_speech": ["qwen/qwen3-tts-flash-realtime", f"worker/{SPEAKER}", f"modal/{SPEAKER}"],
}
SERVED = {name: {} for name in ("Qwen-Image", "Qwen-Image-Edit", SPEAKER)}
ON_MODAL = {"Qwen-Image": {"verb": "generate"}, "Qwen-Image-Edit": {"verb": "edit"}, SPEAKER: {"verb": "speak"}}
# The vendor's operation of each verb, and the containers'.
AT_VENDOR = {"generate_image": "generate", "edit_image": "edit", "stream_speech": "realtime"}
AT_WORKER = {"generate_image": "generate", "edit_image": "edit", "stream_speech": "speech"}
TEXT = "Hello there."
PHOTO = photo(512, 512)
BY_MODAL = {
    "generate_image": drawn(TEXT, (512, 512), 7),
    "edit_image": changed(PHOTO, TEXT, None, 7),
    "stream_speech": said(TEXT),
}


@dataclass
class Place:
    """Three providers, one behind the other, and a service that knows them from a file."""

    vendor: DashScopeEmulator
    worker: WorkerEmulator
    modal: ModalEmulator
    settings: Settings

    def asked(self) -> list[int]:
        """How many requests for work each of them got."""
        modal = [one for one in self.modal.requests if one.method == "POST"]
        return [len(self.vendor.requests), self.worker.count(), len(modal)]


@contextlib.asynccontextmanager
async def placed(tmp_path, *, down: str = "", modal: dict[str, Any] | None = None) -> AsyncIterator[Place]:
    """The three, of which those named in `down` accept no connections."""
    async with (
        DashScopeEmulator() as vendor,
        WorkerEmulator() as worker,
        ModalEmulator(speech="CustomVoice", models=tuple(ON_MODAL), **(modal or {})) as edge,
    ):
        closed = "http://127.0.0.1:9"
        providers = {
            "qwen": provider_table(vendor) | ({"http_base": closed} if "qwen" in down else {}),
            "worker": {"kind": "worker", "url": closed if "worker" in down else worker.url, "models": SERVED},
            "modal": {"kind": "modal", "url": edge.url, "models": ON_MODAL, "poll_seconds": 0.02},
        }
        routes = {
            "pictures": {"verbs": ["generate_image"], "targets": [{"to": one} for one in TARGETS["generate_image"]]},
            "edits": {"verbs": ["edit_image"], "targets": [{"to": one} for one in TARGETS["edit_image"]]},
            "voice": {"verbs": ["stream_speech"], "targets": [{"to": one} for one in TARGETS["stream_speech"]]},
        }
        defaults = {"generate_image": "pictures", "edit_image": "edits", "stream_speech": "voice"}
        file = tmp_path / "pixvox.toml"
        file.write_text(
            tomli_w.dumps(
                {"providers": providers, "routes": routes, "defaults": defaults, "target_defaults": serving.UNLIMITED}
            )
        )
        given = serving.settings_with({}, {})
        overrides = {
            "server.listen": given.server.listen,
            "server.http": given.server.http,
            "database.url": given.database.url,
        }
        yield Place(vendor, worker, edge, Source.find(file, overrides, {}).read().settings)


async def called(stubs, verb: str, **options: object) -> tuple[bytes, media_pb2.Receipt]:
    """What a call gives, and its receipt."""
    if verb == "stream_speech":
        answers = [
            answer
            async for answer in stubs.speech.StreamSpeech(iter([config_message(), text_message(TEXT)]), **options)
        ]
        assert kinds(answers)[-1] == "summary"
        audio = b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))
        return audio, answers[-1].summary.receipt
    fields: dict[str, Any] = {"prompt": TEXT, "seed": 7, "delivery": media_pb2.DELIVERY_INLINE}
    if verb == "generate_image":
        size = media_pb2.Size(width=512, height=512)
        answer = await stubs.images.GenerateImage(
            image_service_pb2.GenerateImageRequest(size=size, **fields), **options
        )
    else:
        images = [media_pb2.MediaInput(data=PHOTO)]
        answer = await stubs.images.EditImage(image_service_pb2.EditImageRequest(images=images, **fields), **options)
    return answer.images[0].data, answer.receipt


async def failure_in(stubs, verb: str, **options: object) -> client.Failure:
    try:
        await called(stubs, verb, **options)
    except grpc.RpcError as error:
        return client.failure(error)
    raise AssertionError("the call did not fail")


def tried_in(spans) -> list[tuple[str, int, str]]:
    """Provider, number and error of each operation span, in the order in which they began."""
    found = sorted((one for one in spans if one.name.startswith("generate_content")), key=lambda one: one.start_time)
    return [
        (
            one.attributes["gen_ai.provider.name"],
            one.attributes["pixvox.attempt.number"],
            one.attributes.get("error.type", ""),
        )
        for one in found
    ]


@contextlib.asynccontextmanager
async def served(settings):
    async with server.running(settings) as running, stubs_of(running.target) as stubs:
        yield stubs


@pytest.mark.parametrize("verb", TARGETS)
async def test_a_vendor_that_is_well_serves_and_nobody_else_is_asked(tmp_path, verb):
    async with placed(tmp_path) as place, served(place.settings) as stubs:
        _, receipt = await called(stubs, verb)
        assert place.asked()[1:] == [0, 0]
    assert (receipt.provider, len(receipt.attempts)) == ("qwen", 1)


@pytest.mark.parametrize("verb", TARGETS)
@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (None, "PROVIDER_UNAVAILABLE"),
        (VendorRefused(429, "Throttling.RateQuota"), "RATE_LIMITED"),
        (VendorRefused(503, "ServiceUnavailable"), "PROVIDER_UNAVAILABLE"),
        (VendorRefused(401, "InvalidApiKey"), "PROVIDER_CREDENTIALS"),
    ],
    ids=["down", "429", "503", "401"],
)
@pytest.mark.parametrize(
    "worker", [None, LOADING, Refused(429, "overloaded_error", retry_after=1)], ids=["down", "loading", "full"]
)
async def test_what_two_cannot_do_modal_does_and_the_receipt_and_the_trace_name_all_three(
    tmp_path, verb, refusal, reason, worker
):
    down = ("qwen " if refusal is None else "") + ("worker" if worker is None else "")
    async with placed(tmp_path, down=down) as place:
        if refusal is not None:
            place.vendor.faults.add(VendorFault(AT_VENDOR[verb], refusal, times=None))
        if worker is not None:
            place.worker.faults.add(AT_WORKER[verb], worker, times=None)
        async with traced(place.settings) as running:
            made, receipt = await called(running.stubs, verb)
        assert made == BY_MODAL[verb]
        assert place.asked()[2] == 1
    attempts = [(one.provider, reason_name(one.reason)) for one in receipt.attempts]
    second = "RATE_LIMITED" if isinstance(worker, Refused) and worker.status == 429 else "PROVIDER_UNAVAILABLE"
    assert attempts == [("qwen", reason), ("worker", second), ("modal", "UNSPECIFIED")]
    assert (receipt.provider, receipt.model) == ("modal", TARGETS[verb][2].partition("/")[2])
    assert tried_in(running.exporter.get_finished_spans()) == [
        ("qwen", 1, reason),
        ("worker", 2, second),
        ("modal", 3, ""),
    ]
    assert len({one.context.trace_id for one in running.exporter.get_finished_spans()}) == 1


@pytest.mark.parametrize("verb", TARGETS)
async def test_what_the_vendor_may_have_done_is_done_by_nobody_else(tmp_path, verb):
    async with placed(tmp_path) as place, served(place.settings) as stubs:
        after = 1 if verb == "stream_speech" else None
        place.vendor.faults.add(VendorFault(AT_VENDOR[verb], VendorCut(after)))
        failure = await failure_in(stubs, verb)
        assert failure.reason in {"OUTCOME_UNKNOWN", "PROVIDER_DISCONNECTED"}
        assert failure.metadata["replay"] in {"ambiguous", "committed"}
        assert place.asked() == [1, 0, 0]


@pytest.mark.parametrize("verb", TARGETS)
@pytest.mark.parametrize("effect", [Cut(), Cut(after=1), Failing(after=1)], ids=["cut", "cut later", "failing"])
async def test_what_the_worker_may_have_done_is_not_done_on_modal(tmp_path, verb, effect):
    async with placed(tmp_path, down="qwen") as place, served(place.settings) as stubs:
        place.worker.faults.add(AT_WORKER[verb], effect, times=None)
        failure = await failure_in(stubs, verb)
        assert failure.metadata["replay"] in {"ambiguous", "accepted", "committed"}
        assert failure.metadata["provider"] == "worker"
        assert place.asked()[1:] == [1, 0]


async def test_the_last_of_the_chain_says_of_work_that_broke_off_that_it_was_begun(tmp_path):
    async with placed(tmp_path, down="qwen worker") as place, served(place.settings) as stubs:
        place.modal.faults.add(ModalFault("speech", SpeechBreak(2)))
        failure = await failure_in(stubs, "stream_speech")
        assert (failure.reason, failure.metadata["replay"]) == ("PROVIDER_DISCONNECTED", "committed")
        assert failure.metadata["provider"] == "modal"
        assert place.asked()[2] == 1


@pytest.mark.parametrize("verb", TARGETS)
async def test_where_none_can_the_caller_is_told_of_all_three_and_nothing_was_done(tmp_path, verb):
    async with placed(tmp_path, down="qwen worker") as place, served(place.settings) as stubs:
        place.modal.stopped = True
        failure = await failure_in(stubs, verb)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        assert [one.partition("/")[0] for one in failure.metadata["attempts"].split("; ")] == [
            "qwen",
            "worker",
            "modal",
        ]
        assert place.modal.worker.begun == 0


@pytest.mark.parametrize("verb", TARGETS)
async def test_the_callers_deadline_holds_for_the_whole_chain(tmp_path, verb):
    async with placed(tmp_path, modal={"cold_seconds": 600.0, "redirect_seconds": 0.1}) as place:
        place.vendor.faults.add(VendorFault(AT_VENDOR[verb], VendorRefused(503, "ServiceUnavailable"), times=None))
        place.worker.faults.add(AT_WORKER[verb], LOADING, times=None)
        async with served(place.settings) as stubs:
            failure = await failure_in(stubs, verb, timeout=1.5)
            await place.modal.until(lambda: place.modal.holding == 0)
            asked = len(place.modal.requests)
            await asyncio.sleep(0.3)
            assert len(place.modal.requests) == asked
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert place.asked() == [1, 1, 1]
        # Each learns how long the caller still waits.
        assert 0 < float(place.modal.requests[0].headers["x-request-timeout"]) < 2.0


async def test_a_deadline_that_the_second_uses_up_leaves_none_for_the_third(tmp_path):
    async with placed(tmp_path, down="qwen") as place, served(place.settings) as stubs:
        place.worker.faults.add("generate", Slow(600.0))
        failure = await failure_in(stubs, "generate_image", timeout=0.5)
        await place.worker.until(lambda: place.worker.cancelled)
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert place.asked()[1:] == [1, 0]


async def test_a_spent_budget_of_modal_ends_the_chain_without_being_asked_again(tmp_path):
    async with placed(tmp_path, down="qwen worker") as place, served(place.settings) as stubs:
        place.modal.spent = True
        failure = await failure_in(stubs, "generate_image")
        assert failure.reason == "PROVIDER_BILLING"
        assert len(place.modal.requests) == 1


async def test_a_rate_limit_of_modal_is_waited_for_because_nobody_comes_after_it(tmp_path):
    async with placed(tmp_path, down="qwen worker") as place, served(place.settings) as stubs:
        place.modal.faults.add(ModalFault("generate", edge_answer(429, "rate limit exceeded")))
        made, receipt = await called(stubs, "generate_image")
        assert (made, receipt.provider) == (BY_MODAL["generate_image"], "modal")
        assert (len(place.modal.requests), place.modal.worker.begun) == (2, 1)
