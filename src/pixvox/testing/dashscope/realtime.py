"""Realtime speech over a WebSocket: one session, from its creation to ``session.finished``.

Source: dashscope reference 4a.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import uuid
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web  # a server, not upstream traffic

from pixvox.testing.dashscope import containers, delivery, fields, speech_requests
from pixvox.testing.dashscope.envelope import RefusedError, encoded, invalid
from pixvox.testing.dashscope.faults import Closed, Cut, ErrorEvent, NoResult, Split, Stalled
from pixvox.testing.dashscope.models import SpeechModel, speech_model
from pixvox.testing.dashscope.realtime_events import ResponseEvents, SessionSettings, event, session_event, settings_of
from pixvox.testing.dashscope.sound import expected_pcm
from pixvox.testing.dashscope.speech import chunks_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pixvox.testing.dashscope.fields import JsonObject
    from pixvox.testing.dashscope.vendor import Call

_OK, _BAD_REQUEST = 1000, 1007
_CLOSE_SECONDS = 1.0
# Where the vendor's server_commit mode cuts a text is not documented: at the ends of sentences, and at a blank when there
# is much text without one. A point after a digit may be a decimal one until something follows. [guess]
_SENTENCE = re.compile(r".*?(?:[。！？；\n]+|[.!?]+(?=\s)|(?<!\d)[.!?]+\Z)\s*", re.DOTALL)
_LONG = re.compile(r".{120,}?\s", re.DOTALL)


async def serve(request: web.Request, call: Call) -> web.WebSocketResponse:
    """Answer an upgrade, and hold the session."""
    socket = web.WebSocketResponse(compress=False, timeout=_CLOSE_SECONDS)
    await socket.prepare(request)
    call.exchange.status = 101
    await _Session(request, socket, call).run()
    return socket


class _EndedError(Exception):
    """The session was ended by the server; everything about it has been sent."""


class _Session:
    def __init__(self, request: web.Request, socket: web.WebSocketResponse, call: Call) -> None:
        self._request = request
        self._socket = socket
        self._call = call
        self._name = call.query.get("model", "")
        model = speech_model(self._name)
        self._lives = model is not None and model.realtime
        self._model = model or SpeechModel(realtime=True)
        self._id = f"sess_{uuid.uuid4().hex[:24]}"
        self._settings = SessionSettings()
        self._buffer = ""
        self._started = self._finishing = self._speaking = False
        self._sent_chunks = 0
        self._next_chunk_at = 0.0
        # Texts to speak, then None.
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._reactions: dict[str, Callable[[JsonObject], Awaitable[None]]] = {
            "session.update": self._update,
            "input_text_buffer.append": self._append,
            "input_text_buffer.commit": self._commit,
            "input_text_buffer.clear": self._clear,
            "session.finish": self._finish,
            # Sent by the vendor's SDK; what it does is not known. [guess]
            "response.cancel": self._ignore,
        }

    async def run(self) -> None:
        """Hold the session until one of the two sides has left."""
        try:
            await self._send(session_event("session.created", self._id, self._name, self._settings.described()))
            if not self._lives:
                # Seen in the field: no error, the connection just dies.
                delivery.hang_up(self._request, self._call.exchange)
            await self._incident(None)
            await self._converse()
        except (_EndedError, delivery.CutError):
            return
        except ConnectionError:
            self._call.exchange.client_left()

    async def _converse(self) -> None:
        async with asyncio.TaskGroup() as group:
            speaker = group.create_task(self._speak())
            await self._listen()
            speaker.cancel()

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            while (data := await self._received()) is not None:
                await self._react(data)
        self._call.exchange.client_left()

    async def _received(self) -> str | None:
        """Return what the client sends next; None: the connection is closed."""
        while True:
            idle = self._call.vendor.behaviour.idle_seconds
            try:
                message = await self._socket.receive(timeout=idle)
            except TimeoutError:
                if not self._speaking and not self._finishing and self._texts.empty():
                    # The code and the words are what clients look for; the close code is not known. [guess]
                    await self._fail("session_expired", f"request timeout after {idle:g} seconds.", _BAD_REQUEST)
            else:
                return str(message.data) if message.type is WSMsgType.TEXT else None

    async def _react(self, data: str) -> None:
        try:
            try:
                received = json.loads(data)
            except ValueError:
                self._call.exchange.heard(data)
                raise invalid("The event is no JSON.") from None
            self._call.exchange.heard(received)
            if not isinstance(received, dict) or not isinstance(received.get("event_id"), str):
                raise invalid("The event has no event_id.")
            reaction = self._reactions.get(str(received.get("type")))
            if reaction is None:
                raise invalid(f"There is no event {received.get('type')}.")
            await reaction(received)
        except RefusedError as error:
            code = "invalid_value" if error.code == "InvalidParameter" else error.code
            await self._fail(code, error.message, _BAD_REQUEST)

    async def _update(self, received: JsonObject) -> None:
        if self._started or self._finishing:
            raise invalid(f"The session has already {'finished' if self._finishing else 'started'}.")
        self._started = True
        session = fields.object_at(received, "session")
        self._settings = settings_of(self._name, self._model, session, self._call.vendor.voices)
        members = {**session, **self._settings.described(), "language_type": self._settings.language_type}
        await self._send(session_event("session.updated", self._id, self._name, members))

    async def _append(self, received: JsonObject) -> None:
        text = fields.optional_text_at(received, "text")
        if text is None or self._finishing:
            raise invalid("text is required." if text is None else "The session has already finished.")
        if not self._started and self._model.voices != "system":
            raise invalid("voice is required.")
        self._started = True
        self._buffer += text
        if self._settings.mode == "server_commit":
            self._segment()

    def _segment(self) -> None:
        """Hand over the sentences that are complete."""
        while match := _SENTENCE.match(self._buffer) or _LONG.match(self._buffer):
            self._texts.put_nowait(match[0])
            self._buffer = self._buffer[match.end() :]

    async def _commit(self, _: JsonObject) -> None:
        # Whether the session survives this error is not known. [guess]
        if not self._buffer:
            raise invalid("The input text buffer is empty.")
        self._flush()

    def _flush(self) -> None:
        if self._buffer:
            self._texts.put_nowait(self._buffer)
            self._buffer = ""

    async def _clear(self, _: JsonObject) -> None:
        self._buffer = ""
        await self._send(event("input_text_buffer.cleared"))

    async def _finish(self, _: JsonObject) -> None:
        self._finishing = True
        # In commit mode too, what is left is spoken, by one page of the documentation.
        self._flush()
        self._texts.put_nowait(None)

    async def _ignore(self, _: JsonObject) -> None:
        pass

    async def _speak(self) -> None:
        """Speak the texts in their order."""
        try:
            while (text := await self._texts.get()) is not None:
                self._speaking = True
                for part in self._parts(text):
                    await self._respond(part)
                self._speaking = False
            await self._send(event("session.finished"))
            self._call.exchange.finished()
            await self._socket.close(code=_OK)
        except (_EndedError, delivery.CutError):
            return
        except ConnectionError:
            self._call.exchange.client_left()

    def _parts(self, text: str) -> list[str]:
        split = self._call.effects.one(Split)
        size = max(1, -(-len(text) // split.responses)) if split is not None else len(text)
        return [text[start : start + size] for start in range(0, len(text), size)]

    async def _respond(self, text: str) -> None:
        settings = self._settings
        await self._send(event("input_text_buffer.committed", item_id=""))
        events = ResponseEvents(settings.voice)
        for opening in events.opening():
            await self._send(opening)
        pcm = b"" if self._call.effects.one(NoResult) is not None else self._pcm(text)
        audio = pcm
        if settings.response_format != "pcm":
            audio = await asyncio.to_thread(containers.contained, pcm, settings.sample_rate, settings.response_format)
        for chunk in chunks_of(self._call, audio, settings.sample_rate):
            await self._send_chunk(events, chunk)
        usage = speech_requests.usage(self._model, text, len(pcm))
        self._bill(usage)
        for closing in events.closing(usage):
            await self._send(closing)

    def _pcm(self, text: str) -> bytes:
        settings = self._settings
        return expected_pcm(
            text,
            settings.voice,
            settings.sample_rate,
            speech_rate=settings.speech_rate,
            volume=settings.volume,
            pitch_rate=settings.pitch_rate,
        )

    async def _send_chunk(self, events: ResponseEvents, chunk: bytes) -> None:
        if self._sent_chunks == 0:
            await self._incident(0)
        now = asyncio.get_running_loop().time()
        self._next_chunk_at = max(now, self._next_chunk_at)
        await asyncio.sleep(self._next_chunk_at - now)
        self._next_chunk_at += self._call.vendor.behaviour.chunk_interval
        data = encoded(events.delta(base64.b64encode(chunk).decode())).decode()
        self._call.exchange.sending_chunk()
        await self._socket.send_str(data)
        self._sent_chunks += 1
        await self._incident(self._sent_chunks)

    async def _incident(self, sent: int | None) -> None:
        """Let happen what is ordered for after so many chunks; None: before anything."""
        effects = self._call.effects
        stall, cut, error, closed = (effects.one(kind) for kind in (Stalled, Cut, ErrorEvent, Closed))
        if isinstance(stall, Stalled) and sent is not None and stall.after == sent:
            await asyncio.sleep(stall.seconds)
        if isinstance(cut, Cut) and sent is not None and cut.after == sent:
            delivery.hang_up(self._request, self._call.exchange)
        if isinstance(error, ErrorEvent) and error.after == sent:
            await self._fail(error.code, error.message, error.close_code)
            raise _EndedError
        if isinstance(closed, Closed) and closed.after == sent:
            await self._break_off(closed.code)
            raise _EndedError

    def _bill(self, usage: JsonObject) -> None:
        billed = dict(self._call.exchange.usage or {})
        for name, value in usage.items():
            before = billed.get(name, 0)
            if isinstance(value, int) and isinstance(before, int):
                billed[name] = before + value
        self._call.exchange.usage = billed

    async def _send(self, message: JsonObject) -> None:
        await self._socket.send_str(encoded(message).decode())

    async def _fail(self, code: str, message: str, close_code: int) -> None:
        """Tell an error, and close."""
        await self._send(event("error", error={"code": code, "message": message}))
        await self._break_off(close_code)

    async def _break_off(self, code: int) -> None:
        self._call.exchange.break_off()
        await self._socket.close(code=code)
