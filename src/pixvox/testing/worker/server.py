"""The emulated worker itself: one port, any number of models, and what it remembers."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Self

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.faults import Faults
from pixvox.testing.journals import Journal, without_secrets
from pixvox.testing.listening import listening
from pixvox.testing.worker import paintings, sounds
from pixvox.testing.worker.answers import CAPABILITIES, described, document, error_body, failure, page
from pixvox.testing.worker.faults import Cut, Failing, NoEnd, Nonsense, NoResult, Page, Refused, Slow
from pixvox.testing.worker.jobs import Jobs
from pixvox.testing.worker.record import Record, UnreadableError, read_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pixvox.testing.worker.faults import Effect, Operation
    from pixvox.testing.worker.paintings import Order

_ROUTES = {
    "/v1/images/generations": "generate",
    "/v1/images/edits": "edit",
    "/process": "process",
    "/v1/audio/speech": "speech",
    "/health": "health",
}
_EVENTS = {"generate": "image_generation", "edit": "image_edit"}
_OPEN = frozenset({"/livez", "/health", "/metrics"})
# What a picture becomes that is none.
_NO_PICTURE = b"no picture at all"


class _GoneError(Exception):
    """The connection has been closed because it was ordered so."""


class WorkerEmulator:
    """A worker to try things with; used as ``async with WorkerEmulator() as worker``.

    Args:
        models: That are served, as the real one serves one alone, each with its capability as in ``GET /models``.
        api_keys: That are good; empty lets everybody in.
        port: To listen at; 0 takes a free one.
        max_concurrent: Requests at a time; one more is refused with 429.
        step_seconds: That a step of a picture takes.
        piece_seconds: Between two pieces of streamed sound.

    Attributes:
        faults: What shall go wrong.
        status: That ``/health`` gives: ``ready``, ``loading``, ``unhealthy`` or ``stopping``.
        others: Requests of somebody else that it has to do beside those of its clients, for ``/health``.
        cancelled: Requests for pictures that were given up by their clients, or called off.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, str] | None = None,
        api_keys: Iterable[str] = (),
        port: int = 0,
        max_concurrent: int = 64,
        step_seconds: float = 0.0,
        piece_seconds: float = 0.0,
    ) -> None:
        self.faults: Faults[Operation, Effect] = Faults()
        self.status = "ready"
        self.others = 0
        self.cancelled = 0
        self._models = dict(CAPABILITIES if models is None else models)
        self._keys = frozenset(api_keys)
        self._port = port
        self._max_concurrent = max_concurrent
        self._step_seconds = step_seconds
        self._piece_seconds = piece_seconds
        self._running = 0
        self._journal: Journal[Record] = Journal()
        self._jobs = Jobs()
        self._runner: web.AppRunner | None = None
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Listen."""
        self._runner, self._port = await listening(self._handle, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; open connections are closed."""
        self._stopping = True
        await self._jobs.aclose()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The address that clients are given."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[Record, ...]:
        """What was asked, in the order of arrival."""
        return tuple(self._journal.records)

    def count(self, operation: str | None = None) -> int:
        """Return how many requests there were for an operation, or for work at all."""
        operations = {"generate", "edit", "process", "speech"} if operation is None else {operation}
        return sum(record.operation in operations for record in self._journal.records)

    def of(self, operation: str) -> list[Record]:
        """Return the requests for an operation."""
        return [record for record in self._journal.records if record.operation == operation]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on this emulator is true."""
        await self._journal.until(condition)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        operation = _ROUTES.get(request.path, "job" if request.path.removeprefix("/v1").startswith("/job") else "")
        record = Record(operation, request.method, request.path, without_secrets(request.headers))
        self._journal.records.append(record)
        self._journal.changed()
        try:
            response = await self._answered(request, record)
        except asyncio.CancelledError:
            record.cancelled = not self._stopping
            self.cancelled += record.cancelled and record.operation in {"generate", "edit", "process"}
            raise
        except ConnectionError:
            record.cancelled = True
            return web.Response()
        except _GoneError:
            return web.Response()
        else:
            record.status, record.finished = response.status, True
            return response
        finally:
            self._journal.changed()

    async def _answered(self, request: web.Request, record: Record) -> web.StreamResponse:
        effect = self.faults.take(record.operation)
        if isinstance(effect, Slow) and effect.after is None:
            await asyncio.sleep(effect.seconds)
        if isinstance(effect, Refused):
            return failure(effect.status, effect.type, effect.param, effect.retry_after)
        if isinstance(effect, Page):
            return page(effect)
        if isinstance(effect, Cut) and effect.after is None:
            _hang_up(request)
        if self._keys and request.path not in _OPEN and not self._knows(request):
            return failure(401, "authentication_error")
        if record.operation == "job":
            response = self._jobs.answer(request.method, request.path)
            self._journal.changed()
            return response
        if request.method == "GET":
            return self._told(request.path)
        return await self._worked(request, record, effect)

    def _knows(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and given in self._keys

    def _told(self, path: str) -> web.Response:
        """Answer what costs nothing."""
        counts = {"queue_depth": self.others + max(0, self._running - 1), "running": min(1, self._running)}
        return described(path, self.status, self._models, counts, self._max_concurrent)

    async def _worked(self, request: web.Request, record: Record, effect: Effect | None) -> web.StreamResponse:
        try:
            if record.operation not in _ROUTES.values() or request.method != "POST":
                raise paintings.WrongError(404, "not_found_error", None)
            await read_body(request, record)
            task = self._task(record)
            order = (
                None if record.operation == "speech" else paintings.order_of(record, edits=record.operation == "edit")
            )
        except UnreadableError:
            return failure(400, "invalid_request_error")
        except paintings.WrongError as error:
            return failure(error.status, error.type, error.param, retry_after=5 if error.status == 503 else None)
        if self._running >= self._max_concurrent:
            return failure(429, "overloaded_error", retry_after=1)
        if record.operation == "process" and order is not None:
            return await self._processed(request, order, effect)
        with self._busy():
            if order is None:
                return await self._spoken(request, record, effect, task)
            return await self._painted(request, record, order, effect)

    def _task(self, record: Record) -> str:
        """Return what the model is for that a request names; refuse what that model does not do.

        Raises:
            WrongError: The worker is not ready, has no such model, or the model does something else.
        """
        if self.status != "ready":
            raise paintings.WrongError(503, "unavailable_error", None)
        name = str(record.body.get("model", next(iter(self._models))))
        if name not in self._models:
            raise paintings.WrongError(404, "not_found_error", "model")
        task = self._models[name]
        if record.operation in _NEEDS and task not in _NEEDS[record.operation]:
            raise paintings.WrongError(400, "unsupported_task", None if record.operation == "speech" else "image")
        if record.operation != "speech":
            return task
        checkpoint = _CHECKPOINTS[task]
        if wrong := sounds.wrong(record.body, checkpoint):
            raise paintings.WrongError(400, "invalid_request_error", wrong)
        return checkpoint

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _painted(
        self, request: web.Request, record: Record, order: Order, effect: Effect | None
    ) -> web.StreamResponse:
        job_id = uuid.uuid4().hex
        streamed = str(record.body.get("stream", False)).lower() == "true"
        if not streamed:
            await asyncio.sleep(order.steps * self._step_seconds)
            if isinstance(effect, Failing):
                return failure(effect.status, effect.type)
            files = await asyncio.to_thread(_files, order, effect)
            return document("images", order, files, broken=isinstance(effect, Nonsense), headers={"X-Job-Id": job_id})
        with self._jobs.streaming(job_id) as called_off:
            response = await self._begun(request, record, {"X-Job-Id": job_id, "Cache-Control": "no-cache"})
            for step in range(1, order.steps + 1):
                await asyncio.sleep(self._step_seconds)
                event = paintings.step_event(job_id, step, order.steps)
                if called_off.is_set():
                    self.cancelled += 1
                    event = sounds.event("error", error=error_body(499, "cancelled"))
                if not await self._event(request, response, record, event, effect):
                    return await _ended(response)
            files = await asyncio.to_thread(_files, order, effect)
            for event in paintings.picture_events(_EVENTS[record.operation], order, files):
                if isinstance(effect, NoEnd) or not await self._event(request, response, record, event, effect):
                    break
            return await _ended(response)

    async def _spoken(
        self, request: web.Request, record: Record, effect: Effect | None, task: str
    ) -> web.StreamResponse:
        pcm = b"" if isinstance(effect, NoResult) else await asyncio.to_thread(sounds.samples, record.body, task)
        rate = {"X-Sample-Rate": str(record.body.get("sample_rate", sounds.RATE)), "X-Job-Id": uuid.uuid4().hex}
        if isinstance(effect, Failing) and not effect.after:
            # The head is sent with the first event, so that what fails before it has a status.
            return failure(effect.status, effect.type)
        if not record.body.get("stream") and record.body.get("stream_format") != "sse":
            return document("speech", record.body, [pcm], broken=isinstance(effect, Nonsense), headers=rate)
        response = await self._begun(request, record, rate)
        for event in sounds.events(record.body, pcm):
            last = b"speech.audio.done" in event
            if last and isinstance(effect, NoEnd):
                break
            if not await self._event(request, response, record, event, effect, name="speech.audio.error"):
                break
            await asyncio.sleep(0 if last else self._piece_seconds)
        return await _ended(response)

    async def _processed(self, request: web.Request, order: Order, effect: Effect | None) -> web.StreamResponse:
        async def work() -> web.Response:
            with self._busy():
                pause = effect.seconds if isinstance(effect, Slow) else order.steps * self._step_seconds
                await asyncio.sleep(pause)
                if isinstance(effect, Failing):
                    return failure(effect.status, effect.type)
                files = await asyncio.to_thread(_files, order, effect)
                return document("process", order, files, broken=isinstance(effect, Nonsense))

        if "respond-async" not in request.headers.get("Prefer", ""):
            return await work()

        def over(*, cancelled: bool) -> None:
            self.cancelled += cancelled
            self._journal.changed()

        return self._jobs.begun(work(), over)

    async def _begun(self, request: web.Request, record: Record, headers: Mapping[str, str]) -> web.StreamResponse:
        numbered = {"Content-Type": "text/event-stream", "X-Request-Id": uuid.uuid4().hex, **headers}
        response = web.StreamResponse(headers=numbered)
        response.enable_chunked_encoding()
        await response.prepare(request)
        record.status = 200
        return response

    async def _event(
        self,
        request: web.Request,
        response: web.StreamResponse,
        record: Record,
        event: bytes,
        effect: Effect | None,
        name: str = "error",
    ) -> bool:
        """Send an event or what was ordered in its place, and tell whether others may follow."""
        if isinstance(effect, Slow) and effect.after == record.events:
            await asyncio.sleep(effect.seconds)
        if isinstance(effect, Cut) and effect.after == record.events:
            _hang_up(request)
        if isinstance(effect, Failing) and effect.after == record.events:
            more = {} if name == "error" else {"partial_audio": True, "action": "discard"}
            event = sounds.event(name, error=error_body(effect.status, effect.type), **more)
        broken = isinstance(effect, Nonsense)
        await response.write(b'data: {"type":\n\n' if broken else event)
        record.events += 1
        self._journal.changed()
        return not broken and f"event: {name}\n".encode() not in event


_NEEDS = {
    "generate": frozenset({"text-to-image"}),
    "edit": frozenset({"image-editing"}),
    "speech": frozenset({"custom-voice", "voice-design", "voice-clone"}),
}
_CHECKPOINTS = {"custom-voice": "CustomVoice", "voice-design": "VoiceDesign", "voice-clone": "Base"}


def _files(order: Order, effect: Effect | None) -> list[bytes]:
    return [_NO_PICTURE] * order.count if isinstance(effect, NoResult) else order.files()


async def _ended(response: web.StreamResponse) -> web.StreamResponse:
    await response.write_eof()
    return response


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise _GoneError
