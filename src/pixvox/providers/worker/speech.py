"""Speech of workers: a text is spoken once it is complete, by one request, and its audio comes while it is made."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

import msgspec

from pixvox import telemetry
from pixvox.errors import Violation, VoiceNotFoundError
from pixvox.languages import language_name
from pixvox.providers.worker.fleet import deadline_headers
from pixvox.providers.worker.options import SPEECH, options_of
from pixvox.providers.worker.refusals import SPEECH_COMPLAINTS
from pixvox.utterances import AudioEvents, speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Reference, SpeechInput, SpeechStream
    from pixvox.providers.worker.fleet import Fleet
    from pixvox.providers.worker.models import ModelTable
    from pixvox.upstream import EventStream
    from pixvox.upstream.pool import Pool
    from pixvox.v1 import model_service_pb2, speech_service_pb2

_PATH = "/v1/audio/speech"
_OPERATION = "speech"
_OPTIONS = "config.provider_options"


class WorkerSpeech:
    """The verbs of `pixvox.provider.SpeechStreamer` and `ReferenceSpeaker`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak with a voice that the model has; see `pixvox.provider.SpeechStreamer`."""
        table = self._fleet.tables[model.id]
        if not table.voices:
            message = "The model speaks only with voices that were made for it, and this one has no recording."
            raise VoiceNotFoundError(message, Violation("config.voice", "is a voice without a recording"))
        voice = config.voice or table.voices[0]
        found = manner(config, model.id, table) | {"voice": voice, "task_type": "CustomVoice"}
        async with self._speaking(found, voice, text, model) as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak as in a recording; see `pixvox.provider.ReferenceSpeaker`."""
        table = self._fleet.tables[model.id]
        packed = base64.b64encode(reference.data).decode()
        found = manner(config, model.id, table) | {
            "task_type": "Base",
            "ref_audio": f"data:{reference.mime_type};base64,{packed}",
        }
        # What is said in the recording makes the voice better; without it, only its timbre is taken.
        found |= {"ref_text": reference.transcript} if reference.transcript else {"x_vector_only_mode": True}
        async with self._speaking(found, config.voice, text, model) as stream:
            yield stream

    def _speaking(
        self, found: Mapping[str, object], voice: str, text: AsyncIterator[SpeechInput], model: model_service_pb2.Model
    ) -> AbstractAsyncContextManager[SpeechStream]:
        telemetry.took_lane("sse")
        pool, rate = self._fleet.workers(model.id), self._fleet.tables[model.id].sample_rate
        return speaking(lambda words: utterance(pool, {**found, "input": words}, rate), voice, text, rate)


def manner(config: speech_service_pb2.SpeechConfig, model: str, table: ModelTable) -> dict[str, object]:
    """Return what a request says beside its text and its voice.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    found: dict[str, object] = {
        "model": table.name or model,
        "response_format": "pcm",
        "sample_rate": table.sample_rate,
        "stream": True,
        "stream_format": "sse",
        "language": language_name(config.language_code),
    }
    if config.instructions:
        found["instructions"] = config.instructions
    return found | options_of(config.provider_options, SPEECH, _OPTIONS)


def utterance(pool: Pool, fields: Mapping[str, object], rate: int) -> AudioEvents:
    """Return a text that is spoken by one request, which is sent when its first piece is asked for.

    Args:
        pool: Of the workers.
        fields: Of the request.
        rate: Samples per second that are expected.
    """

    def opened() -> AbstractAsyncContextManager[EventStream]:
        body = msgspec.json.encode(fields)
        return pool.events(_PATH, body=body, headers=deadline_headers(), operation=_OPERATION)

    return AudioEvents(opened, rate, SPEECH_COMPLAINTS)
