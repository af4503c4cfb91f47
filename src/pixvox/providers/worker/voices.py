"""Voices for workers that keep none: a voice is a recording, which the catalogue keeps and which goes out whenever it speaks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pixvox import references, telemetry
from pixvox.errors import InvalidAudioError, InvalidMediaError, Violation
from pixvox.languages import language_name
from pixvox.providers.worker.options import SPEECH, options_of
from pixvox.providers.worker.speech import utterance
from pixvox.utterances import BYTES_PER_SAMPLE, senseless

if TYPE_CHECKING:
    from pixvox.provider import MadeVoice, Recording
    from pixvox.providers.worker.fleet import Fleet
    from pixvox.v1 import model_service_pb2, voice_service_pb2

# That of the model which invents voices.
_RATE = 24_000


class WorkerVoices:
    """The verbs of `pixvox.provider.VoiceCloner` and `VoiceDesigner`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Return the recording as a voice; asks no worker. See `pixvox.provider.VoiceCloner`."""
        telemetry.took_lane("reference")
        try:
            return await references.cloned(request, recording)
        except InvalidMediaError as error:
            violation = Violation("audio", "cannot be decoded")
            raise InvalidAudioError("The recording is no audio that can be decoded.", violation) from error

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Have a voice invented, whose preview is the recording from then on; see `pixvox.provider.VoiceDesigner`."""
        table = self._fleet.tables[model.id]
        telemetry.took_lane("sse")
        fields: dict[str, object] = {
            "model": table.design_name,
            "input": request.preview_text,
            "task_type": "VoiceDesign",
            "instructions": request.description,
            "language": language_name(request.language_code),
            "response_format": "pcm",
            "sample_rate": _RATE,
            "stream": True,
            "stream_format": "sse",
        }
        fields |= options_of(request.provider_options, SPEECH, "provider_options")
        preview = bytearray()
        longest = int(references.MAX_SECONDS * _RATE) * BYTES_PER_SAMPLE
        async with contextlib.aclosing(utterance(self._fleet.designers(model.id), fields, _RATE)) as spoken:
            while audio := await spoken.piece():
                preview += audio
                if len(preview) > longest:
                    what = f"spoke the preview for more than {references.MAX_SECONDS:g} seconds"
                    raise senseless(what, spoken.request_id)
        if not preview:
            raise senseless("says that it has spoken the preview, and gave no audio", spoken.request_id)
        return await references.designed(request, bytes(preview), _RATE, provider_request_id=spoken.request_id)
