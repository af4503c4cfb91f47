"""One request on its way to another host: what is sent, how far it came, and the span that lasts to its last byte."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pixvox import telemetry
from pixvox.upstream.replay import LostError, Replay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span, Tracer

_PROPAGATOR = TraceContextTextMapPropagator()


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

    def lost(self, kind: str, what: str) -> LostError:
        """Return the error for a failure now; arguments as for `LostError`."""
        self.failure = kind
        return LostError(self.replay, kind, what)


@contextlib.contextmanager
def attempted(tracer: Tracer, outgoing: Outgoing, number: int) -> Iterator[Attempt]:
    """Give the attempt whose span the block is; the span is a child of the current one and is not made current.

    Args:
        tracer: Makes the span.
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
    span = tracer.start_span(
        f"{outgoing.method} {outgoing.operation}",
        kind=SpanKind.CLIENT,
        attributes=attributes,
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


def _headers(outgoing: Outgoing, span: Span) -> Mapping[str, str]:
    if not outgoing.propagate:
        return outgoing.headers
    headers = dict(outgoing.headers)
    _PROPAGATOR.inject(headers, context=set_span_in_context(span))
    return headers


def _kind(error: BaseException) -> str:
    if isinstance(error, LostError):
        return error.kind
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__


def _conclude(attempt: Attempt) -> None:
    span = attempt.span
    span.set_attribute(telemetry.PIXVOX_REPLAY_CLASS, attempt.replay.value)
    if attempt.status:
        span.set_attribute(telemetry.HTTP_RESPONSE_STATUS_CODE, attempt.status)
        span.set_attribute(telemetry.HTTP_RESPONSE_BODY_SIZE, attempt.received)
    failure = attempt.failure or (str(attempt.status) if attempt.status >= 400 else "")
    if failure:
        span.set_attribute(telemetry.ERROR_TYPE, failure)
        # That the caller left is not a fault of the other host.
        if failure != "cancelled":
            span.set_status(StatusCode.ERROR)
