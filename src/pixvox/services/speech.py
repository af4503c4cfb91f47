"""SpeechService: StreamSpeech and SynthesizeSpeech."""

from __future__ import annotations

import asyncio
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
from pixvox.v1 import media_pb2, speech_service_pb2, speech_service_pb2_grpc
from pixvox.voices import resolved

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import grpc

    from pixvox.provider import SpeechEvent, SpeechInput, SpeechStream
    from pixvox.routing import Router, Target
    from pixvox.settings import Settings
    from pixvox.voices import VoiceStore

BYTES_PER_SAMPLE = 2
ANSWER_MARGIN = 64 * 1024
CONFIG_FIRST = "The first message of the stream has to be config."


class SpeechService(speech_service_pb2_grpc.SpeechServiceServicer):
    """Routes speech calls and encodes their audio."""

    def __init__(self, router: Router, voices: VoiceStore, settings: Settings) -> None:
        self._router = router
        self._voices = voices
        self._settings = settings

    async def StreamSpeech(
        self,
        requests: AsyncIterator[speech_service_pb2.StreamSpeechRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Speak text while it arrives; see the proto for the order of messages."""
        asked = await _config(requests)
        config, target = await resolved(asked, self._voices, self._router)
        async with (
            aclosing(_text(requests, target)) as text,
            target.stream_speech(config, text) as (stream, events),
        ):
            await _Answer(context, target, stream, asked).send(events)

    async def SynthesizeSpeech(
        self, request: speech_service_pb2.SynthesizeSpeechRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> speech_service_pb2.SynthesizeSpeechResponse:
        """Speak a whole text into one finished piece of audio."""
        config, target = await resolved(request.config, self._voices, self._router)
        if not request.text.strip():
            raise InvalidRequestError("There is no text to speak.", Violation("text", "is empty"))
        limits.check_text_length(len(request.text), target.model)
        async with aclosing(_single(request.text)) as text, target.stream_speech(config, text) as (stream, events):
            answer = await self._collected(stream, events, _resolved(config, stream))
        answer.voice = request.config.voice or stream.voice
        return answer

    async def _collected(
        self, stream: SpeechStream, events: AsyncIterator[SpeechEvent], audio_format: media_pb2.AudioFormat
    ) -> speech_service_pb2.SynthesizeSpeechResponse:
        pcm = bytearray()
        answer = speech_service_pb2.SynthesizeSpeechResponse(format=audio_format)
        async for event in events:
            if isinstance(event, bytes):
                pcm += event
            elif isinstance(event, media_pb2.Warning):
                answer.warnings.append(event)
            elif isinstance(event, media_pb2.Receipt):
                answer.receipt.CopyFrom(event)
        if not answer.HasField("receipt"):
            raise _broken_off()
        answer.audio_duration.FromNanoseconds(_nanoseconds(len(pcm) // BYTES_PER_SAMPLE, stream.sample_rate_hertz))
        answer.data = await asyncio.to_thread(encoded_whole, bytes(pcm), stream.sample_rate_hertz, audio_format)
        if len(answer.data) > self._settings.server.max_response_bytes - ANSWER_MARGIN:
            raise OutputTooLargeError(
                f"The audio has {len(answer.data)} bytes.",
                Violation("config.format.encoding", "ask for a denser encoding, or use StreamSpeech"),
            )
        answer.sha256 = hashlib.sha256(answer.data).hexdigest()
        answer.mime_type = mime_type_of(audio_format)
        return answer


class _Answer:
    """The service's half of one stream, which keeps its invariants."""

    def __init__(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        target: Target,
        stream: SpeechStream,
        config: speech_service_pb2.SpeechConfig,
    ) -> None:
        self._context = context
        self._target = target
        self._stream = stream
        self._voice = config.voice or stream.voice
        self._format = _resolved(config, stream)
        self._encoder = StreamEncoder(stream.sample_rate_hertz, self._format)
        self._digest = hashlib.sha256()
        self._source_bytes = 0
        self._summary = speech_service_pb2.SpeechSummary()

    async def send(self, events: AsyncIterator[SpeechEvent]) -> None:
        """Send everything from started to summary."""
        if self._format != media_pb2.AudioFormat(
            encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=self._stream.sample_rate_hertz
        ):
            await preload()
        await self._write(started=self._started())
        async for event in events:
            if isinstance(event, bytes):
                self._source_bytes += len(event)
                await self._audio(self._encoder.encode(event))
            elif isinstance(event, speech_service_pb2.Flushed):
                await self._write(flushed=event)
            elif isinstance(event, media_pb2.Warning):
                await self._write(warning=event)
            else:
                await self._audio(self._encoder.finish())
                await self._write(summary=self._finished(event))
                return
        raise _broken_off()

    def _started(self) -> speech_service_pb2.SpeechStarted:
        return speech_service_pb2.SpeechStarted(
            request_id=telemetry.current_call().request_id,
            provider=self._target.entry.name,
            region=self._stream.region,
            model=self._target.model.id,
            voice=self._voice,
            format=self._format,
        )

    async def _audio(self, data: bytes) -> None:
        if not data:
            return
        chunk = speech_service_pb2.AudioChunk(
            sequence=self._summary.chunks, offset_samples=self._encoder.offset_samples, data=data
        )
        self._summary.chunks += 1
        self._summary.size_bytes += len(data)
        self._digest.update(data)
        await self._write(audio=chunk)

    def _finished(self, receipt: media_pb2.Receipt) -> speech_service_pb2.SpeechSummary:
        self._summary.sha256 = self._digest.hexdigest()
        samples = self._source_bytes // BYTES_PER_SAMPLE
        self._summary.audio_duration.FromNanoseconds(_nanoseconds(samples, self._stream.sample_rate_hertz))
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
    requests: AsyncIterator[speech_service_pb2.StreamSpeechRequest], target: Target
) -> AsyncGenerator[SpeechInput, None]:
    characters = 0
    spoken = False
    async for request in requests:
        kind = request.WhichOneof("message")
        if kind == "flush":
            yield request.flush
        elif kind == "text":
            if not request.text:
                raise InvalidRequestError("A text message is empty.", Violation("text", "is empty"))
            characters += len(request.text)
            limits.check_text_length(characters, target.model)
            spoken = spoken or not request.text.isspace()
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
