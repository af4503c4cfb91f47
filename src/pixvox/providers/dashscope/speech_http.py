"""Speech over HTTP: a text is spoken once it is complete, as a stream of events or as a file to download.

A flush completes the text before it, which is then spoken by a call of its own. Source: "Qwen-TTS API (non-realtime)" of
Alibaba Cloud Model Studio.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from pixvox.errors import PixvoxError, ProviderDisconnectedError, ProviderError, ProviderInternalError
from pixvox.media.encodings import BYTES_PER_SAMPLE
from pixvox.media.waveform import CutShortError, OtherAudioError, Samples
from pixvox.providers.dashscope.refusals import Complaint, complaint_of, error_of, named_ids, request_id_of
from pixvox.providers.dashscope.speech_models import SAMPLE_RATE_HERTZ
from pixvox.providers.dashscope.speech_text import billed_characters
from pixvox.upstream import RefusedError, Safety
from pixvox.v1 import speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from pixvox.provider import SpeechInput
    from pixvox.upstream import Event, EventStream, Origin, Reply, Results

PATH = "/services/aigc/multimodal-generation/generation"
OPERATION = "speech"
MAX_FILE_BYTES = 64 * 1024 * 1024

# 100 ms, as the vendor's streams have it.
_PIECE_BYTES = SAMPLE_RATE_HERTZ // 10 * BYTES_PER_SAMPLE
# What ends an answer comes with its last event.
_END_SECONDS = 0.05
_STATUS = re.compile(r"HTTP_STATUS/(\d{3})")


class Utterance(Protocol):
    """A text that is spoken by one call of the vendor.

    Attributes:
        text: What is said.
        request_id: The vendor's, as soon as it told.
        characters: That the vendor bills, as soon as it told.
    """

    text: str
    request_id: str
    characters: int | None

    async def piece(self) -> bytes:
        """Return the next whole samples, or nothing when everything was spoken.

        Raises:
            PixvoxError: The vendor refused, failed, or broke off.
        """
        ...

    async def aclose(self) -> None:
        """Cut the connection."""
        ...


class HttpSpeech:
    """One call of the service's, for which the vendor is called for each text between flushes.

    Args:
        speak: Begins an utterance.

    Attributes:
        ids: The vendor's ids of its calls.
        characters: That it bills so far.
        samples: Of audio so far.
    """

    def __init__(self, speak: Callable[[str], Utterance]) -> None:
        self.ids: list[str] = []
        self.characters = 0
        self.samples = 0
        self._speak = speak
        self._utterance: Utterance | None = None

    async def events(
        self, text: AsyncIterator[SpeechInput]
    ) -> AsyncGenerator[bytes | speech_service_pb2.Flushed, None]:
        """Give the audio as it comes and each flush behind its own, and end when all was spoken.

        Raises:
            PixvoxError: The vendor refused, failed, or broke off.
        """
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

    async def aclose(self) -> None:
        """Cut what is open."""
        if self._utterance is not None:
            await self._utterance.aclose()

    async def _piece(self, words: list[str]) -> bytes:
        """Return the next samples of a text, which is taken out of `words`, or nothing when all of it was spoken."""
        if self._utterance is None:
            text = "".join(words)
            if not text or text.isspace():
                return b""
            words.clear()
            self._utterance = self._speak(text)
        utterance = self._utterance
        audio = await utterance.piece()
        if not audio:
            self._utterance = None
            self.ids.append(utterance.request_id)
            self.characters += (
                billed_characters(utterance.text) if utterance.characters is None else utterance.characters
            )
            await utterance.aclose()
        self.samples += len(audio) // BYTES_PER_SAMPLE
        return audio


@dataclass(frozen=True, slots=True)
class Speaker:
    """What is the same for all texts of a call.

    Attributes:
        origin: Of the vendor's calls, with credentials.
        results: Fetches files from the vendor's hosts.
        region: For errors.
        model: Its id.
        manner: How to speak; members of the vendor's ``input``.
    """

    origin: Origin
    results: Results
    region: str
    model: str
    manner: Mapping[str, object]

    def body(self, text: str) -> bytes:
        """Return the request for a text."""
        return msgspec.json.encode({"model": self.model, "input": {"text": text, **self.manner}})

    def error(self, complaint: Complaint, text: str) -> PixvoxError:
        """Return what a complaint means; its message does not repeat the caller's words."""
        return error_of(complaint, region=self.region, private=(text, str(self.manner.get("instructions", ""))))


