"""Everything around every RPC: its record, caller and deadline, its server span, its log line, its errors as statuses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import unquote

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
    ShuttingDownError,
    Violation,
    reason_name,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    from google.protobuf.message import Message
    from opentelemetry.trace import Span

    from pixvox.idempotency import Idempotency
    from pixvox.settings import DeadlineSettings
    from pixvox.telemetry import Call, Telemetry

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    # The bytes of an answer that was serialised before.
    Answer = Message | bytes | None
    Metadata = Sequence[tuple[str, str | bytes]]
    Trailers = tuple[tuple[str, str], ...]

log = structlog.get_logger("pixvox.calls")

PACKAGE = "pixvox.v1."
HEAR_OUT_SECONDS = 0.1
MAX_CALLER = 128
# The field of the settings that has the deadline of each method that is billed.
BILLABLE = {
    "GenerateImage": "generate_image",
    "EditImage": "edit_image",
    "StreamSpeech": "stream_speech",
    "SynthesizeSpeech": "synthesize_speech",
    "CloneVoice": "make_voice",
    "DesignVoice": "make_voice",
}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of this package's services; those of health and reflection pass through.

    Args:
        telemetry: Of the server.
        deadlines: Tells those that are in force.
        idempotency: Makes billable calls once.
        caller_metadata: Key of the metadata in which callers give their names; empty if they may not.
        trailers: Tells what is sent at the end of every call, however it ends.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        deadlines: Callable[[], DeadlineSettings],
        idempotency: Idempotency,
        *,
        caller_metadata: str = "",
        trailers: Callable[[], Trailers] = tuple,
    ) -> None:
        self._telemetry = telemetry
        self._deadlines = deadlines
        self._idempotency = idempotency
        self._caller_metadata = caller_metadata
        self._trailers = trailers
        self._wrapped: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refusing = False
        self._cut = False

    @property
    def in_flight(self) -> int:
        """The number of calls that are running."""
        return len(self._tasks)

    def running(self) -> set[asyncio.Task[Any]]:
        """Return the tasks of the calls that are running now, and of work that goes on without its callers."""
        return self._tasks | self._idempotency.running()

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
            return _unknown_method(path, self._trailers())
        if not path.startswith(f"/{PACKAGE}"):
            return handler
        # Only methods that exist are kept, so a caller cannot grow the table.
        self._wrapped[path] = wrapped = self._wrap(path.removeprefix("/"), handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        # The stubs give the behaviours of grpc.aio the types of blocking ones.
        whole = cast("Callable[[Message, Context], Awaitable[Message]]", handler.unary_unary)
        streamed = cast("Callable[[AsyncIterator[Message], Context], Awaitable[None]]", handler.stream_stream)
        name = method.rpartition("/")[2]

        async def unary(request: Message, context: Context) -> Answer:
            call = telemetry.Call(method)
            violation = _take_request_id(request, call)
            if violation is not None or name in BILLABLE:
                return await self._run(
                    call, context, lambda: self._once(call, request, violation, lambda: whole(request, context))
                )
            return await self._run(call, context, lambda: whole(request, context))

        async def stream(requests: AsyncIterator[Message], context: Context) -> None:
            call = telemetry.Call(method)
            await self._run(call, context, lambda: streamed(requests, context), requests)

        serializer = _serializer(handler.response_serializer)
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, handler.request_deserializer, serializer)
        return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, serializer)

    async def _once(
        self, call: Call, request: Message, violation: Violation | None, work: Callable[[], Awaitable[Message]]
    ) -> Message | bytes:
        """Make a billable call, unless it was made before or is being made."""
        if violation is not None:
            raise InvalidRequestError("The request id cannot be used.", violation)
        if _given_request_id(request):
            return await self._idempotency.once(call, request, lambda: self._foreseen(call, work))
        if self._idempotency.shares(call.method, request):
            return await self._idempotency.shared(call, request, lambda: self._foreseen(call, work))
        return await work()

    async def _run(
        self,
        call: Call,
        context: Context,
        work: Callable[[], Awaitable[Answer]],
        requests: AsyncIterator[Message] | None = None,
    ) -> Answer:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._tasks.add(task)
        self._telemetry.instruments.calls_in_flight.add(1, {telemetry.RPC_METHOD: call.method})
        started = time.monotonic()
        outcome = _Outcome()
        metadata = cast("Metadata", context.invocation_metadata() or ())
        call.caller = _host(context.peer())
        trailers = self._trailers()
        if trailers:
            context.set_trailing_metadata(trailers)
        try:
            with telemetry.calling(call), self._span(call, metadata) as span:
                try:
                    call.caller = self._name(metadata) or call.caller
                    return await self._translated(call, context, work)
                except PixvoxError as error:
                    outcome.failed(error)
                    raise
                except asyncio.CancelledError:
                    outcome.cancelled()
                    raise
                finally:
                    self._record(call, outcome, span, time.monotonic() - started)
        except PixvoxError as error:
            if requests is not None:
                await _hear_out(requests)
            await _abort(context, error, call.request_id, trailers)
        finally:
            self._tasks.discard(task)
            self._telemetry.instruments.calls_in_flight.add(-1, {telemetry.RPC_METHOD: call.method})

    def _name(self, metadata: Metadata) -> str:
        """Return the caller's name for itself, empty if it gave none or may not."""
        key = self._caller_metadata
        given = [value for name, value in metadata if name == key] if key else []
        if not given:
            return ""
        name = given[0]
        if len(given) > 1 or not isinstance(name, str) or not 1 <= len(name) <= MAX_CALLER or not _printable(name):
            raise InvalidRequestError(
                f"The metadata {key} does not name one caller.",
                Violation(f"metadata {key}", f"allowed: once, 1..{MAX_CALLER} printable ASCII characters"),
            )
        return name

    async def _translated(self, call: Call, context: Context, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run the work within its time; whatever it raises leaves as a PixvoxError or a CancelledError."""
        if self._refusing:
            raise ShuttingDownError("This instance is shutting down and takes no new calls.", retry_after=1.0)
        seconds = self._seconds(call.method, _remaining(context))
        call.deadline = time.monotonic() + seconds
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

    async def _foreseen(self, call: Call, work: Callable[[], Awaitable[Message]]) -> Message:
        """Do work that several callers wait for; its fault is in the log once."""
        try:
            return await work()
        except PixvoxError:
            raise
        except Exception as error:
            raise self._unexpected(call, error) from error

    def _seconds(self, method: str, remaining: float | None) -> float:
        """Return how long a call may take whose caller waits so long, None if it does not say."""
        deadlines = self._deadlines()
        if remaining is None:
            remaining = getattr(deadlines, BILLABLE.get(method.rpartition("/")[2], "read"))
        return min(remaining, deadlines.longest)

    @staticmethod
    def _unexpected(call: Call, error: Exception) -> InternalError:
        log.error("call failed unexpectedly", method=call.method, request_id=call.request_id, exc_info=error)
        return InternalError(f"The service failed. Its log has the details under request id {call.request_id}.")

    def _span(self, call: Call, metadata: Metadata) -> AbstractContextManager[Span]:
        if not self._telemetry.recording:
            return self._telemetry.tracer.start_as_current_span(call.method)
        parent = {key: str(value) for key, value in metadata if key in self._telemetry.context_keys}
        return self._telemetry.tracer.start_as_current_span(
            call.method,
            context=telemetry.incoming_context(parent) if parent else otel_context.Context(),
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
        self._telemetry.instruments.call_duration.record(seconds, attributes)
        if outcome.reason:
            labels = {
                telemetry.RPC_METHOD: call.method,
                telemetry.RPC_STATUS_CODE: outcome.code,
                telemetry.REASON: outcome.reason,
            }
            self._telemetry.instruments.calls_failed.add(1, labels)
        log.info(
            "call",
            method=call.method,
            code=outcome.code,
            reason=outcome.reason or None,
            request_id=call.request_id,
            caller=call.caller,
            provider=call.provider or None,
            model=call.model or None,
            seconds=round(seconds, 4),
        )


class _Outcome:
    """How a call ended: OK unless something else was said."""

    def __init__(self) -> None:
        self.code = "OK"
        self.reason = ""

    def failed(self, error: PixvoxError) -> None:
        self.code, self.reason = error.code.name, reason_name(error.reason)

    def cancelled(self) -> None:
        late = telemetry.cancellation() == telemetry.DEADLINE_EXCEEDED
        self.code = "DEADLINE_EXCEEDED" if late else "CANCELLED"


def _remaining(context: Context) -> float | None:
    """Return the seconds that the caller still waits; None, which the stubs leave out, if it set no deadline."""
    return cast("float | None", context.time_remaining())


def _host(peer: str) -> str:
    """Return the network address in what grpc.aio calls a peer, without the port."""
    family, _, address = peer.partition(":")
    if family not in {"ipv4", "ipv6"}:
        return family
    return unquote(address).rpartition(":")[0].strip("[]")


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _serializer(serialize: Callable[[Message], bytes] | None) -> Callable[[Message | bytes], bytes] | None:
    """Return a serializer that lets pass what was serialised before."""
    if serialize is None:
        return None
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


async def _hear_out(requests: AsyncIterator[Message]) -> None:
    """Read what is already on its way, before a stream is ended with an error.

    The client of grpc.aio (1.85.0) takes the end of a stream that it is still writing to for an internal error, and its
    caller would never learn the reason.
    """
    with contextlib.suppress(TimeoutError, grpc.aio.UsageError, grpc.aio.InternalError):
        async with asyncio.timeout(HEAR_OUT_SECONDS):
            async for _ in requests:
                pass


def _take_request_id(request: Message, call: Call) -> Violation | None:
    """Make the caller's request id that of the call, if it gave a usable one."""
    identifier = _given_request_id(request)
    if not identifier:
        return None
    prefix = "config." if hasattr(request, "config") else ""
    violation = limits.violation_of_request_id(identifier, f"{prefix}request_id")
    if violation is None:
        call.request_id = identifier
    return violation


def _given_request_id(request: Message) -> str:
    return str(getattr(getattr(request, "config", request), "request_id", ""))


def _unknown_method(path: str, trailers: Trailers) -> Handler:
    async def refuse(_: object, context: Context) -> NoReturn:
        error = MethodNotFoundError("This service has no such method; reflection or the protos list them.")
        await _abort(context, error, telemetry.Call(path).request_id, trailers)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort(context: Context, error: PixvoxError, request_id: str, trailers: Trailers) -> NoReturn:
    status = error.to_status(request_id)
    details = (STATUS_TRAILER, status.SerializeToString())
    await context.abort(error.code, status.message, trailing_metadata=(details, *trailers))
    raise AssertionError("abort always raises")
