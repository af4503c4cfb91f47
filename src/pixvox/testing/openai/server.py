"""The emulator itself: one port, one dialect, and what it remembers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from typing import TYPE_CHECKING, Self

from aiohttp import BodyPartReader, web  # a server, not upstream traffic

from pixvox.testing.openai import performing
from pixvox.testing.openai.faults import (
    Cut,
    ErrorEvent,
    Faults,
    NoDone,
    NoResult,
    PlacedAt,
    Raw,
    Refused,
    ShortSound,
    Stalled,
)
from pixvox.testing.openai.quirks import QUIRKS, complaint
from pixvox.testing.openai.record import File, Journal, Record, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pixvox.testing.openai.faults import Effect
    from pixvox.testing.openai.quirks import Dialect

_ROUTES = {
    ("POST", "/v1/images/generations"): "generate",
    ("POST", "/v1/images/edits"): "edit",
    ("POST", "/v1/audio/speech"): "speech",
}
_MOST_BODY_BYTES = 64 * 1024 * 1024


class _GoneError(Exception):
    """The connection has been closed because it was ordered so."""


class _RefusedError(Exception):
    """The engine refuses a request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class OpenAIEmulator:
    """An engine to try things with; used as ``async with OpenAIEmulator("vllm_omni") as emulator``.

    Args:
        dialect: That it speaks.
        models: That it serves; unset means those of the dialect.
        api_keys: That are good; empty lets everybody in.
        port: To listen at; 0 takes a free one.
        streams_events: Whether vLLM-Omni answers ``stream`` with events, as it does from 0.24 on, or with bare samples.
        piece_seconds: Between two pieces of streamed sound.

    Attributes:
        faults: What shall go wrong.
    """

    def __init__(
        self,
        dialect: Dialect = "openai",
        *,
        models: Collection[str] = (),
        api_keys: Collection[str] = ("sk-test",),
        port: int = 0,
        streams_events: bool = True,
        piece_seconds: float = 0.0,
    ) -> None:
        self.faults = Faults()
        self._dialect: Dialect = dialect
        self._quirks = QUIRKS[dialect]
        self._models = tuple(models) or self._quirks.models
        self._keys = frozenset(api_keys)
        self._port = port
        self._streams_events = streams_events
        self._piece_seconds = piece_seconds
        self._journal = Journal()
        self._files: dict[str, bytes] = {}
        self._runner: web.AppRunner | None = None
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Without handler_cancellation, a client that leaves is noticed at the next write only.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; open connections are closed."""
        self._stopping = True
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        """The address that clients are given."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def requests(self) -> tuple[Record, ...]:
        """What was asked, in the order of arrival."""
        return tuple(self._journal.records)

    def count(self, operation: str | None = None) -> int:
        """Return how many requests there were for an operation, or at all."""
        return sum(operation in {None, record.operation} for record in self._journal.records)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on this emulator is true."""
        await self._journal.until(condition)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        record = await _read(request)
        self._journal.records.append(record)
        self._journal.changed()
        try:
            response = await self._answered(request, record)
        except asyncio.CancelledError:
            record.cancelled = not self._stopping
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
        if isinstance(effect, Stalled) and effect.after is None:
            await asyncio.sleep(effect.seconds)
        if isinstance(effect, Refused):
            return self._complaint(effect.status, effect.code, effect.message, effect.retry_after)
        if isinstance(effect, Raw):
            return web.Response(status=effect.status, body=effect.body, content_type=effect.content_type)
        try:
            self._admit(request, record)
        except _RefusedError as error:
            return self._complaint(error.status, error.code, error.message)
        if record.operation == "speech":
            return await self._spoken(request, record, effect)
        if record.operation == "download":
            return await self._sent(request, self._files[record.path], "image/png", effect)
        body = await asyncio.to_thread(self._drawn, record, effect)
        return await self._sent(request, body, "application/json", effect)

    def _admit(self, request: web.Request, record: Record) -> None:
        """Refuse what the dialect would."""
        quirks, body = self._quirks, record.body
        if record.operation == "download" and record.path in self._files:
            return
        if record.operation not in quirks.operations - {"download"}:
            raise _RefusedError(404, "", "Not Found")
        if self._keys and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._keys:
            raise _RefusedError(401, "invalid_api_key", "Incorrect API key provided.")
        if quirks.checks_model and body.get("model", self._models[0]) not in self._models:
            status = quirks.checks_model
            words = "Model mismatch: another one is served." if status == 400 else "The model does not exist."
            raise _RefusedError(status, "model_not_found" if status == 404 else "", words)
        if quirks.members is not None and (unknown := sorted(body.keys() - quirks.members)):
            raise _RefusedError(400, "unknown_parameter", f"Unknown parameter: '{unknown[0]}'.")
        if self._dialect == "openai" and "response_format" in body and record.operation != "speech":
            raise _RefusedError(400, "unknown_parameter", "Unknown parameter: 'response_format'.")
        if record.operation == "edit" and not any(file.part in {"image", "image[]"} for file in record.files):
            raise _RefusedError(422, "missing", "Field required")
        needed = "input" if record.operation == "speech" else "prompt"
        if not body.get(needed):
            raise _RefusedError(400, "missing_required_parameter", f"Missing required parameter: '{needed}'.")

    def _drawn(self, record: Record, effect: Effect | None) -> bytes:
        """Return the answer to a request for pictures."""
        files = [] if isinstance(effect, NoResult) else performing.pictures(record)
        named = self._quirks.gives_addresses and record.body.get("response_format") != "b64_json"
        if isinstance(effect, PlacedAt):
            data = [{"url": f"{effect.base}{self._kept(file)}", "b64_json": None} for file in files]
        elif named:
            host = "" if self._dialect == "sglang" else self.base_url.removesuffix("/v1")
            data = [{"url": f"{host}{self._kept(file)}", "b64_json": None} for file in files]
        else:
            data = [{"url": None, "b64_json": base64.b64encode(file).decode()} for file in files]
        return json.dumps({"created": int(time.time()), "data": data}).encode()

    def _kept(self, file: bytes) -> str:
        path = f"/v1/images/{uuid.uuid4().hex}/content"
        self._files[path] = file
        return path

    async def _spoken(self, request: web.Request, record: Record, effect: Effect | None) -> web.StreamResponse:
        rate = self._quirks.rate
        pcm = b"" if isinstance(effect, NoResult) else performing.samples(record, rate)
        wanted = str(record.body.get("response_format", self._quirks.sound))
        member = self._quirks.events_if
        if member is not None and record.body.get(member[0]) == member[1]:
            if self._streams_events:
                return await self._streamed(request, record, pcm, effect)
            return await self._chunked(request, pcm, effect)
        if self._dialect == "kokoro" and record.body.get("stream", True):
            return await self._chunked(request, pcm, effect)
        if wanted == "wav" or isinstance(effect, ShortSound):
            file = performing.wav(pcm, rate, short=isinstance(effect, ShortSound))
            return await self._sent(request, file, "audio/wav", effect)
        # Whoever asks for a form that the emulator does not make gets something that is not what it says.
        kind = "audio/pcm" if wanted == "pcm" else "audio/mpeg"
        return await self._sent(request, pcm, kind, effect)

    async def _streamed(
        self, request: web.Request, record: Record, pcm: bytes, effect: Effect | None
    ) -> web.StreamResponse:
        """Give sound as events."""
        response = web.StreamResponse(headers=self._headers("text/event-stream"))
        await response.prepare(request)
        record.status = 200
        for piece in (*performing.pieces(pcm), b""):
            await self._incident(request, record.pieces, effect)
            if isinstance(effect, ErrorEvent) and effect.after == record.pieces:
                error = {"message": effect.message, "type": "server_error", "code": effect.code}
                said: dict[str, object] = {"type": "speech.audio.error", "error": error, "partial_audio": True}
                await response.write(performing.event("speech.audio.error", said))
                break
            if piece:
                await response.write(performing.delta(piece))
                record.pieces += 1
                self._journal.changed()
                await asyncio.sleep(self._piece_seconds)
            elif not isinstance(effect, NoDone):
                await response.write(performing.event("speech.audio.done", {"type": "speech.audio.done", "usage": {}}))
        await response.write_eof()
        return response

    async def _chunked(self, request: web.Request, pcm: bytes, effect: Effect | None) -> web.StreamResponse:
        """Give bare samples as they are made, without their number."""
        response = web.StreamResponse(headers=self._headers("audio/pcm"))
        response.enable_chunked_encoding()
        await response.prepare(request)
        for number, piece in enumerate((*performing.pieces(pcm), b"")):
            await self._incident(request, number, effect)
            if piece:
                await response.write(piece)
                await asyncio.sleep(self._piece_seconds)
        await response.write_eof()
        return response

    async def _sent(
        self, request: web.Request, body: bytes, content_type: str, effect: Effect | None
    ) -> web.StreamResponse:
        """Give a whole answer, whose length is told."""
        response = web.StreamResponse(headers=self._headers(content_type))
        response.content_length = len(body)
        if isinstance(effect, Cut):
            if effect.after is not None:
                await response.prepare(request)
                await response.write(body[: effect.after])
            _hang_up(request)
        await response.prepare(request)
        await response.write(body)
        await response.write_eof()
        return response

    async def _incident(self, request: web.Request, sent: int, effect: Effect | None) -> None:
        if isinstance(effect, Stalled) and effect.after == sent:
            await asyncio.sleep(effect.seconds)
        if isinstance(effect, Cut) and (effect.after or 0) == sent:
            _hang_up(request)

    def _complaint(self, status: int, code: str, message: str, retry_after: int | None = None) -> web.Response:
        headers = {"x-request-id": f"req-{uuid.uuid4().hex}"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return web.json_response(complaint(self._dialect, status, code, message), status=status, headers=headers)

    def _headers(self, content_type: str) -> dict[str, str]:
        return {"Content-Type": content_type, "x-request-id": f"req-{uuid.uuid4().hex}"}


async def _read(request: web.Request) -> Record:
    """Return what a request says, whatever it is."""
    operation = _ROUTES.get((request.method, request.path), "download" if request.method == "GET" else "")
    body: dict[str, object] = {}
    files: list[File] = []
    if request.content_type == "multipart/form-data":
        # Not by `post`, whose temporary files stay open when the client leaves.
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            name, data = part.name or "", bytes(await part.read(decode=True))
            if part.filename:
                kind = part.headers.get("Content-Type", "application/octet-stream")
                files.append(File(name, part.filename, kind, data))
            else:
                body[name] = data.decode()
    else:
        try:
            found = json.loads(await request.read())
        except ValueError:
            found = None
        body = found if isinstance(found, dict) else {}
    return Record(operation, request.method, request.path, without_secrets(request.headers), body, tuple(files))


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()
    raise _GoneError
