"""Makes voices that the catalogue keeps: from recordings, and from descriptions by whoever invents voices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from pixvox import references, telemetry
from pixvox.errors import InvalidMediaError, ProviderInternalError, ProviderNotConfiguredError
from pixvox.media import audio
from pixvox.utterances import BYTES_PER_SAMPLE

if TYPE_CHECKING:
    from pixvox.provider import MadeVoice, Recording
    from pixvox.v1 import model_service_pb2, voice_service_pb2


class Designer(Protocol):
    """Invents voices."""

    async def designed(self, text: str, description: str, language_code: str) -> tuple[bytes, str]:
        """Return the file of a voice as described that says `text`, and what Modal calls the call.

        Raises:
            ProviderError: There is none.
        """
        ...


class Makings:
    """The verbs of `pixvox.provider.VoiceCloner` and `VoiceDesigner`.

    Args:
        designer: Invents voices, None where nobody does.
    """

    def __init__(self, designer: Designer | None) -> None:
        self._designer = designer

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Return the recording as a voice; asks nobody."""
        telemetry.took_lane("reference")
        return await references.cloned(request, recording)

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Have a voice invented, whose preview is what it is spoken from."""
        if self._designer is None:
            message = "Nobody designs voices; set design_url or voice_design in the provider's table of the settings."
            raise ProviderNotConfiguredError(message)
        file, request_id = await self._designer.designed(
            request.preview_text, request.description, request.language_code
        )
        samples, rate = await asyncio.to_thread(_played, file, request_id)
        return await references.designed(request, samples, rate, provider_request_id=request_id)


def _played(file: bytes, request_id: str) -> tuple[bytes, int]:
    try:
        samples, rate = audio.decoded(file)
    except InvalidMediaError as error:
        raise _silent(request_id) from error
    if not 0 < len(samples) <= references.MAX_SECONDS * rate * BYTES_PER_SAMPLE:
        raise _silent(request_id)
    return samples, rate


def _silent(request_id: str) -> ProviderInternalError:
    metadata = {"provider_code": "", "provider_request_id": request_id, "replay": "accepted"}
    return ProviderInternalError("The design gave no audio, or too much to be spoken from.", metadata=metadata)
