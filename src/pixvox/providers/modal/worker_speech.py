"""Speech by our worker, as events that carry the audio while it is made; a text is spoken once it is complete.

Only events are passed on at once by a web function. A flush completes the text before it, which is spoken by a request of its
own; a text is never parted otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from pixvox import telemetry
from pixvox.providers.modal import refusals, speech_wire
from pixvox.providers.modal.speech_wire import PATH, SAMPLE_RATE_HERTZ
from pixvox.upstream import Reply
from pixvox.utterances import BYTES_PER_SAMPLE, AudioEvents, Complaints, speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import Reference, SpeechInput, SpeechStream
    from pixvox.providers.modal.deployment import Deployment
    from pixvox.v1 import model_service_pb2, speech_service_pb2

# 100 ms, of an answer that comes in one piece.
_PIECE_BYTES = SAMPLE_RATE_HERTZ // 10 * BYTES_PER_SAMPLE


class WorkerSpeech:
    """The verbs of `pixvox.provider.SpeechStreamer` and `ReferenceSpeaker`.

    Args:
        deployment: Of a worker with a model that speaks.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text` with a voice of the model. Nothing is asked before there is a whole text."""
        voice = config.voice or model.stream_speech.voices[0].id
        fields = speech_wire.manner(config, model.id) | speech_wire.own_voice(voice)
        async with self._speaking(voice, fields, text) as stream:
            yield stream

    @contextlib.asynccontextmanager
    async def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text` with a voice of the catalogue, whose recording goes along with every text."""
        referred = await asyncio.to_thread(speech_wire.referred_voice, reference)
        fields = speech_wire.manner(config, model.id) | referred
        async with self._speaking(config.voice, fields, text) as stream:
            yield stream

    def _speaking(
        self, voice: str, fields: Mapping[str, object], text: AsyncIterator[SpeechInput]
    ) -> AbstractAsyncContextManager[SpeechStream]:
        telemetry.took_lane("sse")
        return speaking(lambda said: _Utterance(self._deployment, said, fields), voice, text, SAMPLE_RATE_HERTZ)


class WorkerDesigner:
    """Has voices invented by a worker whose model does that; see `pixvox.providers.modal.makings.Designer`.

    Args:
        deployment: Of that worker.
        model: Its name there.
    """

    def __init__(self, deployment: Deployment, model: str) -> None:
        self._deployment = deployment
        self._model = model

    async def designed(self, text: str, description: str, language_code: str) -> tuple[bytes, str]:
        """Return a WAV file and what Modal or the worker calls the call; see `Designer`."""
        body = speech_wire.designed(text, description, language_code, self._model)
        headers = {"content-type": "application/json", "accept": "audio/wav, application/json"}
        done = await self._deployment.call(PATH, body, headers, "voice design")
        return done.body, done.request_id


class _Utterance:
    """A text that is spoken by one request; see `pixvox.utterances.Utterance`."""

    def __init__(self, deployment: Deployment, text: str, fields: Mapping[str, object]) -> None:
        self.request_id = ""
        self._deployment = deployment
        self._text = text
        self._fields = fields
        self._stack = AsyncExitStack()
        self._events: AudioEvents | None = None
        self._whole: bytes | None = None
        self._given = 0

    async def piece(self) -> bytes:
        """Return the next whole samples, or nothing when everything was spoken."""
        if self._events is None and self._whole is None:
            await self._open()
        if self._events is not None:
            return await self._events.piece()
        piece = (self._whole or b"")[self._given : self._given + _PIECE_BYTES]
        self._given += len(piece)
        return piece

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        await self._stack.aclose()

    async def _open(self) -> None:
        body = await asyncio.to_thread(speech_wire.spoken, self._text, self._fields)
        answer = self._deployment.events(PATH, body, "speech")
        opened, self.request_id = await self._stack.enter_async_context(answer)
        if isinstance(opened, Reply):
            self._whole = await asyncio.to_thread(speech_wire.whole_samples, opened, self.request_id)
        else:
            self._events = AudioEvents(
                lambda: contextlib.nullcontext(opened), SAMPLE_RATE_HERTZ, _complaints(self.request_id)
            )


def _complaints(request_id: str) -> Complaints:
    """Return how a stream's complaints are read; its refusals were read when it was opened."""
    return Complaints(
        refused=lambda reply: refusals.error_of(refusals.complaint_of(reply), request_id=request_id),
        failed=refusals.broken_off_by,
        request_id=lambda _: request_id,
    )
