"""Voices that are recordings: cloned by being taken as they are, and designed by an engine that has a checkpoint for that."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pixvox import references, telemetry
from pixvox.errors import ProviderInternalError
from pixvox.providers.openai import speech_wire
from pixvox.providers.openai.utterances import Sound

if TYPE_CHECKING:
    from pixvox.provider import MadeVoice, Recording
    from pixvox.providers.openai.engine import Engine
    from pixvox.v1 import model_service_pb2, voice_service_pb2

_BYTES_PER_SAMPLE = 2


class OpenAIVoices:
    """The verbs of `pixvox.provider.VoiceCloner` and `VoiceDesigner`, for models that speak by references."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Take a recording for a voice, and ask nobody; see `pixvox.provider.VoiceCloner`."""
        self._engine.check_ready()
        telemetry.took_lane("reference")
        return await references.cloned(request, recording)

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Have a preview spoken as described, which is the voice from then on; see `pixvox.provider.VoiceDesigner`."""
        engine = self._engine
        engine.check_ready()
        telemetry.took_lane("reference")
        table = engine.tables[model.id]
        members = speech_wire.designing(request.description, request.language_code, table, engine.dialect)
        body, content_type = speech_wire.encoded(members, request.preview_text, None, engine.dialect)
        async with contextlib.aclosing(
            Sound(engine.designers[model.id], body, content_type, table.sample_rate)
        ) as sound:
            preview = await _heard(sound, table.sample_rate)
        return await references.designed(request, preview, table.sample_rate, provider_request_id=sound.request_id)


async def _heard(sound: Sound, rate: int) -> bytes:
    pieces: list[bytes] = []
    left = int(references.MAX_SECONDS * rate) * _BYTES_PER_SAMPLE
    while left > 0 and (piece := await sound.piece()):
        pieces.append(piece)
        left -= len(piece)
    if left <= 0 or not pieces:
        what = f"spoke the preview for more than {references.MAX_SECONDS:g} seconds" if pieces else "gave no audio"
        metadata = {"provider_code": "", "provider_request_id": sound.request_id, "replay": "committed"}
        raise ProviderInternalError(f"The provider {what}; the work may have been billed.", metadata=metadata)
    return b"".join(pieces)
