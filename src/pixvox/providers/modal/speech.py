"""Speech by the earlier app: a text is spoken once it is complete, by a job, or by one call if it is short.

The voice's recording goes along: the operator has it on a disk, or the catalogue has it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pixvox import telemetry
from pixvox.errors import InvalidMediaError, ProviderInternalError, ProviderNotConfiguredError
from pixvox.languages import LANGUAGE_CODES, language_name
from pixvox.media import audio
from pixvox.provider import MAX_REFERENCE_BYTES, SpeechStream
from pixvox.providers.modal import wire
from pixvox.providers.modal.jobs import MAX_NEW_TOKENS, Jobs
from pixvox.providers.modal.models import RATES, with_makings
from pixvox.v1 import media_pb2, model_service_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from pixvox.provider import Reference, SpeechEvent, SpeechInput
    from pixvox.providers.modal.endpoints import Endpoint

SPEECH_MODEL = "qwen3-tts-voice-clone-06b"
SAMPLE_RATE_HERTZ = 24_000
# A job makes 2048 tokens at most, which is some 164 seconds of speech.
MAX_TEXT_CHARACTERS = 2_000
MAX_RECORDING_BYTES = MAX_REFERENCE_BYTES

_BYTES_PER_SAMPLE = 2
# 100 ms.
_PIECE_BYTES = SAMPLE_RATE_HERTZ // 10 * _BYTES_PER_SAMPLE


class RecordedVoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A voice that the operator has recorded.

    Attributes:
        audio: Path of the recording, at most 10 MiB.
        transcript: What is said in it.
    """

    audio: str
    transcript: str


def speech_model(voices: Mapping[str, RecordedVoice], *, designs: bool) -> model_service_pb2.Model:
    """Return what the app can do with these voices, and with those that are made for it.

    Args:
        voices: That the operator has recorded.
        designs: Whether somebody invents voices for it.
    """
    model = model_service_pb2.Model(
        id=SPEECH_MODEL,
        description="Speaks by jobs of the earlier app on Modal; the whole audio comes at once, when the job is done.",
        stream_speech=model_service_pb2.StreamSpeechCapability(
            voices=[model_service_pb2.ModelVoice(id=name, description="A recorded voice.") for name in voices],
            language_codes=LANGUAGE_CODES,
            encodings=list(audio.SAMPLE_RATES_HERTZ),
            sample_rates_hertz=RATES,
            max_text_characters=MAX_TEXT_CHARACTERS,
            needs_made_voice=not voices,
        ),
    )
    return with_makings(model, designs=designs, needs_transcript=True)


class JobSpeech:
    """The verbs of `pixvox.provider.SpeechStreamer` and `ReferenceSpeaker`.

    Args:
        jobs: Of the app.
        voices: By their names.
        clone: Speaks a text by one call, None where the app is not asked to.
        clone_characters: The longest text that is spoken so.
    """

    def __init__(
        self, jobs: Jobs, voices: Mapping[str, RecordedVoice], clone: Endpoint | None = None, clone_characters: int = 0
    ) -> None:
        self._jobs = jobs
        self._voices = voices
        self._clone = clone
        self._clone_characters = clone_characters if clone is not None else 0

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
        async with self._speaking(name, fields, config, text) as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text` with a voice of the catalogue; see `stream_speech`."""
        fields = await asyncio.to_thread(_referring, reference.data, reference.transcript)
        async with self._speaking(config.voice, fields, config, text) as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def _speaking(
        self,
        voice: str,
        fields: dict[str, object],
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
    ) -> AsyncIterator[SpeechStream]:
        fields["language"] = language_name(config.language_code)
        fields |= wire.numbers(config.provider_options, ("max_new_tokens",), "config.")
        async with contextlib.aclosing(self._events(text, fields)) as events:
            yield SpeechStream(voice, SAMPLE_RATE_HERTZ, events)

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
        receipt.provider_request_id, file = await self._made({**fields, "text": text})
        try:
            samples, rate = await asyncio.to_thread(audio.decoded, file)
        except InvalidMediaError as error:
            raise _unplayable(receipt.provider_request_id) from error
        if rate != SAMPLE_RATE_HERTZ:
            raise _unplayable(receipt.provider_request_id)
        return [samples[start : start + _PIECE_BYTES] for start in range(0, len(samples), _PIECE_BYTES)]

    async def _made(self, fields: Mapping[str, object]) -> tuple[str, bytes]:
        """Return what the app calls its work, and the file that came of it."""
        if self._clone is None or len(str(fields["text"])) > self._clone_characters:
            telemetry.took_lane("job")
            return await self._jobs.done(fields)
        telemetry.took_lane("direct")
        body = await asyncio.to_thread(msgspec.json.encode, fields)
        file, request_id = await self._clone.work(body, "speech")
        return request_id, file


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
    return _referring(recording, voice.transcript)


def _referring(recording: bytes, transcript: str) -> dict[str, object]:
    encoded = base64.b64encode(recording).decode()
    return {"ref_audio_base64": encoded, "ref_text": transcript, "max_new_tokens": MAX_NEW_TOKENS}


def _unplayable(request_id: str) -> ProviderInternalError:
    message = "The speech app gave something else than audio of 24 kHz."
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": "accepted"}
    return ProviderInternalError(message, metadata=metadata)
