"""One text spoken by one request: as events while it is made, or in one piece that is handed on in small ones."""

from __future__ import annotations

import asyncio
import base64
import binascii
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from pixvox.errors import PixvoxError, ProviderDisconnectedError, ProviderError, ProviderInternalError
from pixvox.providers.openai.engine import senseless
from pixvox.providers.openai.refusals import complaint_in, complaint_of, error_of, request_id_of
from pixvox.providers.openai.waveform import BYTES_PER_SAMPLE, CutShortError, OtherAudioError, samples_of
from pixvox.upstream import RefusedError, Reply, Safety

if TYPE_CHECKING:
    from pixvox.providers.openai.pool import Pool
    from pixvox.upstream import Event, EventStream

PATH = "/audio/speech"
OPERATION = "speech"

_PIECES_PER_SECOND = 10
# What ends an answer comes with its last event.
_END_SECONDS = 0.05
# Types that say nothing of what is in the answer.
_OPAQUE = frozenset({"", "application/octet-stream"})
_OTHER_AUDIO = frozenset({"audio/mpeg", "audio/mp3", "audio/flac", "audio/ogg", "audio/opus", "audio/aac"})


class Utterance(Protocol):
    """A text that is spoken by one request.

    Attributes:
        request_id: The engine's, as soon as it told, or empty.
    """

    request_id: str

    async def piece(self) -> bytes:
        """Return the next whole samples, or nothing when everything was spoken.

        Raises:
            PixvoxError: The engine refused, failed, or broke off.
        """
        ...

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        ...


class Whole:
    """An utterance that comes in one piece.

    Args:
        pool: Of the engines.
        body: Of the request.
        rate: Samples per second that the model's table states.
    """

    def __init__(self, pool: Pool, body: bytes, rate: int) -> None:
        self.request_id = ""
        self._pool = pool
        self._body = body
        self._rate = rate
        self._audio: bytes | None = None
        self._given = 0

    async def piece(self) -> bytes:
        """Return the next 100 ms; see `Utterance`."""
        if self._audio is None:
            reply, _ = await self._pool.call("POST", PATH, body=self._body, safety=Safety.BILLABLE, operation=OPERATION)
            self.take(reply)
        audio = self._audio or b""
        piece = audio[self._given : self._given + self._rate // _PIECES_PER_SECOND * BYTES_PER_SAMPLE]
        self._given += len(piece)
        return piece

    async def aclose(self) -> None:
        """Nothing is open between two pieces."""

    def take(self, reply: Reply) -> None:
        """Take the whole answer.

        Raises:
            PixvoxError: It is a refusal, of another kind than the model's table says, or not complete.
        """
        self.request_id = request_id_of(reply)
        if reply.status != 200:
            raise error_of(complaint_of(reply))
        kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in _OTHER_AUDIO or not (kind in _OPAQUE or kind.startswith("audio/")):
            raise senseless("sent something else than the audio that it was asked for", self.request_id)
        try:
            self._audio = samples_of(reply.body, self._rate)
        except OtherAudioError as error:
            what = f"sent audio of another kind than its model's table says ({error})"
            raise senseless(what, self.request_id) from error
        except CutShortError as error:
            raise _broken_off(self.request_id) from error


class Streamed:
    """An utterance that comes as events. It is complete with the one that says so, and with nothing else.

    An engine that answers with audio instead of events has spoken, too. Arguments are those of `Whole`.
    """

    def __init__(self, pool: Pool, body: bytes, rate: int) -> None:
        self.request_id = ""
        self._pool = pool
        self._body = body
        self._whole = Whole(pool, body, rate)
        self._answered_whole = False
        self._stack = AsyncExitStack()
        self._events: EventStream | None = None
        self._half = b""
        self._done = False

    async def piece(self) -> bytes:
        """Return the samples of the next event that has some; see `Utterance`."""
        if self._events is None and not self._answered_whole:
            await self._open()
        if self._events is None:
            return await self._whole.piece()
        while not self._done:
            event = await self._event(self._events)
            if event is None:
                raise _broken_off(self.request_id)
            if audio := self._audio(event):
                return audio
        await self._end(self._events)
        return b""

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        await self._stack.aclose()

    async def _open(self) -> None:
        stream = self._pool.events(PATH, body=self._body, operation=OPERATION)
        try:
            self._events = await self._stack.enter_async_context(stream)
        except RefusedError as error:
            self._answered_whole = True
            self.request_id = request_id_of(error.reply)
            self._whole.take(error.reply)
        else:
            self.request_id = request_id_of(Reply(200, self._events.headers, b""))

    async def _event(self, events: EventStream) -> Event | None:
        try:
            return await anext(events, None)
        except PixvoxError as error:
            error.metadata.setdefault("provider_request_id", self.request_id)
            raise

    async def _end(self, events: EventStream) -> None:
        """Read on to the end of the answer if that is there, so that the connection can serve another call."""
        with suppress(TimeoutError, ProviderError):
            async with asyncio.timeout(_END_SECONDS):
                while await anext(events, None) is not None:
                    pass

    def _audio(self, event: Event) -> bytes:
        """Return the whole samples of an event, maybe none."""
        if event.data == b"[DONE]":
            return b""
        try:
            said = msgspec.json.decode(event.data, type=_Said)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise senseless("sent an event that makes no sense", self.request_id, "committed") from error
        kind = said.type or event.event
        if said.error is not None or kind in {"speech.audio.error", "error"}:
            raise _failed(event.data, self.request_id)
        if kind == "speech.audio.done":
            self._done = True
            if self._half:
                raise _broken_off(self.request_id)
        return self._samples(said.audio or "") if kind == "speech.audio.delta" else b""

    def _samples(self, packed: str) -> bytes:
        try:
            data = self._half + base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError) as error:
            raise senseless("sent audio that makes no sense", self.request_id, "committed") from error
        whole = len(data) - len(data) % BYTES_PER_SAMPLE
        self._half = data[whole:]
        return data[:whole]


class _Said(msgspec.Struct):
    type: str | None = None
    audio: str | None = None
    error: object = None


def _failed(data: bytes, request_id: str) -> PixvoxError:
    error = error_of(complaint_in(data, request_id), streaming=True)
    if type(error) is not ProviderInternalError:
        return error
    message = "The provider failed in the middle of its answer; the audio is incomplete."
    return ProviderInternalError(message, metadata=error.metadata)


def _broken_off(request_id: str) -> ProviderDisconnectedError:
    return ProviderDisconnectedError(
        "The provider ended its answer before all was spoken; the audio is incomplete.",
        metadata={"provider_code": "", "provider_request_id": request_id, "replay": "committed"},
    )