class Streamed:
    """An utterance that comes as events. It is complete with the one that says ``stop``, and with nothing else."""

    def __init__(self, speaker: Speaker, text: str) -> None:
        self.text = text
        self.request_id = ""
        self.characters: int | None = None
        self._speaker = speaker
        self._stack = AsyncExitStack()
        self._events: EventStream | None = None
        self._samples = Samples(SAMPLE_RATE_HERTZ)
        self._stopped = False
        self._spoke = False

    async def piece(self) -> bytes:
        """Return the samples of the next event that has some; see `Utterance`."""
        if self._events is None:
            self._events = await self._opened()
        while not self._stopped:
            event = await self._event(self._events)
            if event is None:
                raise _broken_off(self.request_id)
            if audio := self._audio(event, self._events):
                self._spoke = True
                return audio
        if not self._spoke:
            raise _silent(self.request_id)
        await self._end(self._events)
        return b""

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        await self._stack.aclose()

    async def _opened(self) -> EventStream:
        stream = self._speaker.origin.events(
            PATH, body=self._speaker.body(self.text), headers={"x-dashscope-sse": "enable"}, operation=OPERATION
        )
        try:
            return await self._stack.enter_async_context(stream)
        except RefusedError as error:
            raise self._speaker.error(complaint_of(error.reply), self.text) from error

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

    def _audio(self, event: Event, events: EventStream) -> bytes:
        result = _decoded(event.data, self.request_id)
        if result.request_id not in {None, "", self.request_id}:
            self.request_id = result.request_id or ""
            events.identified(named_ids(self.request_id))
        if event.event == "error" or result.code:
            status = next((int(found[1]) for one in event.comments if (found := _STATUS.search(one))), 0)
            complaint = Complaint(status, str(result.code or ""), result.message or "", self.request_id)
            events.identified(named_ids("", code=complaint.code))
            raise self._speaker.error(complaint, self.text)
        if result.usage is not None and result.usage.characters is not None:
            # That of all text so far.
            self.characters = result.usage.characters
        self._stopped = result.finish_reason == "stop"
        return _samples(self._samples, result.audio.data or b"", self.request_id)


class Downloaded:
    """An utterance that is a file, which is fetched when the vendor has finished it, and handed on in pieces."""

    def __init__(self, speaker: Speaker, text: str) -> None:
        self.text = text
        self.request_id = ""
        self.characters: int | None = None
        self._speaker = speaker
        self._audio: bytes | None = None
        self._begun: Reply | None = None
        self._given = 0

    async def piece(self) -> bytes:
        """Return the next 100 ms; see `Utterance`."""
        if self._audio is None:
            self._audio = await self._fetched(await self._url())
        piece = self._audio[self._given : self._given + _PIECE_BYTES]
        self._given += len(piece)
        return piece

    async def aclose(self) -> None:
        """Nothing is open between two pieces."""

    async def _url(self) -> str:
        speaker = self._speaker
        reply = await speaker.origin.call(
            "POST", PATH, body=speaker.body(self.text), safety=Safety.BILLABLE, operation=OPERATION
        )
        self._begun = reply
        if reply.status != 200:
            raise speaker.error(complaint_of(reply), self.text)
        result = _decoded(reply.body, request_id_of(reply))
        self.request_id = result.request_id or request_id_of(reply)
        if result.code:
            raise speaker.error(complaint_of(reply), self.text)
        self.characters = result.usage.characters if result.usage is not None else None
        if not result.audio.url:
            raise _silent(self.request_id)
        return result.audio.url

    async def _fetched(self, url: str) -> bytes:
        try:
            file = await self._speaker.results.fetch(
                url, max_bytes=MAX_FILE_BYTES, operation="speech download", follows=self._begun
            )
        except PixvoxError as error:
            error.metadata.setdefault("provider_request_id", self.request_id)
            raise
        samples = Samples(SAMPLE_RATE_HERTZ)
        audio = _samples(samples, file, self.request_id)
        if not samples.headed and audio:
            raise _senseless("a file that is no WAV file", self.request_id)
        try:
            samples.finish()
        except CutShortError as error:
            raise _broken_off(self.request_id) from error
        if not audio:
            raise _silent(self.request_id)
        return audio


class _Audio(msgspec.Struct):
    data: bytes | None = None
    url: str | None = None


class _Output(msgspec.Struct):
    audio: _Audio | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    characters: int | None = None


class _Result(msgspec.Struct):
    output: _Output | None = None
    usage: _Usage | None = None
    code: str | int | None = None
    message: str | None = None
    request_id: str | None = None

    @property
    def audio(self) -> _Audio:
        return (self.output and self.output.audio) or _Audio()

    @property
    def finish_reason(self) -> str:
        return (self.output and self.output.finish_reason) or ""


def _decoded(data: bytes, request_id: str) -> _Result:
    try:
        return msgspec.json.decode(data, type=_Result)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _senseless("something that makes no sense", request_id) from error


def _samples(samples: Samples, data: bytes, request_id: str) -> bytes:
    try:
        return samples.feed(data)
    except OtherAudioError as error:
        raise _senseless(f"audio of a kind that it should not send: {error}", request_id) from error


def _senseless(what: str, request_id: str) -> ProviderInternalError:
    return ProviderInternalError(
        f"The provider sent {what}.", metadata={"provider_request_id": request_id, "replay": "committed"}
    )


def _silent(request_id: str) -> ProviderInternalError:
    return ProviderInternalError(
        "The provider says that it has spoken the text, and gave no audio.",
        metadata={"provider_request_id": request_id, "replay": "committed"},
    )


def _broken_off(request_id: str) -> ProviderDisconnectedError:
    return ProviderDisconnectedError(
        "The provider ended its answer before all was spoken; the audio is incomplete.",
        metadata={"provider_request_id": request_id, "replay": "committed"},
    )
