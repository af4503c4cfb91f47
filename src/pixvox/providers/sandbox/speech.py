"""The sandbox's speech: trickling text is cut into segments, espeak-ng speaks them, and their samples flow out."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

from pixvox.concurrency import alongside
from pixvox.errors import Violation, VoiceNotFoundError
from pixvox.media import audio
from pixvox.provider import SpeechStream
from pixvox.providers.sandbox import espeak
from pixvox.providers.sandbox.faults import Fault, options_of, rehearse_chunk, rehearse_start
from pixvox.providers.sandbox.languages import LANGUAGE_CODES, Guess, voice_of
from pixvox.providers.sandbox.segments import Segmenter, ends_with_mark
from pixvox.v1 import media_pb2, model_service_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from pixvox.provider import SpeechEvent, SpeechInput

MODEL = "sandbox-speech"
SAMPLE_RATES_HERTZ = (24000, 8000, 16000, 48000)
MAX_TEXT_CHARACTERS = 10_000

# Id to espeak-ng's variant and what it sounds like.
_VOICES = {
    "aria": ("f2", "A clear synthetic voice in a woman's range."),
    "bruno": ("m3", "A clear synthetic voice in a man's range."),
    "clara": ("Annie", "A bright synthetic voice in a woman's range."),
    "dario": ("david", "A very deep synthetic voice in a man's range."),
}
_DEFAULT_VOICE = "aria"
# When no text came for so long, the words that there are will not wait for the end of their sentence.
_PAUSE_SECONDS = 0.3
# Pieces of text that are read ahead of the voice.
_READ_AHEAD = 8
_BYTES_PER_SAMPLE = 2


def speech_models() -> list[model_service_pb2.Model]:
    """Return the capability table of the sandbox's speech."""
    return [
        model_service_pb2.Model(
            id=MODEL,
            description="Speaks for trial with espeak-ng, on this machine and free of charge.",
            stream_speech=model_service_pb2.StreamSpeechCapability(
                voices=[
                    model_service_pb2.ModelVoice(id=identifier, description=description)
                    for identifier, (_, description) in _VOICES.items()
                ],
                language_codes=LANGUAGE_CODES,
                encodings=list(audio.SAMPLE_RATES_HERTZ),
                sample_rates_hertz=SAMPLE_RATES_HERTZ,
                max_text_characters=MAX_TEXT_CHARACTERS,
                speaking_rate=model_service_pb2.Range(min=0.5, max=2.0),
                pitch=model_service_pb2.Range(min=0.5, max=2.0),
                volume=model_service_pb2.Range(min=0.0, max=100.0),
                takes_instructions=False,
                speaks_while_text_arrives=True,
                streams_audio=True,
            ),
        )
    ]


