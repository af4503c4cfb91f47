"""Everything around every RPC: its record, its deadline, its server span, its log line, and its errors as statuses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
import structlog
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, StatusCode

from pixvox import limits, telemetry
from pixvox.errors import (
    STATUS_TRAILER,
    DeadlineError,
    InternalError,
    InvalidRequestError,
    MethodNotFoundError,
    PixvoxError,
    RequestError,
    ShuttingDownError,
    Violation,
    reason_name,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message
    from opentelemetry.trace import Span

    from pixvox.settings import DeadlineSettings
    from pixvox.telemetry import Call, Telemetry

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]

log = structlog.get_logger("pixvox.calls")

PACKAGE = "pixvox.v1."
HEAR_OUT_SECONDS = 0.1


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of this package's services; those of health and reflection pass through."""

    def __init__(self, telemetry: Telemetry, deadlines: DeadlineSettings) -> None:
        self._telemetry = telemetry
        self._deadlines = deadlines
        self._wrapped: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refusing = False
        self._cut = False

    @property
    def in_flight(self) -> int:
        """The number of calls that are running."""
        return len(self._tasks)

    async def ended(self, within: float) -> bool:
        """Wait until no call is running, for at most `within` seconds; tell whether that came about."""
        deadline = time.monotonic() + within
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        # A call's task ends with its handler; its status is then on its way out.
        await asyncio.sleep(0.05)
        return not self._tasks

    def refuse(self) -> None:
        """Answer every new call with SHUTTING_DOWN."""
        self._refusing = True

    def cut(self) -> None:
        """End every running call with SHUTTING_DOWN."""
        self._cut = True
        for task in self._tasks:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the wrapped handler of a method, which is made once."""
        path = handler_call_details.method
        if (known := self._wrapped.get(path)) is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return _unknown_method(path)
        if not path.startswith(f"/{PACKAGE}"):
            return handler
        # Only methods that exist are kept, so a caller cannot grow the table.
        self._wrapped[path] = wrapped = self._wrap(path.removeprefix("/"), handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        # The stubs give the behaviours of grpc.aio the types of blocking ones.
        whole = cast("Callable[[Message, Context], Awaitable[Message]]", handler.unary_unary)
        streamed = cast("Callable[[AsyncIterator[Message], Context], Awaitable[None]]", handler.stream_stream)
        allowed = _default_deadline(method, self._deadlines)

        async def unary(request: Message, context: Context) -> Message | None:
            call = telemetry.Call(method)
            violation = _take_request_id(request, call)
            return await self._run(call, context, allowed, lambda: _unary(whole, request, context, violation))

        async def stream(requests: AsyncIterator[Message], context: Context) -> None:
            call = telemetry.Call(method)
            await self._run(call, context, allowed, lambda: _heard_out(streamed, requests, context))

        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)

    async def _run(
        self, call: Call, context: Context, allowed: float, work: Callable[[], Awaitable[Message | None]]
    ) -> Message | None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._tasks.add(task)
        self._telemetry.calls_in_flight.add(1, {telemetry.RPC_METHOD: call.method})
        started = time.monotonic()
        outcome = _Outcome()
        try:
            with telemetry.calling(call), self._span(call, context) as span:
                try:
                    return await self._translated(call, context, allowed, work)
                except PixvoxError as error:
                    outcome.failed(error)
                    raise
                except asyncio.CancelledError:
                    outcome.cancelled(context)
                    raise
                finally:
                    self._record(call, outcome, span, time.monotonic() - started)
        except PixvoxError as error:
            await _abort(context, error, call.request_id)
        finally:
            self._tasks.discard(task)
            self._telemetry.calls_in_flight.add(-1, {telemetry.RPC_METHOD: call.method})

    async def _translated(
        self, call: Call, context: Context, allowed: float, work: Callable[[], Awaitable[Message | None]]
    ) -> Message | None:
        """Run the work within its time; whatever it raises leaves as a PixvoxError or a CancelledError."""
        if self._refusing:
            raise ShuttingDownError("This instance is shutting down and takes no new calls.", retry_after=1.0)
        remaining = _remaining(context)
        seconds = min(allowed if remaining is None else remaining, self._deadlines.longest)
        try:
            async with asyncio.timeout(seconds) as scope:
                if seconds <= 0:
                    # Lets the scope end the call here, before anything is sent upstream.
                    await asyncio.sleep(0)
                return await work()
        except PixvoxError:
            raise
        except TimeoutError as error:
            if scope.expired():
                raise DeadlineError(f"The call took longer than its {seconds:g} s.") from error
            raise self._unexpected(call, error) from error
        except asyncio.CancelledError:
            if self._cut:
                raise ShuttingDownError(
                    "This instance is shutting down and its grace period is over.", retry_after=1.0
                ) from None
            raise
        except Exception as error:
            raise self._unexpected(call, error) from error

    @staticmethod
    def _unexpected(call: Call, error: Exception) -> InternalError:
        log.error("call failed unexpectedly", method=call.method, request_id=call.request_id, exc_info=error)
        return InternalError(f"The service failed. Its log has the details under request id {call.request_id}.")

    def _span(self, call: Call, context: Context) -> AbstractContextManager[Span]:
        if not self._telemetry.recording:
            return self._telemetry.tracer.start_as_current_span(call.method)
        metadata = {
            key: str(value)
            for key, value in context.invocation_metadata() or ()
            if key in {"traceparent", "tracestate"}
        }
        return self._telemetry.tracer.start_as_current_span(
            call.method,
            context=telemetry.incoming_context(metadata) if metadata else otel_context.Context(),
            kind=SpanKind.SERVER,
            attributes={telemetry.RPC_SYSTEM_NAME: "grpc", telemetry.RPC_METHOD: call.method},
            record_exception=False,
            set_status_on_exception=False,
        )

    def _record(self, call: Call, outcome: _Outcome, span: Span, seconds: float) -> None:
        attributes = {
            telemetry.RPC_SYSTEM_NAME: "grpc",
            telemetry.RPC_METHOD: call.method,
            telemetry.RPC_STATUS_CODE: outcome.code,
        }
        span.set_attribute(telemetry.RPC_STATUS_CODE, outcome.code)
        span.set_attribute(telemetry.PIXVOX_REQUEST_ID, call.request_id)
        if outcome.code in telemetry.SERVER_FAULTS:
            attributes[telemetry.ERROR_TYPE] = outcome.reason or outcome.code
            span.set_attribute(telemetry.ERROR_TYPE, attributes[telemetry.ERROR_TYPE])
            span.set_status(StatusCode.ERROR, outcome.reason)
        self._telemetry.call_duration.record(seconds, attributes)
        log.info(
            "call",
            method=call.method,
            code=outcome.code,
            reason=outcome.reason or None,
            request_id=call.request_id,
            provider=call.provider or None,
            model=call.model or None,
            seconds=round(seconds, 4),
            trace_id=format(span.get_span_context().trace_id, "032x") if span.is_recording() else None,
        )


class _Outcome:
    """How a call ended: OK unless something else was said."""

    def __init__(self) -> None:
        self.code = "OK"
        self.reason = ""

    def failed(self, error: PixvoxError) -> None:
        self.code, self.reason = error.code.name, reason_name(error.reason)

    def cancelled(self, context: Context) -> None:
        remaining = _remaining(context)
        self.code = "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"


def _remaining(context: Context) -> float | None:
    """Return the seconds that the caller still waits; None, which the stubs leave out, if it set no deadline."""
    return cast("float | None", context.time_remaining())


async def _unary(
    work: Callable[[Message, Context], Awaitable[Message]],
    request: Message,
    context: Context,
    violation: Violation | None,
) -> Message:
    if violation is not None:
        raise InvalidRequestError("The request id cannot be used.", violation)
    return await work(request, context)


async def _heard_out(
    work: Callable[[AsyncIterator[Message], Context], Awaitable[None]],
    requests: AsyncIterator[Message],
    context: Context,
) -> None:
    """Serve a stream; if its caller is refused, read what is already on its way before saying so.

    The client of grpc.aio (1.85.0) takes the end of a stream that it is still writing to for an internal error, and its
    caller would never learn the reason.
    """
    try:
        await work(requests, context)
    except RequestError:
        with contextlib.suppress(TimeoutError, grpc.aio.UsageError, grpc.aio.InternalError):
            async with asyncio.timeout(HEAR_OUT_SECONDS):
                async for _ in requests:
                    pass
        raise


def _take_request_id(request: Message, call: Call) -> Violation | None:
    """Make the caller's request id that of the call, if it gave a usable one."""
    holder, prefix = (request.config, "config.") if hasattr(request, "config") else (request, "")
    identifier = getattr(holder, "request_id", "")
    if not identifier:
        return None
    violation = limits.violation_of_request_id(identifier, f"{prefix}request_id")
    if violation is None:
        call.request_id = identifier
    return violation


def _default_deadline(method: str, deadlines: DeadlineSettings) -> float:
    name = method.rpartition("/")[2]
    own = {
        "GenerateImage": deadlines.generate_image,
        "EditImage": deadlines.edit_image,
        "StreamSpeech": deadlines.stream_speech,
        "SynthesizeSpeech": deadlines.synthesize_speech,
        "CloneVoice": deadlines.make_voice,
        "DesignVoice": deadlines.make_voice,
    }
    return own.get(name, deadlines.read)


def _unknown_method(path: str) -> Handler:
    async def refuse(_: object, context: Context) -> NoReturn:
        error = MethodNotFoundError("This service has no such method; reflection or the protos list them.")
        await _abort(context, error, telemetry.Call(path).request_id)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort(context: Context, error: PixvoxError, request_id: str) -> NoReturn:
    status = error.to_status(request_id)
    await context.abort(error.code, status.message, trailing_metadata=((STATUS_TRAILER, status.SerializeToString()),))
    raise AssertionError("abort always raises")
