"""Speech of engines that take whole texts: what stands between two flushes is spoken by one request, as events.

A text is never parted otherwise: what an engine makes of two sentences in two requests need not sound like one speaker in one
breath. The events are those of OpenAI's HTTP API (https://github.com/openai/openai-openapi), with the names that vLLM-Omni
adds: ``speech.audio.delta``, ``speech.audio.done`` and ``speech.audio.error``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from pixvox.errors import PixvoxError, ProviderDisconnectedError, ProviderError, ProviderInternalError
from pixvox.provider import SpeechStream
from pixvox.upstream import RefusedError
from pixvox.v1 import media_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import SpeechEvent, SpeechInput
    from pixvox.upstream import Event, EventStream, Reply

BYTES_PER_SAMPLE = 2

# What ends an answer comes with its last event.
_END_SECONDS = 0.05
# Of a call with many flushes the first ids are enough to find the rest.
_MOST_IDS = 8
_COMMITTED = "committed"


class Utterance(Protocol):
    """A text that is spoken by one request.

    Attributes:
        request_id: The engine's, as soon as it told, or empty.
    """

    request_id: str

    async def piece(self) -> bytes:
        """Return the next whole 16-bit samples, or nothing when everything was spoken.

        Raises:
            PixvoxError: The engine refused, failed, or broke off.
        """
        ...

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        ...


@asynccontextmanager
async def speaking(
    begun: Callable[[str], Utterance], voice: str, text: AsyncIterator[SpeechInput], rate: int
) -> AsyncIterator[SpeechStream]:
    """Give the stream of one call for a block, at whose end all that is open is cut.

    Args:
        begun: Returns the utterance of a text, without opening anything.
        voice: That speaks.
        text: See `pixvox.provider.SpeechStreamer`.
        rate: Samples per second that all utterances have.
    """
    spoken = Spoken(begun, rate)
    async with aclosing(spoken), aclosing(spoken.events(text)) as events:
        yield SpeechStream(voice, rate, events)


class Spoken:
    """One call of the service, for which an engine is asked once for each text between flushes.

    Args:
        begun: Returns the utterance of a text, without opening anything.
        rate: Samples per second that all of them have.
    """

    def __init__(self, begun: Callable[[str], Utterance], rate: int) -> None:
        self._begun = begun
        self._rate = rate
        self._utterance: Utterance | None = None
        self._text = ""
        self._heard = False
        self._ids: list[str] = []
        self._characters = 0
        self._samples = 0

    async def events(self, text: AsyncIterator[SpeechInput]) -> AsyncGenerator[SpeechEvent, None]:
        """Give the audio, each flush behind its own, and the receipt with characters and length."""
        words: list[str] = []
        async for item in text:
            if isinstance(item, str):
                words.append(item)
                continue
            while audio := await self._piece(words):
                yield audio
            yield speech_service_pb2.Flushed(id=item.id)
        while audio := await self._piece(words):
            yield audio
        yield self._receipt()

    async def aclose(self) -> None:
        """Cut what is open."""
        if self._utterance is not None:
            await self._utterance.aclose()

    async def _piece(self, words: list[str]) -> bytes:
        """Return the next samples of a text, which is taken out of `words`, or nothing when all of it was spoken."""
        if self._utterance is None:
            self._text = "".join(words)
            if not self._text or self._text.isspace():
                return b""
            words.clear()
            self._utterance = self._begun(self._text)
            self._heard = False
        audio = await self._utterance.piece()
        if not audio:
            await self._finish(self._utterance)
        self._heard = True
        self._samples += len(audio) // BYTES_PER_SAMPLE
        return audio

    async def _finish(self, utterance: Utterance) -> None:
        self._utterance = None
        await utterance.aclose()
        # Of dashes and dots an engine may make no sound.
        if not self._heard and any(map(str.isalnum, self._text)):
            raise senseless("says that it has spoken the text, and gave no audio", utterance.request_id)
        self._characters += len(self._text)
        if utterance.request_id:
            self._ids.append(utterance.request_id)

    def _receipt(self) -> media_pb2.Receipt:
        receipt = media_pb2.Receipt(provider_request_id=",".join(self._ids[:_MOST_IDS]))
        receipt.usage.characters = self._characters
        receipt.usage.audio_duration.FromNanoseconds(self._samples * 1_000_000_000 // self._rate)
        return receipt


@dataclass(frozen=True, slots=True)
class Complaints:
    """How an engine's complaints are read.

    Attributes:
        refused: Returns our error for a reply that is no event stream.
        failed: Returns our error for the data of an error event; is told the engine's id of the request.
        request_id: Finds that id in the headers of a reply; empty if there is none.
    """

    refused: Callable[[Reply], PixvoxError]
    failed: Callable[[bytes, str], PixvoxError]
    request_id: Callable[[Mapping[str, str]], str]


class AudioEvents:
    """An `Utterance` that comes as events. It is complete with the one that says so, and with nothing else.

    Args:
        opened: Sends the request and gives the events of its answer for a block.
        rate: Samples per second that are expected; events that tell another rate are an error.
        complaints: Of the engine.
    """

    def __init__(
        self, opened: Callable[[], AbstractAsyncContextManager[EventStream]], rate: int, complaints: Complaints
    ) -> None:
        self.request_id = ""
        self._opened = opened
        self._rate = rate
        self._complaints = complaints
        self._stack = AsyncExitStack()
        self._events: EventStream | None = None
        self._half = b""
        self._done = False

    async def piece(self) -> bytes:
        """Return the samples of the next event that has some; see `Utterance`."""
        events = self._events or await self._open()
        while not self._done:
            event = await self._event(events)
            if event is None:
                raise broken_off(self.request_id)
            if audio := self._audio(event):
                return audio
        await self._end(events)
        return b""

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        await self._stack.aclose()

    async def _open(self) -> EventStream:
        try:
            self._events = await self._stack.enter_async_context(self._opened())
        except RefusedError as error:
            raise self._complaints.refused(error.reply) from error
        except PixvoxError as error:
            error.metadata = {"provider_code": "", "provider_request_id": ""} | error.metadata
            raise
        self.request_id = self._complaints.request_id(self._events.headers)
        return self._events

    async def _event(self, events: EventStream) -> Event | None:
        try:
            return await anext(events, None)
        except PixvoxError as error:
            error.metadata = {"provider_code": "", "provider_request_id": self.request_id} | error.metadata
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
            raise senseless("sent an event that makes no sense", self.request_id) from error
        kind = said.type or event.event
        if said.error is not None or kind in {"speech.audio.error", "error"}:
            raise self._complaints.failed(event.data, self.request_id)
        if kind == "speech.audio.done":
            self._done = True
            if self._half:
                raise broken_off(self.request_id)
        return self._samples(said) if kind == "speech.audio.delta" else b""

    def _samples(self, said: _Said) -> bytes:
        if said.sample_rate not in {None, self._rate}:
            raise senseless("sent audio of another rate than its model has", self.request_id)
        try:
            data = self._half + base64.b64decode(said.audio or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise senseless("sent audio that makes no sense", self.request_id) from error
        whole = len(data) - len(data) % BYTES_PER_SAMPLE
        self._half = data[whole:]
        return data[:whole]


class _Said(msgspec.Struct):
    type: str | None = None
    audio: str | None = None
    sample_rate: int | None = None
    error: object = None


def senseless(what: str, request_id: str) -> ProviderInternalError:
    """Return the error for an answer that has begun and makes no sense; goes on after "The provider"."""
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": _COMMITTED}
    return ProviderInternalError(f"The provider {what}; the work may have been billed.", metadata=metadata)


def broken_off(request_id: str) -> ProviderDisconnectedError:
    """Return the error for an answer whose end is missing."""
    return ProviderDisconnectedError(
        "The provider ended its answer before all was spoken; the audio is incomplete.",
        metadata={"provider_code": "", "provider_request_id": request_id, "replay": _COMMITTED},
    )
