"""The emulated edge itself: proxy keys, refusals, cold starts, and redirects for what takes long."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Literal, Self

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.listening import listening
from pixvox.testing.modal.answers import Answer, ContractError
from pixvox.testing.modal.clocks import Clock, WallClock, waited
from pixvox.testing.modal.faults import AppAnswer, Cut, Faults, Verbatim, edge_answer
from pixvox.testing.modal.record import Journal, RequestRecord
from pixvox.testing.modal.worker import Asked, Worker, health, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from pixvox.testing.modal.speech import Kind

CALL_ID = "__modal_function_call_id"
REDIRECT_SECONDS = 150.0

_OPERATIONS = {
    ("POST", "/process"): "edit",
    ("POST", "/v1/images/generations"): "generate",
    ("POST", "/v1/audio/speech"): "speech",
    ("GET", "/health"): "health",
}


class ModalEmulator:
    """A deployment to try things with; used as ``async with ModalEmulator() as edge``. It begins at scale zero.

    Args:
        kind: ``function`` queues requests and redirects those that take long; ``server`` refuses them while it is cold.
        key: Of the proxy token; empty lets everybody in.
        secret: Of the proxy token.
        redirect_seconds: After which a function's request is redirected; 150 at Modal.
        cold_seconds: That a container takes to start.
        work_seconds: That one picture takes, or speech until it begins.
        models: That the worker takes for its own.
        speech: What its model is that speaks, or each of several, as no real worker has them; None if it has none.
        piece_seconds: That one character takes to be spoken.
        clock: By which all this time passes; unset means the wall's.

    Attributes:
        faults: What shall go wrong.
        stopped: Whether the app is.
        spent: Whether the workspace has spent what it may.
        max_concurrency: Requests that a server takes at once; 0 is no limit.
        holding: Requests that are being held until there is something to answer.
        worker: Behind the edge.
    """

    def __init__(  # noqa: PLR0913 - a deployment has as many settings
        self,
        *,
        kind: Literal["function", "server"] = "function",
        key: str = "",
        secret: str = "",
        redirect_seconds: float = REDIRECT_SECONDS,
        cold_seconds: float = 0.0,
        work_seconds: float = 0.0,
        models: Collection[str] = ("Qwen-Image", "Qwen-Image-Edit"),
        speech: Kind | Mapping[str, Kind] | None = None,
        piece_seconds: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self.faults = Faults()
        self.stopped = False
        self.spent = False
        self.max_concurrency = 0
        self.holding = 0
        self._clock = clock or WallClock()
        self.worker = Worker(models, work_seconds, self._clock, speech, piece_seconds)
        self._kind = kind
        self._token = (key, secret)
        self._redirect_seconds = redirect_seconds
        self._cold_seconds = cold_seconds
        self._ready_at: float | None = None
        self._journal = Journal()
        self._calls: dict[str, asyncio.Task[Answer]] = {}
        self._running = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port of this machine."""
        self._runner, self._port = await listening(self._handle)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; work that is under way is broken off."""
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._calls.values():
            task.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)

    @property
    def url(self) -> str:
        """The address of the deployment."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """What was asked, in the order of arrival."""
        return tuple(self._journal.records)

    @property
    def warm(self) -> bool:
        """Whether a container is up."""
        return self._ready_at is not None and self._clock() >= self._ready_at

    def scale_to_zero(self) -> None:
        """Stop the containers, as after the time of scale-down."""
        self._ready_at = None

    def count(self, operation: str) -> int:
        """Return how many requests there were for an operation; see `RequestRecord.operation`."""
        return self._journal.count(operation)

    def lose(self) -> None:
        """Forget every call that was redirected, as when their time is over."""
        for task in self._calls.values():
            task.cancel()
        self._calls.clear()

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        """Wait until a condition is true; raises `TimeoutError` after `seconds`."""
        await self._journal.until(condition, seconds)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call_id = request.query.get(CALL_ID, "")
        operation = "result" if call_id else _OPERATIONS.get((request.method, request.path), "")
        record = self._journal.begin(operation, request.method, request.path, request.query, request.headers)
        try:
            answer = await self._answered(request, record, call_id)
        except ContractError as error:
            answer = error.answer
        except asyncio.CancelledError:
            record.left = True
            raise
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        record.status = answer.status
        headers = {**answer.headers, "Content-Type": answer.content_type}
        if answer.pieces is not None:
            response = web.StreamResponse(status=answer.status, headers=headers)
            return await _streamed(request, record, response, answer.pieces)
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    async def _answered(self, request: web.Request, record: RequestRecord, call_id: str) -> Answer | None:
        """Return the answer, None for none at all."""
        effect = self.faults.take(record.operation)
        refusal = self._refusal(request)
        if refusal is not None:
            return _verbatim(refusal)
        if isinstance(effect, Verbatim):
            return _verbatim(effect)
        if call_id:
            return None if isinstance(effect, Cut) else await self._resumed(request, record, call_id)
        if self._kind == "server" and not self.warm:
            self._start()
            return _verbatim(edge_answer(503, "no container is ready"))
        if not record.operation:
            return _verbatim(edge_answer(404, "invalid path"))
        if self._kind == "server" and self.max_concurrency and self._running >= self.max_concurrency:
            return _verbatim(edge_answer(429, "max concurrency reached"))
        asked = Asked({}) if record.operation == "health" else await read(request, record.operation)
        record.fields = asked.fields

        async def work() -> Answer:
            self._running += 1
            try:
                await self._started()
                if record.operation == "health":
                    return _failed(effect) or health()
                return await self.worker.perform(record.operation, asked, effect)
            finally:
                self._running -= 1

        call_id = f"fc-{secrets.token_hex(8)}"
        task = self._calls[call_id] = asyncio.create_task(work())
        answer = await self._waited(request, task, call_id)
        return None if isinstance(effect, Cut) else answer

    def _refusal(self, request: web.Request) -> Verbatim | None:
        """Return what the edge says without asking anybody, None if nothing is wrong."""
        sent = (request.headers.get("Modal-Key", ""), request.headers.get("Modal-Secret", ""))
        if self.stopped:
            return edge_answer(404, "app for invoked web endpoint is stopped")
        if any(self._token) and sent != self._token:
            what = "invalid" if all(sent) else "missing"
            return edge_answer(401, f"{what} credentials for proxy authorization")
        if self.spent:
            return edge_answer(429, "workspace billing cycle spend limit reached")
        return None

    async def _resumed(self, request: web.Request, record: RequestRecord, call_id: str) -> Answer:
        if request.method != "GET":
            return _verbatim(edge_answer(400, "bad redirect method"))
        task = self._calls.get(call_id)
        if task is None:
            return _verbatim(edge_answer(408, "missing request, possibly due to expiry or cancellation"))
        record.fields = {"call_id": call_id}
        return await self._waited(request, task, call_id)

    async def _waited(self, request: web.Request, task: asyncio.Task[Answer], call_id: str) -> Answer:
        seconds = self._redirect_seconds if self._kind == "function" else None
        self.holding += 1
        try:
            await waited(task, seconds, self._clock)
        except asyncio.CancelledError:
            # Only before the first redirect does the work depend on the connection.
            if CALL_ID not in request.query:
                task.cancel()
            raise
        finally:
            self.holding -= 1
        if task.cancelled():
            return _verbatim(edge_answer(408, "missing request, possibly due to expiry or cancellation"))
        if task.done():
            return task.result()
        location = f"{self.url}{request.path}?{CALL_ID}={call_id}"
        return Answer(303, b"", "text/plain", {"Location": location})

    def _start(self) -> None:
        if self._ready_at is None:
            self._ready_at = self._clock() + self._cold_seconds

    async def _started(self) -> None:
        self._start()
        await self._clock.sleep(max(0.0, (self._ready_at or 0.0) - self._clock()))


async def _streamed(
    request: web.Request, record: RequestRecord, response: web.StreamResponse, pieces: AsyncIterator[bytes | None]
) -> web.StreamResponse:
    try:
        await response.prepare(request)
        async for piece in pieces:
            if piece is None:
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write(piece)
    except asyncio.CancelledError:
        record.left = True
        raise
    except ConnectionError:
        record.left = True
        return response
    await response.write_eof()
    return response


def _verbatim(ordered: Verbatim) -> Answer:
    return Answer(ordered.status, ordered.body, ordered.content_type, ordered.headers)


def _failed(effect: object) -> Answer | None:
    if not isinstance(effect, AppAnswer):
        return None
    body = f'{{"status": "loading", "error": {{"message": "{effect.message}", "type": "{effect.type}"}}}}'
    return Answer(effect.status, body.encode())
