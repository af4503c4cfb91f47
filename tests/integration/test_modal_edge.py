"""The edge of Modal as its guides describe it, held against the provider; minutes pass by a clock that is set."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

from pixvox import errors
from pixvox.provider import Blob, Warmth
from pixvox.providers.modal import Config, create
from pixvox.testing.modal import (
    AppAnswer,
    Fault,
    ModalEmulator,
    SetClock,
    Verbatim,
    changed,
    drawn,
    edge_answer,
    said,
)
from pixvox.upstream import Safety, Upstream
from pixvox.v1 import image_service_pb2, media_pb2, speech_service_pb2

SPEAKER = "Qwen3-TTS-CustomVoice"
TOKEN = {"key": "wk-test", "secret": "ws-test"}
MODELS = {
    "Qwen-Image": {"verb": "generate"},
    "Qwen-Image-Edit": {"verb": "edit"},
    SPEAKER: {"verb": "speak"},
}
SMALL = media_pb2.Size(width=64, height=64)


class Place:
    """The provider and the edge, which share a clock."""

    def __init__(self, edge, provider, clock):
        self.edge = edge
        self.provider = provider
        self.clock = clock
        self.models = {model.id: model for model in provider.models()}

    async def generate(self):
        request = image_service_pb2.GenerateImageRequest(prompt="x", size=SMALL, seed=7)
        return (await self.provider.generate_image(request, self.models["Qwen-Image"])).images[0].data

    async def edit(self):
        request = image_service_pb2.EditImageRequest(prompt="x", seed=7)
        image = Blob("image/png", drawn("y", (64, 64), 1))
        return (await self.provider.edit_image(request, [image], None, self.models["Qwen-Image-Edit"])).images[0].data

    async def speech(self):
        async def text():
            yield "Hello"

        config = speech_service_pb2.SpeechConfig()
        async with self.provider.stream_speech(config, text(), self.models[SPEAKER]) as stream:
            return b"".join([event async for event in stream.events if isinstance(event, bytes)])

    async def through(self, call):
        """What comes of a call while the clock jumps from moment to moment, whenever the edge holds a request."""
        asked = asyncio.ensure_future(call)
        try:
            while not asked.done():
                await self.edge.until(lambda: self.edge.holding or asked.done())
                await self.clock.jump()
        finally:
            asked.cancel()
        return await asked

    def hops(self):
        return sum(one.operation == "result" for one in self.edge.requests)

    def posts(self):
        return sum(one.method == "POST" for one in self.edge.requests)


MADE = {
    "generate": drawn("x", (64, 64), 7),
    "edit": changed(drawn("y", (64, 64), 1), "x", None, 7),
    "speech": said("Hello"),
}


@contextlib.asynccontextmanager
async def placed(fields=None, **edge_settings):
    clock = SetClock()
    upstream = Upstream()
    async with ModalEmulator(speech="CustomVoice", clock=clock, **TOKEN, **edge_settings) as edge:
        fields = {"url": edge.url, "models": MODELS, "poll_seconds": 0.01} | TOKEN | (fields or {})
        try:
            yield Place(edge, create(msgspec.convert(fields, Config), upstream, clock), clock)
        finally:
            await upstream.aclose()


@pytest.mark.parametrize("verb", MADE)
@pytest.mark.parametrize(("work", "hops"), [(149, 0), (151, 1), (299, 1), (301, 2), (449, 2), (1_750, 11)], ids=str)
async def test_every_150_seconds_of_work_are_one_redirect_and_the_work_is_asked_for_once(verb, work, hops):
    async with placed(work_seconds=float(work)) as place:
        assert await place.through(getattr(place, verb)()) == MADE[verb]
        assert (place.hops(), place.posts(), place.edge.worker.begun) == (hops, 1, 1)
        results = [one for one in place.edge.requests if one.operation == "result"]
    assert all(
        (one.method, one.headers["modal-key"], one.headers["modal-secret"]) == ("GET", "***", "***") for one in results
    )
    assert len({one.query["__modal_function_call_id"] for one in results}) == min(1, hops)


@pytest.mark.parametrize(("cold", "work", "hops"), [(108, 40, 0), (108, 60, 1), (600, 1, 4)])
async def test_a_cold_start_of_a_function_counts_into_the_150_seconds(cold, work, hops):
    async with placed(cold_seconds=float(cold), work_seconds=float(work)) as place:
        asked = asyncio.ensure_future(place.through(place.generate()))
        await place.edge.until(lambda: place.edge.requests)
        assert place.provider.warmth() is Warmth.STARTING
        assert await asked == MADE["generate"]
        assert (place.hops(), place.posts()) == (hops, 1)
        assert place.provider.warmth() is Warmth.WARM
        await place.clock.advance(301.0)
        assert place.provider.warmth() is Warmth.COLD


async def test_the_pauses_between_results_do_not_grow_where_the_edge_holds_the_questions():
    async with placed(work_seconds=3_000.0) as place:
        async with asyncio.timeout(10):
            await place.through(place.generate())
        # Grown pauses would have taken more than half a minute.
        assert place.hops() == 19


async def test_a_caller_whose_time_is_up_ends_the_chain_and_nothing_is_asked_any_more():
    async with placed(work_seconds=10_000.0) as place:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await place.through(place.generate())
        asked = len(place.edge.requests)
        assert asked >= 2
        await place.clock.advance(1_000.0)
        await asyncio.sleep(0.2)
        assert len(place.edge.requests) == asked
        assert place.edge.worker.begun == 1


@pytest.mark.parametrize("after_redirect", [False, True])
async def test_a_caller_who_leaves_ends_the_wait_and_before_the_first_redirect_the_work_too(after_redirect):
    async with placed(work_seconds=200.0) as place:
        asked = asyncio.ensure_future(place.speech())
        await place.edge.until(lambda: place.edge.worker.begun == 1)
        if after_redirect:
            await place.clock.jump()
            await place.edge.until(lambda: place.hops() == 1 and place.edge.holding == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await place.edge.until(lambda: place.edge.requests[-1].left)
        await place.clock.advance(500.0)
        assert place.edge.worker.finished == int(after_redirect)
        assert place.posts() == 1


@pytest.mark.parametrize("verb", MADE)
@pytest.mark.parametrize(
    ("effect", "error", "sent"),
    [
        (edge_answer(401, "missing credentials for proxy authorization"), errors.ProviderCredentialsError, 1),
        (edge_answer(403, "token is not scoped to the environment"), errors.ProviderAccessDeniedError, 1),
        (edge_answer(404, "app for invoked web endpoint is stopped"), errors.ProviderUnavailableError, 1),
        (edge_answer(404, "workspace acme is disabled"), errors.ProviderConfigError, 1),
        (AppAnswer(404, "not_found_error"), errors.ProviderConfigError, 1),
        (edge_answer(408, "missing request, possibly due to expiry or cancellation"), errors.OutcomeUnknownError, 1),
        (edge_answer(429, "workspace billing cycle spend limit reached"), errors.ProviderBillingError, 1),
        (edge_answer(500, "internal error: function was terminated by signal"), errors.ProviderInternalError, 1),
        (
            edge_answer(500, "internal error: status Failure: TimeoutError('Waited too long for port 8000')"),
            errors.ProviderUnavailableError,
            1,
        ),
        (edge_answer(500, "Server has lost track of input"), errors.OutcomeUnknownError, 1),
        (Verbatim(502, b"<html>bad gateway</html>"), errors.OutcomeUnknownError, 1),
        (AppAnswer(400, "invalid_request_error"), errors.InvalidParameterError, 1),
        (AppAnswer(500, "internal_error"), errors.ProviderInternalError, 1),
        (AppAnswer(503, "out_of_memory"), errors.ProviderUnavailableError, 1),
        (AppAnswer(504, "timeout_error"), errors.ProviderTimeoutError, 1),
    ],
    ids=lambda one: getattr(one, "__name__", str(getattr(one, "status", one))),
)
async def test_each_refusal_is_one_error_and_is_not_sent_again(verb, effect, error, sent):
    async with placed() as place:
        place.edge.faults.add(Fault(verb, effect, times=None))
        with pytest.raises(error) as raised:
            await getattr(place, verb)()
        assert type(raised.value) is error
        assert {"provider_code", "provider_request_id"} <= raised.value.metadata.keys()
        assert len(place.edge.requests) == sent


@pytest.mark.parametrize("verb", MADE)
async def test_a_rate_limit_is_waited_for_and_a_spent_budget_is_not(verb):
    async with placed() as place:
        place.edge.faults.add(Fault(verb, edge_answer(429, "rate limit exceeded")))
        assert await getattr(place, verb)() == MADE[verb]
        assert (place.posts(), place.edge.worker.begun) == (2, 1)
        place.edge.spent = True
        with pytest.raises(errors.ProviderBillingError):
            await getattr(place, verb)()
        assert place.posts() == 3


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (edge_answer(404, "invalid function call"), errors.OutcomeUnknownError),
        (edge_answer(404, "app for invoked web endpoint is stopped"), errors.OutcomeUnknownError),
        (edge_answer(408, "missing request, possibly due to expiry or cancellation"), errors.OutcomeUnknownError),
        (edge_answer(429, "workspace billing cycle spend limit reached"), errors.OutcomeUnknownError),
        (AppAnswer(400, "invalid_request_error"), errors.InvalidParameterError),
        (AppAnswer(500, "internal_error"), errors.ProviderInternalError),
    ],
    ids=lambda one: getattr(one, "__name__", str(getattr(one, "status", one))),
)
async def test_behind_a_redirect_the_edge_never_says_that_nothing_was_done(effect, error):
    async with placed(work_seconds=200.0) as place:
        operation = "generate" if isinstance(effect, AppAnswer) else "result"
        place.edge.faults.add(Fault(operation, effect, times=None))
        with pytest.raises(error) as raised:
            async with asyncio.timeout(20):
                await place.through(place.generate())
        assert raised.value.metadata["provider_request_id"].startswith("fc-")
        assert place.posts() == 1


async def test_a_result_that_is_not_there_for_a_moment_is_asked_for_again():
    async with placed(work_seconds=200.0) as place:
        place.edge.faults.add(Fault("result", edge_answer(408, "missing request")))
        place.edge.faults.add(Fault("result", Verbatim(202)))
        assert await place.through(place.speech()) == MADE["speech"]
        assert place.posts() == 1


async def test_posting_to_where_the_result_is_would_be_refused():
    async with placed() as place:
        upstream = Upstream()
        origin = upstream.origin(place.edge.url, headers={"modal-key": "wk-test", "modal-secret": "ws-test"})
        reply = await origin.call(
            "POST", "/process?__modal_function_call_id=fc-1", body=b"{}", safety=Safety.FREE, operation="test"
        )
        await upstream.aclose()
    assert (reply.status, reply.body) == (400, b"modal-http: bad redirect method")


async def test_a_server_that_takes_its_whole_start_is_asked_until_it_is_up():
    async with placed({"kind_of_endpoint": "server", "poll_seconds": 0.01}, kind="server", cold_seconds=100.0) as place:
        asked = asyncio.ensure_future(place.generate())
        await place.edge.until(lambda: len(place.edge.requests) >= 3)
        await place.clock.advance(101.0)
        assert await asked == MADE["generate"]
        assert place.edge.worker.begun == 1
        assert {one.status for one in place.edge.requests[:-1]} == {503}


async def test_a_start_that_takes_longer_than_it_may_is_given_up_by_the_clock():
    settings = {"kind_of_endpoint": "server", "poll_seconds": 0.01, "cold_start_seconds": 600.0}
    async with placed(settings, kind="server", cold_seconds=10_000.0) as place:
        asked = asyncio.ensure_future(place.speech())
        await place.edge.until(lambda: place.edge.requests)
        await place.clock.advance(601.0)
        with pytest.raises(errors.ProviderUnavailableError) as raised:
            await asked
        assert raised.value.metadata["replay"] == "not_dispatched"
        assert place.edge.worker.begun == 0


async def test_a_server_above_its_concurrency_is_a_rate_limit():
    async with placed({"kind_of_endpoint": "server"}, kind="server", work_seconds=60.0) as place:
        await place.provider.warm_up()
        place.edge.max_concurrency = 1
        first = asyncio.ensure_future(place.generate())
        await place.edge.until(lambda: place.edge.holding == 1)
        second = asyncio.ensure_future(place.generate())
        await place.edge.until(lambda: any(one.status == 429 for one in place.edge.requests))
        await place.clock.advance(61.0)
        assert await first == MADE["generate"]
        await place.edge.until(lambda: place.edge.worker.begun == 2)
        await place.clock.advance(61.0)
        assert await second == MADE["generate"]
