"""Speech by jobs: a text is spoken once it is complete, with a voice whose recording the operator has on a disk."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pixvox.errors import InvalidMediaError, ProviderInternalError, ProviderNotConfiguredError
from pixvox.media import audio
from pixvox.provider import SpeechStream
from pixvox.providers.modal.jobs import MAX_NEW_TOKENS, Jobs
from pixvox.v1 import media_pb2, model_service_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from pixvox.provider import SpeechEvent, SpeechInput

SPEECH_MODEL = "qwen3-tts-voice-clone-06b"
SAMPLE_RATE_HERTZ = 24_000
# A job makes 2048 tokens at most, which is some 164 seconds of speech.
MAX_TEXT_CHARACTERS = 2_000
MAX_RECORDING_BYTES = 10 * 1024 * 1024

_BYTES_PER_SAMPLE = 2
# 100 ms.
_PIECE_BYTES = SAMPLE_RATE_HERTZ // 10 * _BYTES_PER_SAMPLE
_RATES = (24_000, 8_000, 16_000, 48_000)
_LANGUAGES = {
    "zh": "Chinese",
    "en": "English",
    "ja": "Japanese",
    "ko": "Korean",
    "de": "German",
    "fr": "French",
    "ru": "Russian",
    "pt": "Portuguese",
    "es": "Spanish",
    "it": "Italian",
}


class RecordedVoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A voice that the operator has recorded.

    Attributes:
        audio: Path of the recording, at most 10 MiB.
        transcript: What is said in it.
    """

    audio: str
    transcript: str


def speech_model(voices: Mapping[str, RecordedVoice]) -> model_service_pb2.Model:
    """Return what the app can do with these voices."""
    return model_service_pb2.Model(
        id=SPEECH_MODEL,
        description="Speaks by jobs of the earlier app on Modal; the whole audio comes at once, when the job is done.",
        stream_speech=model_service_pb2.StreamSpeechCapability(
            voices=[model_service_pb2.ModelVoice(id=name, description="A recorded voice.") for name in voices],
            language_codes=list(_LANGUAGES),
            encodings=list(audio.SAMPLE_RATES_HERTZ),
            sample_rates_hertz=_RATES,
            max_text_characters=MAX_TEXT_CHARACTERS,
        ),
    )


class JobSpeech:
    """The verb of `pixvox.provider.SpeechStreamer`.

    Args:
        jobs: Of the app.
        voices: By their names.
    """

    def __init__(self, jobs: Jobs, voices: Mapping[str, RecordedVoice]) -> None:
        self._jobs = jobs
        self._voices = voices

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text`; what comes before each flush, and the rest, is a job of its own."""
        name = config.voice or model.stream_speech.voices[0].id
        fields = await asyncio.to_thread(_fields, self._voices[name])
        fields["language"] = _LANGUAGES.get(config.language_code.partition("-")[0].lower(), "Auto")
        async with contextlib.aclosing(self._events(text, fields)) as events:
            yield SpeechStream(name, SAMPLE_RATE_HERTZ, events)

    async def _events(
        self, text: AsyncIterator[SpeechInput], fields: Mapping[str, object]
    ) -> AsyncGenerator[SpeechEvent, None]:
        receipt = media_pb2.Receipt()
        pending: list[str] = []
        samples = 0
        async for item in _with_end(text):
            if isinstance(item, str):
                pending.append(item)
                continue
            said = "".join(pending)
            pending.clear()
            receipt.usage.characters += len(said)
            for piece in await self._spoken(said, fields, receipt):
                samples += len(piece) // _BYTES_PER_SAMPLE
                yield piece
            if item is not None:
                yield speech_service_pb2.Flushed(id=item.id)
        receipt.usage.audio_duration.FromNanoseconds(samples * 1_000_000_000 // SAMPLE_RATE_HERTZ)
        yield receipt

    async def _spoken(self, text: str, fields: Mapping[str, object], receipt: media_pb2.Receipt) -> list[bytes]:
        if not text.strip():
            return []
        receipt.provider_request_id, file = await self._jobs.done({**fields, "text": text})
        try:
            samples, rate = await asyncio.to_thread(audio.decoded, file)
        except InvalidMediaError as error:
            raise _unplayable() from error
        if rate != SAMPLE_RATE_HERTZ:
            raise _unplayable()
        return [samples[start : start + _PIECE_BYTES] for start in range(0, len(samples), _PIECE_BYTES)]


async def _with_end(text: AsyncIterator[SpeechInput]) -> AsyncGenerator[SpeechInput | None, None]:
    """Give the text, and None behind it."""
    async for item in text:
        yield item
    yield None


def _fields(voice: RecordedVoice) -> dict[str, object]:
    try:
        recording = Path(voice.audio).read_bytes()
    except OSError as error:
        message = "The recording of the voice cannot be read; see voices in the provider's table of the settings."
        raise ProviderNotConfiguredError(message) from error
    encoded = base64.b64encode(recording).decode()
    return {"ref_audio_base64": encoded, "ref_text": voice.transcript, "max_new_tokens": MAX_NEW_TOKENS}


def _unplayable() -> ProviderInternalError:
    message = "The speech job gave something else than audio of 24 kHz."
    return ProviderInternalError(message, metadata={"replay": "accepted"})
