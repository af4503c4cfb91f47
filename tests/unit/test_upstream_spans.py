"""Spans of what is asked of vendors: one for each attempt, to its last byte, and nothing secret on them."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from pixvox import telemetry
from pixvox.errors import OutcomeUnknownError, ProviderDisconnectedError, ProviderUnavailableError
from pixvox.upstream import Safety, replay
from raw_vendor import CREDENTIALS, KEY, Spans, dripped, opened, reply, then_close, then_silence, vendor

BODY = b'{"prompt":"a secret"}'
SECRET = "4f1d" * 8


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Time between attempts does not pass."""

    async def sleep(_seconds):
        pass

    monkeypatch.setattr(replay, "sleep", sleep)


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
async def upstream(spans):
    async with opened(tracer=spans.tracer) as upstream:
        yield upstream


async def post(origin, safety=Safety.BILLABLE):
    return await origin.call(
        "POST", f"/images?signature={SECRET}", body=BODY, safety=safety, operation="image generation"
    )


async def test_a_call_is_one_client_span_with_the_names_of_the_convention(upstream, spans):
    async with vendor(reply(b"0123456789")) as one:
        await post(upstream.origin(one.url, headers=CREDENTIALS))
    (span,) = spans.finished
    assert (span.name, span.kind, span.status.status_code) == (
        "POST image generation",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "url.full": f"http://127.0.0.1:{one.port}/api/v1/images",
        "server.address": "127.0.0.1",
        "server.port": one.port,
        "http.request.body.size": len(BODY),
        "http.response.status_code": 200,
        "http.response.body.size": 10,
        "pixvox.upstream.operation": "image generation",
        "pixvox.attempt.replay_class": "accepted",
    }
    assert not any(secret in span.to_json() for secret in (KEY, SECRET, "a secret"))


async def test_a_span_is_a_child_of_the_current_one_and_lasts_to_the_last_byte(upstream, spans):
    async with vendor(dripped_after(reply(b"0123456789"), 10)) as one:
        with spans.tracer.start_as_current_span("parent") as parent:
            await post(upstream.origin(one.url))
    child, _ = spans.finished
    assert child.parent.span_id == parent.get_span_context().span_id
    assert child.end_time - child.start_time > 150_000_000


def dripped_after(data, count):
    async def conversation(reader, writer):
        writer.write(data[:-count])
        await dripped(data[-count:], 0.02)(reader, writer)

    return conversation


async def test_each_attempt_is_a_span_that_counts_what_went_before(upstream, spans):
    async with vendor(reply(status=503), then_close(), reply()) as one:
        await post(upstream.origin(one.url), Safety.FREE)
    assert spans.values(telemetry.HTTP_REQUEST_RESEND_COUNT) == [None, 1, 2]
    assert spans.values(telemetry.HTTP_RESPONSE_STATUS_CODE) == [503, None, 200]
    assert spans.values(telemetry.PIXVOX_REPLAY_CLASS) == ["accepted", "ambiguous", "accepted"]
    assert spans.values(telemetry.ERROR_TYPE) == ["503", "reset", None]
    assert [span.status.status_code for span in spans.finished] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]


async def test_what_was_not_dispatched_says_so(upstream, spans):
    with pytest.raises(ProviderUnavailableError):
        await post(upstream.origin("http://nobody.invalid"))
    assert spans.values(telemetry.PIXVOX_REPLAY_CLASS) == ["not_dispatched"] * 3
    assert spans.values(telemetry.ERROR_TYPE) == ["dns"] * 3


@pytest.mark.parametrize(("status", "error"), [(302, None), (400, "400"), (429, "429")])
async def test_a_status_from_400_on_is_an_error(upstream, spans, status, error):
    async with vendor(reply(status=status)) as one:
        await post(upstream.origin(one.url))
    assert spans.values(telemetry.ERROR_TYPE) == [error]


async def test_a_body_that_is_cut_off_has_status_and_size_of_what_came(upstream, spans):
    async with vendor(then_close(reply(b"x" * 100)[:-40])) as one:
        with pytest.raises(OutcomeUnknownError):
            await post(upstream.origin(one.url))
    assert spans.values(telemetry.HTTP_RESPONSE_STATUS_CODE) == [200]
    assert spans.values(telemetry.PIXVOX_REPLAY_CLASS) == ["ambiguous"]
    assert spans.values(telemetry.ERROR_TYPE) == ["reset"]


async def test_a_call_that_is_cancelled_ends_its_span_without_blaming_the_vendor(upstream, spans):
    async with vendor(then_silence()) as one:
        call = asyncio.create_task(post(upstream.origin(one.url)))
        await one.reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    (span,) = spans.finished
    assert span.attributes[telemetry.ERROR_TYPE] == "cancelled"
    assert span.attributes[telemetry.PIXVOX_REPLAY_CLASS] == "ambiguous"
    assert span.status.status_code is StatusCode.UNSET


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: a\n\n\r\n"


async def test_a_stream_is_one_span_to_its_last_event(upstream, spans):
    async with vendor(STREAM + EVENT + EVENT + b"0\r\n\r\n") as one:
        origin = upstream.origin(one.url)
        async with origin.events("/speech", body=BODY, operation="speech") as stream:
            await anext(stream)
            assert spans.finished == ()
            assert [event.data async for event in stream] == [b"a"]
    (span,) = spans.finished
    assert span.attributes[telemetry.PIXVOX_EVENTS_RECEIVED] == 2
    assert span.attributes[telemetry.HTTP_RESPONSE_BODY_SIZE] == 18
    assert span.attributes[telemetry.PIXVOX_REPLAY_CLASS] == "committed"
    assert telemetry.ERROR_TYPE not in span.attributes


async def test_the_span_of_a_broken_stream_tells_so_though_the_reader_coped(upstream, spans):
    async with vendor(then_close(STREAM + EVENT)) as one:
        origin = upstream.origin(one.url)
        async with origin.events("/speech", body=BODY, operation="speech") as stream:
            await anext(stream)
            with pytest.raises(ProviderDisconnectedError):
                await anext(stream)
    (span,) = spans.finished
    assert span.attributes[telemetry.ERROR_TYPE] == "reset"
    assert span.status.status_code is StatusCode.ERROR


async def test_the_trace_goes_to_our_own_containers_and_to_nobody_else(upstream, spans):
    async with vendor(reply()) as one:
        with spans.tracer.start_as_current_span("parent"):
            await post(upstream.origin(one.url, propagate=True))
            await post(upstream.origin(one.url))
    own, other = one.requests
    context = spans.finished[0].context
    assert own.headers["traceparent"].startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert "traceparent" not in other.headers


async def test_each_hop_of_a_result_is_a_span_without_its_query(upstream, spans):
    async with vendor(reply(b"", 302, Location=f"/b?s={SECRET}"), reply(b"picture")) as one:
        results = upstream.results([f"127.0.0.1:{one.port}"])
        await results.fetch(f"http://127.0.0.1:{one.port}/a?s={SECRET}", max_bytes=100)
    assert [span.name for span in spans.finished] == ["GET result download"] * 2
    assert spans.values(telemetry.PIXVOX_REPLAY_CLASS) == ["accepted", "accepted"]
    assert [url.rpartition("/")[2] for url in spans.values(telemetry.URL_FULL)] == ["a", "b"]
    assert SECRET not in "".join(span.to_json() for span in spans.finished)
