"""Speech: a text is spoken once it is complete, by one request.

A flush completes the text before it, which is then spoken by a request of its own. A text is never parted otherwise: what an
engine makes of two sentences in two requests need not sound like one speaker in one breath.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from pixvox import telemetry
from pixvox.provider import SpeechStream
from pixvox.providers.openai.capabilities import streams
from pixvox.providers.openai.catalogue import LANGUAGE_NAMES
from pixvox.providers.openai.engine import senseless
from pixvox.providers.openai.options import options_of
from pixvox.providers.openai.utterances import Streamed, Whole
from pixvox.providers.openai.waveform import BYTES_PER_SAMPLE
from pixvox.v1 import media_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from pixvox.provider import SpeechEvent, SpeechInput
    from pixvox.providers.openai.catalogue import ModelTable
    from pixvox.providers.openai.dialects import Dialect
    from pixvox.providers.openai.engine import Engine
    from pixvox.providers.openai.utterances import Utterance
    from pixvox.v1 import model_service_pb2

OWN_MEMBERS = frozenset(
    {
        *("model", "input", "voice", "speaker", "response_format", "stream", "stream_format", "speed", "instructions"),
        *("language", "sample_rate"),
    }
)
# Of a call with many flushes the first ids are enough to find the rest.
_MOST_IDS = 8


class OpenAISpeech:
    """The verb of `pixvox.provider.SpeechStreamer`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text`; see `pixvox.provider.SpeechStreamer`. Nothing is asked before there is a whole text."""
        engine = self._engine
        engine.check_ready()
        table = engine.tables[model.id]
        voice = config.voice or (table.voices[0] if table.voices else "")
        manner = _manner(config, voice, table, engine.dialect)
        telemetry.took_lane("sse" if streams(table, engine.dialect) else "whole")
        spoken = _Spoken(engine, table, manner)
        async with contextlib.aclosing(spoken), contextlib.aclosing(spoken.events(text)) as events:
            yield SpeechStream(voice, table.sample_rate, events)


class _Spoken:
    """One call of the service, for which an engine is asked once for each text between flushes."""

    def __init__(self, engine: Engine, table: ModelTable, manner: Mapping[str, object]) -> None:
        self._engine = engine
        self._table = table
        self._manner = manner
        self._kind = Streamed if streams(table, engine.dialect) else Whole
        self._utterance: Utterance | None = None
        self._text = ""
        self._heard = False
        self._ids: list[str] = []
        self._characters = 0
        self._samples = 0

    async def events(self, text: AsyncIterator[SpeechInput]) -> AsyncGenerator[SpeechEvent, None]:
        """Give the audio, each flush behind its own, and the receipt."""
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
            body = msgspec.json.encode({**self._manner, "input": self._text})
            self._utterance = self._kind(self._engine.pool, body, self._table.sample_rate)
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
        if not self._heard:
            raise senseless("says that it has spoken the text, and gave no audio", utterance.request_id, "committed")
        self._characters += len(self._text)
        if utterance.request_id:
            self._ids.append(utterance.request_id)

    def _receipt(self) -> media_pb2.Receipt:
        receipt = media_pb2.Receipt(provider_request_id=",".join(self._ids[:_MOST_IDS]))
        receipt.usage.characters = self._characters
        receipt.usage.audio_duration.FromNanoseconds(self._samples * 1_000_000_000 // self._table.sample_rate)
        return receipt


def _manner(
    config: speech_service_pb2.SpeechConfig, voice: str, table: ModelTable, dialect: Dialect
) -> dict[str, object]:
    """Return what a request says beside its text."""
    found: dict[str, object] = {"model": table.served, "response_format": dialect.audio_format}
    if voice:
        found["voice"] = voice
    if config.HasField("speaking_rate"):
        found["speed"] = config.speaking_rate
    if config.instructions:
        found["instructions"] = config.instructions
    if config.language_code and dialect.language == "name":
        found["language"] = LANGUAGE_NAMES[config.language_code.split("-", 1)[0].lower()]
    if config.language_code and dialect.language == "tag":
        found["language"] = config.language_code
    if dialect.states_rate:
        found["sample_rate"] = table.sample_rate
    found |= dict(dialect.streaming if streams(table, dialect) else dialect.whole)
    return found | table.options | options_of(config.provider_options, OWN_MEMBERS, "config.provider_options")
