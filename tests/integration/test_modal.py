"""Our worker on an emulated Modal, through the service: cold starts, redirects, and what must not be asked twice."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import msgspec
import pytest

import serving
from calling import photo
from emulated import failure_of
from pixvox.testing.conformance import conformance_tests
from pixvox.testing.dashscope import DashScopeEmulator, Refused
from pixvox.testing.dashscope import Fault as DashScopeFault
from pixvox.testing.modal import (
    AppAnswer,
    Cut,
    Fault,
    ModalEmulator,
    NoPicture,
    Verbatim,
    changed,
    drawn,
    edge_answer,
)
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest

TestModal = conformance_tests("modal")

SMALL = media_pb2.Size(width=64, height=64)
TOKEN = {"key": "wk-test", "secret": "ws-test"}


def table(edge, **fields):
    return {"kind": "modal", "url": edge.url, "poll_seconds": 0.02} | fields


@contextlib.asynccontextmanager
async def deployed(fields=None, span_file="", **edge_settings):
    async with ModalEmulator(**edge_settings) as edge:
        providers = {"modal": table(edge, **(fields or {}))}
        settings = serving.settings_with(providers, {}, telemetry={"span_file": str(span_file)})
        async with serving.serving(settings) as stubs:
            yield edge, stubs


def wish(**fields):
    return GenerateImageRequest(**({"prompt": "a red bicycle", "size": SMALL, "seed": 7} | fields))


def posts(edge):
    return [one for one in edge.requests if one.method == "POST"]


async def test_pictures_are_made_by_the_worker_with_the_seeds_it_used():
    async with deployed() as (edge, stubs):
        answer = await stubs.images.GenerateImage(wish(n=2, negative_prompt="rain", request_id="mine"))
    assert [one.data for one in answer.images] == [drawn("a red bicycle", (64, 64), seed) for seed in (7, 8)]
    assert [one.seed for one in answer.images] == [7, 8]
    assert answer.receipt.model == "Qwen-Image"
    assert answer.receipt.usage.images == 2
    [asked] = edge.requests
    assert asked.fields["negative_prompt"] == "rain"
    assert asked.fields["n"] == 2


async def test_a_picture_is_edited_and_keeps_its_size():
    async with deployed() as (edge, stubs):
        image = photo()
        request = EditImageRequest(prompt="Nächte\r\nlang", images=[media_pb2.MediaInput(data=image)], seed=3)
        request.provider_options.update({"modal": {"steps": 8}})
        answer = await stubs.images.EditImage(request)
    assert [one.data for one in answer.images] == [changed(image, "Nächte\r\nlang", None, 3)]
    assert edge.requests[0].fields["steps"] == 8
    assert edge.requests[0].fields["model"] == "Qwen-Image-Edit"


async def test_the_token_is_sent_and_the_trace_goes_on_to_the_worker(tmp_path):
    async with deployed(TOKEN | {"worker_key": "own"}, tmp_path / "spans", **TOKEN) as (edge, stubs):
        await stubs.images.GenerateImage(wish())
    headers = edge.requests[0].headers
    assert headers["modal-key"] == headers["modal-secret"] == headers["authorization"] == "***"
    assert headers["traceparent"].startswith("00-")


async def test_a_wrong_token_is_the_operators_fault_and_is_not_tried_again():
    async with deployed({"key": "wk-other", "secret": "ws-other"}, **TOKEN) as (edge, stubs):
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_CREDENTIALS")
    assert len(edge.requests) == 1


async def test_without_an_address_the_provider_is_there_and_not_ready():
    async with serving.serving(serving.settings_with({"modal": {"kind": "modal"}}, {})) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(wish()))
        [provider] = (await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())).providers
    assert failed.reason == "PROVIDER_NOT_CONFIGURED"
    assert not provider.ready


async def test_long_work_is_asked_for_once_and_waited_for_through_redirects():
    async with deployed(TOKEN, work_seconds=0.5, redirect_seconds=0.1, **TOKEN) as (edge, stubs):
        answer = await stubs.images.GenerateImage(wish())
    assert answer.images[0].data == drawn("a red bicycle", (64, 64), 7)
    assert answer.receipt.provider_request_id.startswith("fc-")
    assert len(posts(edge)) == edge.worker.begun == 1
    followed = [one for one in edge.requests if one.operation == "result"]
    assert len(followed) >= 2
    assert all(one.headers["modal-secret"] == "***" for one in followed)


async def test_a_result_that_fails_to_come_for_a_moment_is_asked_for_again():
    async with deployed(work_seconds=0.3, redirect_seconds=0.1) as (edge, stubs):
        edge.faults.add(Fault("result", edge_answer(408, "missing request, possibly due to expiry or cancellation")))
        edge.faults.add(Fault("result", Cut()))
        answer = await stubs.images.GenerateImage(wish())
    assert answer.images
    assert edge.worker.begun == 1


async def test_work_that_modal_lost_may_have_been_done_and_is_not_repeated():
    async with deployed(work_seconds=5, redirect_seconds=0.05) as (edge, stubs):
        edge.faults.add(Fault("result", edge_answer(404, "invalid function call"), times=None))
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert failed.reason == "OUTCOME_UNKNOWN"
    assert failed.metadata["replay"] == "accepted"
    assert failed.metadata["provider_request_id"].startswith("fc-")
    assert edge.worker.begun == 1


async def test_a_redirect_to_somewhere_else_does_not_take_the_keys_there():
    async with ModalEmulator() as other, deployed(TOKEN, **TOKEN) as (edge, stubs):
        edge.faults.add(
            Fault("generate", Verbatim(303, headers={"Location": f"{other.url}/x?__modal_function_call_id=fc-1"}))
        )
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    # Modal has named the work, so that it is under way, and no other target may do it again.
    assert (failed.reason, failed.metadata["replay"]) == ("OUTCOME_UNKNOWN", "accepted")
    assert failed.metadata["provider_request_id"] == "fc-1"
    assert not other.requests


@pytest.mark.parametrize("location", ["http://[::1", "/login", ""])
async def test_a_redirect_that_makes_no_sense_is_a_wrong_address(location):
    async with deployed() as (edge, stubs):
        edge.faults.add(Fault("generate", Verbatim(303, headers={"Location": location})))
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert failed.reason == "PROVIDER_CONFIG"
    assert len(edge.requests) == 1


@pytest.mark.parametrize("picture", ["\N{SNOWMAN}", "AA\N{SNOWMAN}A"])
async def test_a_picture_that_is_no_base64_is_none(picture):
    body = msgspec.json.encode({"data": [{"b64_json": picture}]})
    async with deployed() as (edge, stubs):
        edge.faults.add(Fault("generate", Verbatim(200, body, "application/json")))
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_INTERNAL", "accepted")


async def test_a_function_that_sleeps_holds_the_call_until_it_is_up():
    async with deployed(cold_seconds=0.3, redirect_seconds=0.1) as (edge, stubs):
        answer = await stubs.images.GenerateImage(wish())
    assert answer.images
    assert edge.worker.begun == len(posts(edge)) == 1


async def test_a_server_that_sleeps_is_asked_until_it_is_up_and_works_once():
    async with deployed({"kind_of_endpoint": "server"}, kind="server", cold_seconds=0.3) as (edge, stubs):
        answer = await stubs.images.GenerateImage(wish())
        refused = sum(one.status == 503 for one in edge.requests)
        edge.scale_to_zero()
        await stubs.images.GenerateImage(wish(seed=8))
    assert answer.images
    assert refused >= 2
    assert edge.worker.begun == 2


async def test_a_worker_that_still_loads_is_waited_for():
    async with deployed() as (edge, stubs):
        edge.faults.add(Fault("generate", Verbatim(503, b'{"error": {"type": "unavailable_error"}}'), times=3))
        answer = await stubs.images.GenerateImage(wish())
    assert answer.images
    assert edge.worker.begun == 1


async def test_a_start_that_takes_too_long_is_given_up_with_nothing_sent():
    settings = {"kind_of_endpoint": "server", "cold_start_seconds": 0.2}
    async with deployed(settings, kind="server", cold_seconds=60) as (edge, stubs):
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert (failed.reason, failed.metadata["replay"]) == ("PROVIDER_UNAVAILABLE", "not_dispatched")
    assert edge.worker.begun == 0


@pytest.mark.parametrize("kind", ["function", "server"])
async def test_the_callers_deadline_ends_the_wait_for_a_start(kind):
    async with deployed({"kind_of_endpoint": kind}, kind=kind, cold_seconds=60) as (edge, stubs):
        failed = await failure_of(stubs.images.GenerateImage(wish(), timeout=0.4))
        asked = len(edge.requests)
        await asyncio.sleep(0.1)
        assert len(edge.requests) == asked
    assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert edge.worker.begun == 0


async def test_a_caller_who_leaves_ends_the_work():
    async with deployed(work_seconds=60) as (edge, stubs):
        call = stubs.images.GenerateImage(wish())
        waiting = asyncio.ensure_future(call)
        await edge.until(lambda: edge.worker.begun == 1)
        call.cancel()
        await edge.until(lambda: edge.requests[0].left)
        with contextlib.suppress(asyncio.CancelledError, grpc.RpcError):
            await waiting
    assert edge.worker.finished == 0


async def test_a_stopped_app_is_down():
    async with deployed() as (edge, stubs):
        edge.stopped = True
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
    assert failed.metadata["provider_code"] == "modal-http"


async def test_a_spent_budget_is_not_asked_again():
    async with deployed() as (edge, stubs):
        edge.spent = True
        failed = await failure_of(stubs.images.GenerateImage(wish()))
    assert failed.reason == "PROVIDER_BILLING"
    assert len(edge.requests) == 1


async def test_a_rate_limit_is_waited_for():
    async with deployed() as (edge, stubs):
        edge.faults.add(Fault("generate", edge_answer(429, "rate limit")))
        answer = await stubs.images.GenerateImage(wish())
    assert answer.images
    assert (len(edge.requests), edge.worker.begun) == (2, 1)


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (Cut(), "OUTCOME_UNKNOWN"),
        (edge_answer(500, "Server has lost track of input"), "OUTCOME_UNKNOWN"),
        (Verbatim(502, b"<html>bad gateway</html>"), "OUTCOME_UNKNOWN"),
        (edge_answer(500, "function was terminated by signal"), "PROVIDER_INTERNAL"),
        (AppAnswer(500, "internal_error"), "PROVIDER_INTERNAL"),
        (AppAnswer(504, "timeout_error"), "PROVIDER_TIMEOUT"),
        (NoPicture(), "PROVIDER_INTERNAL"),
    ],
)
async def test_what_dies_after_it_was_begun_is_not_begun_again(effect, reason):
    async with ModalEmulator() as edge, ModalEmulator() as spare:
        providers = {"modal": table(edge), "spare": table(spare)}
        targets = [{"to": "modal/Qwen-Image"}, {"to": "spare/Qwen-Image"}]
        routes = {"pictures": {"verbs": ["generate_image"], "targets": targets}}
        edge.faults.add(Fault("generate", effect))
        async with serving.serving(serving.settings_with(providers, routes)) as stubs:
            failed = await failure_of(stubs.images.GenerateImage(wish(model="pictures")))
    assert failed.reason == reason
    assert failed.metadata["replay"] in {"ambiguous", "accepted"}
    assert len(edge.requests) == 1
    assert not spare.requests


async def test_a_call_that_the_vendor_refuses_goes_on_to_modal():
    async with DashScopeEmulator() as vendor, ModalEmulator(cold_seconds=0.2, redirect_seconds=0.1) as edge:
        providers = {**serving.vendors(qwen=vendor), "modal": table(edge)}
        targets = [{"to": "qwen/qwen-image-2.0"}, {"to": "modal/Qwen-Image"}]
        routes = {"pictures": {"verbs": ["generate_image"], "targets": targets}}
        vendor.faults.add(DashScopeFault("generate", Refused(503, "ServiceUnavailable", "down"), times=None))
        request = wish(model="pictures", size=media_pb2.Size(width=512, height=512))
        async with serving.serving(serving.settings_with(providers, routes)) as stubs:
            answer = await stubs.images.GenerateImage(request)
    tried = [(one.provider, one.reason) for one in answer.receipt.attempts]
    assert [provider for provider, _ in tried] == ["qwen", "modal"]
    assert answer.images[0].data == drawn("a red bicycle", (512, 512), 7)


async def test_a_route_that_prefers_warm_targets_wakes_modal_beside_the_call():
    async with ModalEmulator(cold_seconds=0.2) as edge:
        providers = {"modal": table(edge), "sandbox": {"kind": "sandbox"}}
        targets = [{"to": "modal/Qwen-Image"}, {"to": "sandbox"}]
        routes = {"pictures": {"verbs": ["generate_image"], "cold": "PREFER_WARM", "targets": targets}}
        async with serving.serving(serving.settings_with(providers, routes)) as stubs:
            first = await stubs.images.GenerateImage(wish(model="pictures"))
            await edge.until(lambda: edge.warm)
            await edge.until(lambda: edge.requests[0].status == 200)
            await asyncio.sleep(0.05)
            second = await stubs.images.GenerateImage(wish(model="pictures"))
    assert (first.receipt.provider, second.receipt.provider) == ("sandbox", "modal")
    assert edge.count("health") == 1


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
async def test_an_option_that_is_no_number_to_count_with_is_refused(number):
    async with deployed() as (edge, stubs):
        request = wish()
        request.provider_options.update({"modal": {"steps": number}})
        failed = await failure_of(stubs.images.GenerateImage(request))
    assert [one.field for one in failed.violations] == ["provider_options.modal.steps"]
    assert not edge.requests


async def test_an_option_that_the_worker_lacks_is_refused_before_anything_is_sent():
    async with deployed() as (edge, stubs):
        request = wish()
        request.provider_options.update({"modal": {"stepz": 8}})
        failed = await failure_of(stubs.images.GenerateImage(request))
    assert failed.reason == "INVALID_REQUEST"
    assert [one.field for one in failed.violations] == ["provider_options.modal.stepz"]
    assert not edge.requests
