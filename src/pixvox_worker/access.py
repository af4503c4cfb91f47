"""What every request passes on its way in: the key, the size of the body, a number, and the count."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from pixvox_worker import telemetry
from pixvox_worker.deadlines import ARRIVED
from pixvox_worker.failures import DeadlineExceeded, Failure, TooLarge, Unauthorized

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pixvox_worker.metrics import Metrics
    from pixvox_worker.settings import Settings
    from pixvox_worker.spans import Request, Spans
    from pixvox_worker.uploads import Uploads

_log = logging.getLogger(__name__)
# Probes and the scraper have no key to give.
_OPEN = frozenset({"/livez", "/health", "/metrics"})
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
# Between two pieces of a body: whoever is silent for longer is not sending it.
_QUIET_SECONDS = 30.0


class Access:
    """The outermost layer of the application, plain ASGI so that a disconnect reaches those inside."""

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: Metrics, uploads: Uploads, spans: Spans | None = None
    ) -> None:
        self._app = app
        self._spans = spans
        self._keys = tuple(key.encode() for key in settings.api_keys)
        self._max_bytes = settings.max_upload_mb * 1024 * 1024
        self._longest = settings.request_timeout
        self._metrics = metrics
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._uploads, self._max_bytes, time.monotonic() + self._longest)
        exchange = _Exchange(scope, body, send)
        scope[ARRIVED] = exchange.begun
        span = self._span(scope, exchange)
        telemetry.enter(exchange.headers, span)
        try:
            self._check(scope, exchange.headers)
            await self._app(scope, body.receive, exchange.send)
        except Failure as failure:
            await exchange.refuse(failure)
        except ClientDisconnect:
            # It left in the middle of its own body: nobody's fault, and nobody to answer.
            _log.debug("the caller left while it sent its body")
        except Exception:
            # The framework answers it outside of this layer.
            exchange.status, exchange.started = 500, True
            raise
        finally:
            body.let_go()
            self._record(scope, exchange)
            if span is not None:
                span.end(scope, exchange.status if exchange.started else None)

    def _span(self, scope: Scope, exchange: _Exchange) -> Request | None:
        """Of a request that works or changes something; those that look are too many and tell nothing."""
        if self._spans is None or scope["method"] != "POST":
            return None
        return self._spans.begin(scope, exchange.headers, exchange.request_id)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if self._keys and scope["path"] not in _OPEN:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not self._knows(given.strip()):
                message = "A known key is needed: Authorization: Bearer KEY."
                raise Unauthorized(message)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_bytes:
            raise _too_large(self._max_bytes)

    def _knows(self, given: bytes) -> bool:
        """Compared with every key, so that the time tells nothing."""
        return any([hmac.compare_digest(given, key) for key in self._keys])  # noqa: C419 - a generator would stop early

    def _record(self, scope: Scope, exchange: _Exchange) -> None:
        # The pattern and not the path: job ids would make a series each.
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.requests.labels(route, str(exchange.status)).inc()
        _log.info(
            "%s %s %s in %.3f s, request %s",
            scope["method"],
            route,
            exchange.status,
            time.monotonic() - exchange.begun,
            exchange.request_id,
        )


class _Body:
    """The body of one request as it comes in, bounded by itself, together with all others, and in time."""

    def __init__(self, receive: Receive, uploads: Uploads, max_bytes: int, deadline: float) -> None:
        self._receive = receive
        self._uploads = uploads
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._held = 0
        self._whole = False
        self.late = False
        """Whether it was given up, so that the connection cannot be used again."""

    async def receive(self) -> Message:
        """The next piece of the body, as long as they are not too many, and after the last what the caller does.

        Raises:
            Failure: there is too much of it, or it takes too long.
        """
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, min(_QUIET_SECONDS, self._deadline - time.monotonic()))):
                message = await self._receive()
        except TimeoutError:
            self.late = True
            raise DeadlineExceeded("The request did not arrive in time.") from None
        self._whole = not message.get("more_body", False)
        size = len(message.get("body", b""))
        if self._held + size > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._uploads.take(size)
        self._held += size
        return message

    def let_go(self) -> None:
        """The request is answered."""
        self._uploads.give_back(self._held)
        self._held = 0


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, body: _Body, send: Send) -> None:
        self.headers = {name.lower(): value for name, value in scope["headers"]}
        given = self.headers.get(b"x-request-id", b"").decode("latin-1")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.begun = time.monotonic()
        self.status = 499
        self._body = body
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        """Pass the answer on with the request's number."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            added = [(b"x-request-id", self.request_id.encode())]
            if self._body.late:
                added.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    async def refuse(self, failure: Failure) -> None:
        """Answer in place of the application, unless it has begun to."""
        if self.started:
            raise failure
        body = json.dumps({"error": failure.body(), "success": False, "message": failure.message}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if isinstance(failure, Unauthorized):
            headers.append((b"www-authenticate", b"Bearer"))
        await self.send({"type": "http.response.start", "status": failure.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"A request has at most {max_bytes} bytes.")
