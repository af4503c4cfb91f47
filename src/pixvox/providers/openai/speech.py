"""Speech: a text is spoken once it is complete, by one request; see `pixvox.utterances`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pixvox import telemetry
from pixvox.errors import InvalidRequestError, Violation
from pixvox.providers.openai import speech_wire
from pixvox.providers.openai.utterances import Sound
from pixvox.utterances import speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pixvox.provider import Reference, SpeechInput, SpeechStream
    from pixvox.providers.openai.engine import Engine
    from pixvox.v1 import model_service_pb2, speech_service_pb2

_LANES = {"events": "sse", "samples": "raw", "whole": "whole"}


class OpenAISpeech:
    """The verbs of `pixvox.provider.SpeechStreamer` and `ReferenceSpeaker`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
        reference: Reference | None = None,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text`; see `pixvox.provider.SpeechStreamer`. Nothing is asked before there is a whole text.

        Args:
            config: How.
            text: What.
            model: By which.
            reference: Whose voice shall speak, None for a voice that the engine has.

        Raises:
            InvalidRequestError: The model speaks by references, and there is none.
        """
        engine = self._engine
        engine.check_ready()
        table = engine.tables[model.id]
        if table.checkpoint == "base" and reference is None:
            raise InvalidRequestError(
                f"{model.id} speaks only with voices that were made for it.",
                Violation("config.voice", "allowed: the id of a voice that was made for this model"),
            )
        voice = config.voice or (table.voices[0] if table.voices else "")
        manner = speech_wire.manner(config, voice, table, engine.dialect)
        telemetry.took_lane(_LANES[table.sound_of(engine.dialect)])

        def begun(words: str) -> Sound:
            body, content_type = speech_wire.encoded(manner, words, reference, engine.dialect)
            return Sound(engine.pool, body, content_type, table.sample_rate)

        async with speaking(begun, voice, text, table.sample_rate) as stream:
            yield stream
