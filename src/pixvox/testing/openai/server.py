"""The emulator itself: one port, one dialect, and what it remembers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from typing import TYPE_CHECKING, Self

from aiohttp import BodyPartReader, web  # a server, not upstream traffic

from pixvox.testing.faults import Faults
from pixvox.testing.journals import Journal, without_secrets
from pixvox.testing.listening import listening
from pixvox.testing.openai import performing
from pixvox.testing.openai.admission import RefusedError, check
from pixvox.testing.openai.faults import (
    Cut,
    Endless,
    ErrorEvent,
    NoDone,
    NoResult,
    PlacedAt,
    Raw,
    Refused,
    ShortSound,
    Stalled,
)
from pixvox.testing.openai.quirks import QUIRKS, complaint
from pixvox.testing.openai.record import File, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pixvox.testing.openai.faults import Effect, Operation
    from pixvox.testing.openai.quirks import Dialect

_ROUTES = {
    ("POST", "/v1/images/generations"): "generate",
    ("POST", "/v1/images/edits"): "edit",
    ("POST", "/v1/audio/speech"): "speech",
}


class _GoneError(Exception):
    """The connection has been closed because it was ordered so."""


class OpenAIEmulator:
    """An engine to try things with; used as ``async with OpenAIEmulator("vllm_omni") as emulator``.

    Args:
        dialect: That it speaks.
        models: That it serves; unset means those of the dialect.
        api_keys: That are good; empty lets everybody in.
        port: To listen at; 0 takes a free one.
        streams_events: Whether vLLM-Omni answers ``stream`` with events, as it does from 0.24 on, or with bare samples.
        checkpoint: Which of the three kinds of Qwen3-TTS it serves: ``CustomVoice``, ``VoiceDesign`` or ``Base``.
        piece_seconds: Between two pieces of streamed sound.

    Attributes:
        faults: What shall go wrong.
        load: How many requests it says that it has beside those that there are.
        well: Whether it says that it is well.
    """

    def __init__(
        self,
        dialect: Dialect = "openai",
        *,
        models: Collection[str] = (),
        api_keys: Collection[str] = ("sk-test",),
        port: int = 0,
        streams_events: bool = True,
        checkpoint: str = "CustomVoice",
        piece_seconds: float = 0.0,
    ) -> None:
        self.faults: Faults[Operation, Effect] = Faults()
        self.load = 0
        self.well = True
        self._dialect: Dialect = dialect
        self._quirks = QUIRKS[dialect]
        self._models = tuple(models) or self._quirks.models
        self._keys = frozenset(api_keys)
        self._port = port
        self._streams_events = streams_events
        self._checkpoint = checkpoint
        self._piece_seconds = piece_seconds
        self._journal: Journal[Record] = Journal()
        self._files: dict[str, bytes] = {}
        self._runner: web.AppRunner | None = None
        self._stopping = False
        self._running = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._runner, self._port = await listening(self._handle, self._port)
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
        record = await _read(request, self._quirks.health)
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
        if isinstance(effect, Cut) and effect.after is None:
            _hang_up(request)
        if isinstance(effect, Raw):
            return web.Response(status=effect.status, body=effect.body, content_type=effect.content_type)
        if record.operation == "health":
            return self._health()
        try:
            self._admit(request, record)
        except RefusedError as error:
            return self._complaint(error.status, error.code, error.message)
        self._running += 1
        try:
            return await self._worked(request, record, effect)
        finally:
            self._running -= 1

    async def _worked(self, request: web.Request, record: Record, effect: Effect | None) -> web.StreamResponse:
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
            raise RefusedError(404, "", "Not Found")
        if self._keys and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._keys:
            raise RefusedError(401, "invalid_api_key", "Incorrect API key provided.")
        if quirks.checks_model and body.get("model", self._models[0]) not in self._models:
            status = quirks.checks_model
            words = "Model mismatch: another one is served." if status == 400 else "The model does not exist."
            raise RefusedError(status, "model_not_found" if status == 404 else "", words)
        check(record, self._dialect, self._checkpoint)

    def _health(self) -> web.Response:
        said = (
            f'vllm:num_requests_running{{model_name="a"}} {self._running}.0\nvllm:num_requests_waiting {self.load}.0\n'
        )
        return web.Response(status=200 if self.well else 503, text=said)

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
        way = self._way(record)
        if way == "events":
            return await self._streamed(request, record, pcm, effect)
        if way == "samples" and wanted in {"pcm", "wav"}:
            return await self._chunked(request, record, (pcm, rate if wanted == "wav" else 0), effect)
        if wanted == "wav" or isinstance(effect, ShortSound):
            file = performing.wav(pcm, rate, short=isinstance(effect, ShortSound))
            return await self._sent(request, file, "audio/wav", effect)
        # Whoever asks for a form that the emulator does not make gets something that is not what it says.
        kind = "audio/pcm" if wanted == "pcm" else "audio/mpeg"
        return await self._sent(request, pcm, kind, effect)

    def _way(self, record: Record) -> str:
        """Return how speech is given: as events, bare samples while they are made, or whole."""
        stream, form = record.body.get("stream"), record.body.get("stream_format")
        match self._dialect:
            case "openai" | "speaches":
                return "events" if form == "sse" else "samples"
            case "vllm_omni" if stream or (form == "sse" and self._streams_events):
                return "events" if self._streams_events and form != "audio" else "samples"
            case "localai" if stream:
                return "samples"
            case "kokoro" if stream is not False:
                return "samples"
            case _:
                return "whole"

    async def _streamed(
        self, request: web.Request, record: Record, pcm: bytes, effect: Effect | None
    ) -> web.StreamResponse:
        """Give sound as events."""
        response = web.StreamResponse(headers=self._headers("text/event-stream"))
        await response.prepare(request)
        record.status = 200
        for piece in performing.pieces(pcm, endless=isinstance(effect, Endless)):
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

    async def _chunked(
        self, request: web.Request, record: Record, sound: tuple[bytes, int], effect: Effect | None
    ) -> web.StreamResponse:
        """Give sound as it is made, without saying how much it will be: bare, or behind the header of a WAV file of a rate."""
        pcm, rate = sound
        response = web.StreamResponse(headers=self._headers("audio/wav" if rate else "audio/pcm"))
        response.enable_chunked_encoding()
        await response.prepare(request)
        record.status = 200
        if rate:
            await response.write(performing.endless_header(rate))
        for piece in performing.pieces(pcm, endless=isinstance(effect, Endless)):
            await self._incident(request, record.pieces, effect)
            if piece:
                await response.write(piece)
                record.pieces += 1
                self._journal.changed()
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
        if isinstance(effect, Cut) and effect.after == sent:
            _hang_up(request)

    def _complaint(self, status: int, code: str, message: str, retry_after: int | None = None) -> web.Response:
        headers = {"x-request-id": f"req-{uuid.uuid4().hex}"}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        return web.json_response(complaint(self._dialect, status, code, message), status=status, headers=headers)

    def _headers(self, content_type: str) -> dict[str, str]:
        return {"Content-Type": content_type, "x-request-id": f"req-{uuid.uuid4().hex}"}


async def _read(request: web.Request, health: str) -> Record:
    """Return what a request says, whatever it is."""
    operation = _ROUTES.get((request.method, request.path), "download" if request.method == "GET" else "")
    if health and (request.method, request.path) == ("GET", health):
        operation = "health"
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
