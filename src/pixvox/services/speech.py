"""SpeechService: StreamSpeech and SynthesizeSpeech."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pixvox import limits, telemetry
from pixvox.errors import (
    InvalidRequestError,
    OutputTooLargeError,
    ProviderDisconnectedError,
    StreamOrderError,
    Violation,
)
from pixvox.media.audio import StreamEncoder, encoded_whole, mime_type_of, preload
from pixvox.routing import Opened
from pixvox.services.pace import Pace
from pixvox.v1 import media_pb2, speech_service_pb2, speech_service_pb2_grpc
from pixvox.voices import resolved

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import grpc

    from pixvox.idempotency import Idempotency
    from pixvox.provider import SpeechInput, SpeechStream
    from pixvox.routing import RoutedSpeech
    from pixvox.services.current import Current
    from pixvox.telemetry import Instruments
    from pixvox.voices import VoiceStore

BYTES_PER_SAMPLE = 2
ANSWER_MARGIN = 64 * 1024
CONFIG_FIRST = "The first message of the stream has to be config."


class SpeechService(speech_service_pb2_grpc.SpeechServiceServicer):
    """Routes speech calls and encodes their audio."""

    def __init__(
        self, current: Current, voices: VoiceStore, idempotency: Idempotency, instruments: Instruments
    ) -> None:
        self._current = current
        self._instruments = instruments
        self._voices = voices
        self._idempotency = idempotency

    async def StreamSpeech(
        self,
        requests: AsyncIterator[speech_service_pb2.StreamSpeechRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Speak text while it arrives; see the proto for the order of messages."""
        asked = await _config(requests)
        await self._idempotency.speech(asked, requests, context, functools.partial(self._spoken, asked))

    async def SynthesizeSpeech(
        self, request: speech_service_pb2.SynthesizeSpeechRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> speech_service_pb2.SynthesizeSpeechResponse:
        """Speak a whole text into one finished piece of audio."""
        config, plan = await resolved(request.config, self._voices, self._current.router)
        if not request.text.strip():
            raise InvalidRequestError("There is no text to speak.", Violation("text", "is empty"))
        plan.held_against(lambda model: limits.check_text_length(len(request.text), model)).checked()
        async with aclosing(_single(request.text)) as text, plan.stream_speech(config, text) as speech:
            return await self._collected(speech, request.config)

    async def _spoken(
        self,
        asked: speech_service_pb2.SpeechConfig,
        requests: AsyncIterator[speech_service_pb2.StreamSpeechRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        config, plan = await resolved(asked, self._voices, self._current.router)
        pace = Pace(self._instruments)
        async with (
            aclosing(_text(requests, pace)) as text,
            plan.checked().stream_speech(config, text) as speech,
        ):
            await _Answer(context, asked, pace).send(speech)

    async def _collected(
        self, speech: RoutedSpeech, config: speech_service_pb2.SpeechConfig
    ) -> speech_service_pb2.SynthesizeSpeechResponse:
        pcm = bytearray()
        rate = 0
        answer = speech_service_pb2.SynthesizeSpeechResponse()
        async for event in speech:
            if isinstance(event, bytes):
                pcm += event
            elif isinstance(event, Opened):
                rate = event.stream.sample_rate_hertz
                answer.voice = config.voice or event.stream.voice
                answer.format.CopyFrom(_resolved(config, event.stream))
            elif isinstance(event, media_pb2.Warning):
                answer.warnings.append(event)
            elif isinstance(event, media_pb2.Receipt):
                answer.receipt.CopyFrom(event)
        if not answer.HasField("receipt"):
            raise _broken_off()
        answer.audio_duration.FromNanoseconds(_nanoseconds(len(pcm) // BYTES_PER_SAMPLE, rate))
        answer.data = await asyncio.to_thread(encoded_whole, bytes(pcm), rate, answer.format)
        if len(answer.data) > self._current.settings.server.max_response_bytes - ANSWER_MARGIN:
            raise OutputTooLargeError(
                f"The audio has {len(answer.data)} bytes.",
                Violation("config.format.encoding", "ask for a denser encoding, or use StreamSpeech"),
            )
        answer.sha256 = hashlib.sha256(answer.data).hexdigest()
        answer.mime_type = mime_type_of(answer.format)
        return answer


class _Answer:
    """The service's half of one stream, which keeps its invariants."""

    def __init__(
        self, context: grpc.aio.ServicerContext[Any, Any], config: speech_service_pb2.SpeechConfig, pace: Pace
    ) -> None:
        self._context = context
        self._pace = pace
        self._config = config
        self._rate = 0
        self._encoder: StreamEncoder | None = None
        self._digest = hashlib.sha256()
        self._source_bytes = 0
        self._summary = speech_service_pb2.SpeechSummary()

    async def send(self, speech: RoutedSpeech) -> None:
        """Send everything from started to summary."""
        async for event in speech:
            if isinstance(event, bytes):
                self._source_bytes += len(event)
                self._pace.audio(len(event) / BYTES_PER_SAMPLE / self._rate)
                await self._audio(self._open_encoder.encode(event))
            elif isinstance(event, Opened):
                await self._start(event)
            elif isinstance(event, speech_service_pb2.Flushed):
                await self._write(flushed=event)
            elif isinstance(event, media_pb2.Warning):
                await self._write(warning=event)
            else:
                self._pace.ended()
                await self._audio(self._open_encoder.finish())
                await self._write(summary=self._finished(event))
                return
        raise _broken_off()

    @property
    def _open_encoder(self) -> StreamEncoder:
        if self._encoder is None:
            raise AssertionError
        return self._encoder

    async def _start(self, opened: Opened) -> None:
        stream = opened.stream
        self._rate = stream.sample_rate_hertz
        self._pace.opened(opened.target)
        wanted = _resolved(self._config, stream)
        self._encoder = StreamEncoder(self._rate, wanted)
        if wanted != media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=self._rate):
            await preload()
        started = speech_service_pb2.SpeechStarted(
            request_id=telemetry.current_call().request_id,
            provider=opened.target.entry.name,
            region=stream.region,
            model=opened.target.model.id,
            voice=self._config.voice or stream.voice,
            format=wanted,
        )
        await self._write(started=started)

    async def _audio(self, data: bytes) -> None:
        if not data:
            return
        chunk = speech_service_pb2.AudioChunk(
            sequence=self._summary.chunks, offset_samples=self._open_encoder.offset_samples, data=data
        )
        self._summary.chunks += 1
        self._summary.size_bytes += len(data)
        self._digest.update(data)
        await self._write(audio=chunk)

    def _finished(self, receipt: media_pb2.Receipt) -> speech_service_pb2.SpeechSummary:
        self._summary.sha256 = self._digest.hexdigest()
        samples = self._source_bytes // BYTES_PER_SAMPLE
        self._summary.audio_duration.FromNanoseconds(_nanoseconds(samples, self._rate))
        self._summary.receipt.CopyFrom(receipt)
        return self._summary

    async def _write(self, **message: object) -> None:
        await self._context.write(speech_service_pb2.StreamSpeechResponse(**message))  # type: ignore[arg-type]


async def _config(requests: AsyncIterator[speech_service_pb2.StreamSpeechRequest]) -> speech_service_pb2.SpeechConfig:
    async for request in requests:
        if request.WhichOneof("message") != "config":
            break
        call = telemetry.current_call()
        identifier = request.config.request_id
        if identifier and limits.violation_of_request_id(identifier) is None:
            call.request_id = identifier
        return request.config
    raise StreamOrderError(CONFIG_FIRST, Violation("config", "send it first, exactly once"))


async def _text(
    requests: AsyncIterator[speech_service_pb2.StreamSpeechRequest], pace: Pace
) -> AsyncGenerator[SpeechInput, None]:
    spoken = False
    async for request in requests:
        kind = request.WhichOneof("message")
        if kind == "flush":
            yield request.flush
        elif kind == "text":
            if not request.text:
                raise InvalidRequestError("A text message is empty.", Violation("text", "is empty"))
            spoken = spoken or not request.text.isspace()
            pace.text()
            yield request.text
        elif kind == "config":
            raise StreamOrderError("There is a second config.", Violation("config", "send it first, exactly once"))
        else:
            raise StreamOrderError("A message is empty.", Violation("message", "set text or flush"))
    if not spoken:
        raise InvalidRequestError("There is no text to speak.", Violation("text", "is empty"))


async def _single(text: str) -> AsyncGenerator[SpeechInput, None]:
    yield text


def _resolved(config: speech_service_pb2.SpeechConfig, stream: SpeechStream) -> media_pb2.AudioFormat:
    return media_pb2.AudioFormat(
        encoding=config.format.encoding or media_pb2.AUDIO_ENCODING_PCM_S16LE,
        sample_rate_hertz=config.format.sample_rate_hertz or stream.sample_rate_hertz,
    )


def _nanoseconds(samples: int, rate: int) -> int:
    return samples * 1_000_000_000 // rate


def _broken_off() -> ProviderDisconnectedError:
    return ProviderDisconnectedError("The provider ended the synthesis without finishing it; the audio is incomplete.")
