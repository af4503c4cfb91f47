"""One request on its way to another host: what is sent, how far it came, and the span that lasts to its last byte."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.trace import Link, NoOpTracer, SpanKind, StatusCode, set_span_in_context

from pixvox import telemetry
from pixvox.errors import PixvoxError, reason_name
from pixvox.upstream.replay import LostError, Replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span, SpanContext, Tracer

    from pixvox.upstream.replay import Ids

SWITCHING_PROTOCOLS = 101
# What a vendor calls its id is whatever the vendor likes.
_MAX_ID = 128


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it is to be sent.

    Attributes:
        method: Such as ``POST``.
        url: Absolute and escaped; may hold a signature.
        shown: As much of `url` as may stand in a span: scheme, host and path.
        host: Of `url`, without brackets.
        port: Of `url`.
        headers: With credentials.
        body: Or None.
        operation: What is being done, in words that are the same for every call.
        connect_seconds: For name, connection and TLS together.
        read_seconds: For each wait for the next bytes of the reply; None is without limit.
        propagate: Whether the receiver is told the trace that the request belongs to (https://www.w3.org/TR/trace-context).
        follows: The span of the request that began the work which this one is about.
    """

    method: str
    url: str = field(repr=False)
    shown: str
    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    operation: str
    connect_seconds: float
    read_seconds: float | None
    propagate: bool
    follows: SpanContext | None = field(default=None, repr=False)


@dataclass(slots=True)
class Attempt:
    """How far a request came.

    Attributes:
        headers: To send.
        span: Of the attempt.
        replay: So far.
        status: Of the reply, 0 before its head is there.
        received: Bytes of the reply's body, decompressed.
        failure: Why it failed, in one word, or empty.
        transport: Of the connection, as soon as there is one.
    """

    headers: Mapping[str, str] = field(repr=False)
    span: Span
    replay: Replay = Replay.NOT_DISPATCHED
    status: int = 0
    received: int = 0
    failure: str = ""
    transport: asyncio.Transport | None = None

    def identified(self, ids: Ids) -> None:
        """Put on the span what the vendor calls the request."""
        named = {
            telemetry.PIXVOX_PROVIDER_REQUEST_ID: ids.request,
            telemetry.PIXVOX_PROVIDER_TASK_ID: ids.task,
            telemetry.PIXVOX_PROVIDER_CODE: ids.code,
        }
        self.span.set_attributes({name: value[:_MAX_ID] for name, value in named.items() if value})

    def lost(self, kind: str, what: str) -> LostError:
        """Return the error for a failure now; arguments as for `LostError`."""
        self.failure = kind
        return LostError(self.replay, kind, what)


@dataclass(frozen=True, slots=True)
class Watch:
    """Where what attempts take is told.

    Attributes:
        tracer: Makes their spans.
        durations: Takes how long they lasted, in seconds; None where nobody wants to know.
    """

    tracer: Tracer = field(default_factory=NoOpTracer)
    durations: Histogram | None = None


@contextlib.contextmanager
def attempted(watch: Watch, outgoing: Outgoing, number: int) -> Iterator[Attempt]:
    """Give the attempt whose span the block is; the span is a child of the current one and is not made current.

    Args:
        watch: Is told of it.
        outgoing: The request.
        number: Of the attempt, from 0.
    """
    attributes: dict[str, str | int] = {
        telemetry.HTTP_REQUEST_METHOD: outgoing.method,
        telemetry.URL_FULL: outgoing.shown,
        telemetry.SERVER_ADDRESS: outgoing.host,
        telemetry.SERVER_PORT: outgoing.port,
        telemetry.PIXVOX_UPSTREAM_OPERATION: outgoing.operation,
    }
    if outgoing.body is not None:
        attributes[telemetry.HTTP_REQUEST_BODY_SIZE] = len(outgoing.body)
    if number:
        attributes[telemetry.HTTP_REQUEST_RESEND_COUNT] = number
    started = time.monotonic()
    span = watch.tracer.start_span(
        f"{outgoing.method} {outgoing.operation}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        links=_links(outgoing),
        record_exception=False,
        set_status_on_exception=False,
    )
    attempt = Attempt(_headers(outgoing, span), span)
    try:
        yield attempt
    except BaseException as error:
        attempt.failure = attempt.failure or _kind(error)
        raise
    finally:
        if span.is_recording():
            _conclude(attempt)
        span.end()
        if watch.durations is not None:
            watch.durations.record(time.monotonic() - started, _labels(outgoing, attempt))


@contextlib.contextmanager
def fetched(watch: Watch, field: str) -> Iterator[Span]:
    """Give the span of a download that a caller has named, which is the block; the address is the caller's own affair.

    Args:
        watch: Is told of it.
        field: Of the request that holds the address.
    """
    attributes = {telemetry.HTTP_REQUEST_METHOD: "GET", telemetry.PIXVOX_FIELD: field}
    with watch.tracer.start_as_current_span(
        "GET input",
        kind=SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            _fail(span, _kind(error))
            raise


def _links(outgoing: Outgoing) -> list[Link]:
    if outgoing.follows is None:
        return []
    return [Link(outgoing.follows, {telemetry.PIXVOX_LINK: telemetry.LINK_SUBMIT})]


def _headers(outgoing: Outgoing, span: Span) -> Mapping[str, str]:
    if not outgoing.propagate:
        return outgoing.headers
    headers = dict(outgoing.headers)
    telemetry.propagator().inject(headers, context=set_span_in_context(span))
    return headers


def _kind(error: BaseException) -> str:
    match error:
        case LostError():
            return error.kind
        case PixvoxError():
            return reason_name(error.reason)
        case asyncio.CancelledError():
            return telemetry.cancellation()
        case _:
            return type(error).__name__


def _labels(outgoing: Outgoing, attempt: Attempt) -> dict[str, str | int]:
    labels: dict[str, str | int] = {
        telemetry.HTTP_REQUEST_METHOD: outgoing.method,
        # An operation's hosts are the vendor's; results lie on any of its storages.
        telemetry.SERVER_ADDRESS: outgoing.host,
        telemetry.PIXVOX_UPSTREAM_OPERATION: outgoing.operation,
    }
    if attempt.status:
        labels[telemetry.HTTP_RESPONSE_STATUS_CODE] = attempt.status
    if failure := _failure(attempt):
        labels[telemetry.ERROR_TYPE] = failure
    return labels


def _failure(attempt: Attempt) -> str:
    return attempt.failure or (str(attempt.status) if attempt.status >= 400 else "")


def _conclude(attempt: Attempt) -> None:
    told: dict[str, str | int] = {telemetry.PIXVOX_REPLAY_CLASS: attempt.replay.value}
    if attempt.status:
        told[telemetry.HTTP_RESPONSE_STATUS_CODE] = attempt.status
    if attempt.status not in {0, SWITCHING_PROTOCOLS}:
        told[telemetry.HTTP_RESPONSE_BODY_SIZE] = attempt.received
    attempt.span.set_attributes(told)
    if failure := _failure(attempt):
        _fail(attempt.span, failure)


def _fail(span: Span, failure: str) -> None:
    span.set_attribute(telemetry.ERROR_TYPE, failure)
    # That the caller left is not a fault of the other host.
    if failure != telemetry.CANCELLED:
        span.set_status(StatusCode.ERROR)
