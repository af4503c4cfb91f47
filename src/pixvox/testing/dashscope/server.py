"""The emulator itself: one port for HTTP and WebSocket, who may ask, and who answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Self

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.dashscope import delivery, images, realtime, routes, speech
from pixvox.testing.dashscope.envelope import Answer, RefusedError, invalid, new_request_id, refused
from pixvox.testing.dashscope.faults import Cut, Faults, Raw, Refused, Stalled
from pixvox.testing.dashscope.files import Files
from pixvox.testing.dashscope.rates import TASK_POLLS, Rates, rate_of
from pixvox.testing.dashscope.reach import Reach
from pixvox.testing.dashscope.record import Exchange, Journal, RequestRecord
from pixvox.testing.dashscope.tasks import TaskRecord, Tasks
from pixvox.testing.dashscope.vendor import Behaviour, Call, Vendor
from pixvox.testing.dashscope.voices import CustomVoice, Voices
from pixvox.testing.listening import listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from pixvox.testing.dashscope.faults import Effects
    from pixvox.testing.dashscope.routes import Route


class DashScopeEmulator:
    """A vendor to try things with: it checks, makes, bills and fails as the reference says, and remembers what it was asked.

    Used as ``async with DashScopeEmulator() as emulator``.

    Attributes:
        faults: What shall go wrong.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_keys: Collection[str] = ("sk-test",),
        behaviour: Behaviour | None = None,
        public_base: str | None = None,
        records_kept: int = 10_000,
        on_end: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        """Prepare the emulator.

        Args:
            host: To listen at.
            port: To listen at; 0 takes a free one.
            api_keys: That are good.
            behaviour: What the vendor is like.
            public_base: What result URLs begin with, where clients reach the emulator by another name.
            records_kept: How many requests are remembered.
            on_end: Is told of each request when it is over.
        """
        self.faults = Faults()
        self._host = host
        self._port = port
        self._keys = frozenset(api_keys)
        self._public_base = public_base
        self._on_end = on_end
        self._journal = Journal(records_kept)
        self._vendor = Vendor(behaviour or Behaviour(), Files(), Voices(), Tasks(), Rates(), Reach())
        self._runner: web.AppRunner | None = None
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Listen."""
        self._runner, self._port = await listening(self._handle, self._port, self._host)
        self._vendor.files.base = self._public_base or f"http://{self._authority}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; open connections are closed."""
        self._stopping = True
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def http_base(self) -> str:
        """The base URL of HTTP, as the vendor's ends with ``/api/v1``."""
        return f"http://{self._authority}{routes.HTTP_PATH}"

    @property
    def ws_base(self) -> str:
        """The base URL of WebSockets, as the vendor's ends with ``/api-ws/v1``."""
        return f"ws://{self._authority}{routes.WEBSOCKET_PATH}"

    @property
    def behaviour(self) -> Behaviour:
        """What the vendor is like; a new one holds from the next request on."""
        return self._vendor.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._vendor.behaviour = behaviour

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """What was asked, in the order of arrival."""
        return self._journal.records()

    @property
    def voices(self) -> tuple[CustomVoice, ...]:
        """The custom voices that exist."""
        return self._vendor.voices.all()

    @property
    def tasks(self) -> tuple[TaskRecord, ...]:
        """The asynchronous tasks."""
        return self._vendor.tasks.records(self.behaviour)

    @property
    def internet(self) -> dict[str, bytes]:
        """Files by URL that the vendor can fetch, beside those of this machine; to be filled by tests."""
        return self._vendor.reach.web

    def count(self, operation: str | None = None) -> int:
        """Return how many requests there were for an operation, or at all."""
        return self._journal.count(operation)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on this emulator is true; it is asked again whenever a request has got further."""
        await self._journal.until(condition)

    @property
    def _authority(self) -> str:
        host = "127.0.0.1" if self._host in {"0.0.0.0", ""} else self._host  # noqa: S104  # compared, not bound
        return f"{host}:{self._port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        body = _decoded(data)
        known = body if isinstance(body, dict) else {}
        route = routes.find(request.method, request.path, request.headers, known)
        exchange = self._journal.begin(
            operation=route.operation if route is not None else "",
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            json=body,
            body_bytes=len(data),
        )
        try:
            return await self._answered(request, route, known, exchange)
        except asyncio.CancelledError:
            if not self._stopping:
                exchange.client_left()
            raise
        except delivery.CutError:
            return web.Response()
        except ConnectionError:
            exchange.client_left()
            return web.Response()
        finally:
            if self._on_end is not None:
                self._on_end(exchange.record())

    async def _answered(
        self, request: web.Request, route: Route | None, body: dict[str, object], exchange: Exchange
    ) -> web.StreamResponse:
        effects = self.faults.take(exchange.operation)
        exchange.effects = tuple(type(effect).__name__ for effect in effects.all)
        call = Call(
            vendor=self._vendor,
            request_id=new_request_id(),
            body=body,
            headers=request.headers,
            query=request.query,
            tail=route.tail if route is not None else "",
            exchange=exchange,
            effects=effects,
        )
        try:
            await _stall(effects)
            ordered = _ordered(call)
            if ordered is not None:
                return await delivery.deliver(request, call, ordered)
            if route is None:
                raise RefusedError(404, "NotFound", f"There is nothing at {exchange.method} {exchange.path}.")
            self._admit(call, route)
            return await self._performed(request, call, route)
        except RefusedError as error:
            answer = refused(call.request_id, error.status, error.code, error.message)
            return await delivery.deliver(request, call, answer)

    def _admit(self, call: Call, route: Route) -> None:
        """Check the key, the workspace, the body and the rate."""
        if route.needs_key:
            self._check_key(call)
        if route.needs_body and not call.body:
            raise invalid("The body must be a JSON object.")
        if not self.behaviour.rate_limits:
            return
        if route.operation in {"task_get", "task_list"}:
            self._vendor.rates.take("tasks", TASK_POLLS)
        model = call.query.get("model") or call.body.get("model")
        # What a realtime limit counts is not stated; here it is sessions. [guess]
        if isinstance(model, str):
            self._vendor.rates.take(model, rate_of(model, self.behaviour.region))

    def _check_key(self, call: Call) -> None:
        scheme, _, key = call.headers.get("Authorization", "").partition(" ")
        if not key:
            raise RefusedError(401, "InvalidApiKey", "No API-key provided.")
        if key in self.behaviour.foreign_keys:
            # There is no code of its own for the wrong region, and the wording is not certain. [guess]
            raise RefusedError(401, "InvalidApiKey", "Incorrect API key provided.")
        if scheme.lower() != "bearer" or key not in self._keys:
            raise RefusedError(401, "InvalidApiKey", "Invalid API-key provided.")
        workspace = call.headers.get("X-DashScope-WorkSpace")
        known = self.behaviour.workspaces
        if workspace is not None and known is not None and workspace not in known:
            raise RefusedError(404, "WorkSpaceNotFound", "The workspace does not exist.")

    async def _performed(self, request: web.Request, call: Call, route: Route) -> web.StreamResponse:
        if route.operation == "realtime":
            return await _upgraded(request, call)
        if route.operation == "speech_sse":
            stream = speech.streamed(call)
            call.exchange.usage = stream.usage
            return await delivery.deliver_events(request, call, stream)
        answer = await self._performers[route.operation](call)
        call.exchange.usage = answer.usage
        return await delivery.deliver(request, call, answer)

    @property
    def _performers(self) -> dict[str, Callable[[Call], Awaitable[Answer]]]:
        tasks, voices = self._vendor.tasks, self._vendor.voices
        return {
            "generate": images.made,
            "edit": images.made,
            "speech_http": speech.spoken,
            "task_create": tasks.create,
            "task_get": tasks.get,
            "task_cancel": tasks.cancel,
            "task_list": tasks.list,
            "voice_create": voices.create,
            "voice_list": voices.list,
            "voice_query": voices.query,
            "voice_delete": voices.delete,
            "download": self._vendor.files.answer,
        }


def _decoded(data: bytes) -> object:
    """Return the JSON, or None."""
    try:
        value: object = json.loads(data) if data else None
    except ValueError:
        return None
    return value


async def _stall(effects: Effects) -> None:
    stall = effects.one(Stalled)
    if stall is not None and stall.after is None:
        await asyncio.sleep(stall.seconds)


def _ordered(call: Call) -> Answer | None:
    """Return an answer that was ordered as it is."""
    raw = call.effects.one(Raw)
    if raw is not None:
        return Answer(raw.status, raw.body, raw.content_type)
    ordered = call.effects.one(Refused)
    if ordered is None:
        return None
    headers = {} if ordered.retry_after is None else {"Retry-After": f"{ordered.retry_after:g}"}
    if not ordered.code:
        return Answer(ordered.status, b"{}", headers=headers)
    answer = refused(call.request_id, ordered.status, ordered.code, ordered.message)
    return Answer(answer.status, answer.body, headers={**answer.headers, **headers})


async def _upgraded(request: web.Request, call: Call) -> web.StreamResponse:
    cut = call.effects.one(Cut)
    if cut is not None and cut.after is None:
        delivery.hang_up(request, call.exchange)
    if not web.WebSocketResponse().can_prepare(request).ok:
        raise RefusedError(400, "BadRequest.IllegalInput", "This is a WebSocket.")
    return await realtime.serve(request, call)