class SandboxSpeech:
    """Speaks; the verb of `pixvox.provider.SpeechStreamer`."""

    def __init__(self, *, faults: bool = True) -> None:
        """Start nothing yet; `faults` is whether failures are rehearsed at a request's wish."""
        self._faults = faults
        self._espeak = espeak.Espeak()

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text`; see `pixvox.provider.SpeechStreamer`.

        An error of `text` comes out of the block at once. A segment is spoken when its sentence has ended, at a
        `Flush`, at the end of the text, or when no text came for 0.3 seconds. Text is read a few pieces ahead.

        Raises:
            InvalidRequestError: The provider options are wrong.
            UnsupportedError: The language is not spoken.
            VoiceNotFoundError: There is no such voice.
            ProviderError: espeak-ng cannot be started or failed, or a fault was asked for.
        """
        fault = options_of(config, faults=self._faults).fault
        voice = config.voice or _DEFAULT_VOICE
        call = _Call(self._espeak, config, _manner(config, voice, model), fault)
        await rehearse_start(fault)
        await self._espeak.open()
        await audio.preload()
        async with alongside(call.read(text)):
            with contextlib.closing(call):
                async with contextlib.aclosing(call.events()) as events:
                    yield SpeechStream(voice, call.sample_rate_hertz, events)

    async def aclose(self) -> None:
        """End the espeak-ng process."""
        await self._espeak.aclose()


class _Call:
    """One call: the text that came, what of it is spoken, and the samples that went out."""

    def __init__(
        self, engine: espeak.Espeak, config: speech_service_pb2.SpeechConfig, manner: espeak.Manner, fault: Fault
    ) -> None:
        wanted = config.format.sample_rate_hertz
        self.sample_rate_hertz = wanted if wanted in SAMPLE_RATES_HERTZ else SAMPLE_RATES_HERTZ[0]
        self._espeak = engine
        self._manner = manner
        self._fault = fault
        self._language = voice_of(config.language_code) if config.language_code else None
        self._guess = Guess()
        self._inbox: asyncio.Queue[SpeechInput | None] = asyncio.Queue(_READ_AHEAD)
        self._segmenter = Segmenter()
        self._text_ended = False
        self._speech: espeak.Speech | None = None
        self._encoder = self._new_encoder()
        self._characters = 0
        self._chunks = 0
        self._samples = 0

    async def read(self, text: AsyncIterator[SpeechInput]) -> None:
        """Take the text in as far as it can be spoken soon."""
        async for item in text:
            await self._inbox.put(item)
        await self._inbox.put(None)

    async def events(self) -> AsyncGenerator[SpeechEvent, None]:
        """Speak what comes in; the events of a `SpeechStream`."""
        while not self._text_ended:
            for part in await self._parts():
                if isinstance(part, speech_service_pb2.Flush):
                    # The resampler has a few samples left, which belong before the mark.
                    if rest := await self._chunk(self._encoder.finish()):
                        yield rest
                    self._encoder = self._new_encoder()
                    yield speech_service_pb2.Flushed(id=part.id)
                    continue
                self._characters += len(part)
                if part.isspace():
                    continue
                self._speech = self._spoken(part)
                async for samples in self._speech:
                    if chunk := await self._chunk(self._encoder.encode(samples)):
                        yield chunk
        if rest := await self._chunk(self._encoder.finish()):
            yield rest
        yield self._receipt()

    def close(self) -> None:
        """Have nothing more spoken."""
        if self._speech is not None:
            self._speech.close()

    async def _parts(self) -> list[str | speech_service_pb2.Flush]:
        """Wait for input and return what it completes: segments, and a flush behind the segments before it."""
        try:
            async with asyncio.timeout(_PAUSE_SECONDS if self._segmenter.pending else None):
                item = await self._inbox.get()
        except TimeoutError:
            return [*self._segmenter.pause()]
        if item is None:
            self._text_ended = True
            return [*self._segmenter.flush()]
        if isinstance(item, str):
            return [*self._segmenter.push(item)]
        return [*self._segmenter.flush(), item]

    def _spoken(self, segment: str) -> espeak.Speech:
        language = self._language or voice_of(self._guess.language_of(segment))
        # Behind the very last word nobody waits for a pause.
        pause = ends_with_mark(segment) and not self._text_ended
        return self._espeak.speak(segment, language, self._manner, pause=pause)

    async def _chunk(self, chunk: bytes) -> bytes:
        if chunk:
            await rehearse_chunk(self._fault, self._chunks)
            self._chunks += 1
            self._samples += len(chunk) // _BYTES_PER_SAMPLE
        return chunk

    def _new_encoder(self) -> audio.StreamEncoder:
        return audio.StreamEncoder(
            self._manner.sample_rate_hertz,
            media_pb2.AudioFormat(
                encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=self.sample_rate_hertz
            ),
        )

    def _receipt(self) -> media_pb2.Receipt:
        receipt = media_pb2.Receipt(
            provider_request_id=uuid.uuid4().hex,
            usage=media_pb2.Usage(characters=self._characters),
            cost=media_pb2.Cost(state=media_pb2.COST_STATE_PRICED, amount="0", currency="USD", price_table="sandbox"),
        )
        receipt.usage.audio_duration.FromNanoseconds(self._samples * 1_000_000_000 // self.sample_rate_hertz)
        return receipt


def _manner(config: speech_service_pb2.SpeechConfig, voice: str, model: model_service_pb2.Model) -> espeak.Manner:
    if voice not in _VOICES:
        raise VoiceNotFoundError(
            "The sandbox has no voice of that name.",
            Violation("config.voice", f"allowed: {', '.join(_VOICES)}"),
            metadata={"voice": voice, "model": model.id},
            resource=("pixvox.v1.ModelVoice", voice),
        )
    variant, _ = _VOICES[voice]
    return espeak.Manner(
        variant,
        rate=config.speaking_rate if config.HasField("speaking_rate") else 1.0,
        pitch=config.pitch if config.HasField("pitch") else 1.0,
        volume=config.volume if config.HasField("volume") else 50.0,
    )
