"""What the kit asks for when voices are made: a recording, a description, and that they are deleted again."""

from __future__ import annotations

import io
import math
import uuid
import wave
from array import array
from typing import TYPE_CHECKING, Any

from pixvox.errors import PixvoxError
from pixvox.media.recordings import RecordingRules, checked_recording
from pixvox.provider import Recording, VoiceDeleter
from pixvox.testing.conformance import requests, speaking
from pixvox.testing.conformance.cases import SPEECH, Case
from pixvox.testing.conformance.ending import ending_of
from pixvox.testing.conformance.findings import CheckSkippedError
from pixvox.v1 import media_pb2, model_service_pb2, voice_service_pb2

if TYPE_CHECKING:
    from pixvox.provider import MadeVoice
    from pixvox.testing.conformance.trial import Trial

DISPLAY_NAME = "conformance"
DESCRIPTION = "A calm voice of a woman of about forty, who reads the news"

_KINDS = {
    "clone_voice": voice_service_pb2.VOICE_KIND_CLONED,
    "design_voice": voice_service_pb2.VOICE_KIND_DESIGNED,
}
_RATE = 24_000
_USUAL_SECONDS = 8.0
_FULL_SCALE = 32767


async def recording(case: Case) -> Recording:
    """Return a recording that a model takes: that of the hints, else speech of the provider's own, else tones.

    Raises:
        CheckSkippedError: The model takes none of them.
    """
    capability = case.model.clone_voice
    given = case.trial.hints.recording or _wav(*await _speech(case.trial, _seconds(capability)))
    rules = RecordingRules(
        min_seconds=capability.min_audio_seconds,
        max_seconds=capability.max_audio_seconds,
        min_rate_hertz=capability.min_sample_rate_hertz,
        max_bytes=capability.max_audio_bytes,
    )
    try:
        checked = checked_recording(given, field="audio", rules=rules)
    except PixvoxError as error:
        raise CheckSkippedError(f"{case.model.id} does not take the kit's recording; see Hints.recording") from error
    return Recording(checked.data, checked.mime_type, checked.seconds)


def cloning(
    model: model_service_pb2.Model,
    audio: Recording,
    **fields: Any,  # noqa: ANN401
) -> voice_service_pb2.CloneVoiceRequest:
    """Return a request to clone a voice."""
    return voice_service_pb2.CloneVoiceRequest(
        display_name=DISPLAY_NAME,
        audio=media_pb2.MediaInput(data=audio.data),
        transcript=f"{speaking.SENTENCE} {requests.MARK}.",
        consent=voice_service_pb2.Consent(speaker="Nobody", statement="The voice is a machine's."),
        model=model.id,
        request_id=uuid.uuid4().hex,
        **fields,
    )


def designing(
    model: model_service_pb2.Model,
    **fields: Any,  # noqa: ANN401
) -> voice_service_pb2.DesignVoiceRequest:
    """Return a request to design a voice."""
    capability = model.design_voice
    description = f"{DESCRIPTION}, {requests.MARK}"
    return voice_service_pb2.DesignVoiceRequest(
        display_name=DISPLAY_NAME,
        description=description[: capability.max_description_characters or None],
        preview_text=speaking.sentence_for(model)[: capability.max_preview_text_characters or None],
        model=model.id,
        request_id=uuid.uuid4().hex,
        **fields,
    )


def record_of(case: Case, request_id: str, made: MadeVoice | None = None) -> voice_service_pb2.Voice:
    """Return a voice as the service's catalogue has it, before it was made or afterwards."""
    voice = voice_service_pb2.Voice(
        id=f"voices/{request_id}",
        kind=_KINDS[case.verb],
        display_name=DISPLAY_NAME,
        provider=case.trial.entry.name,
        region=case.trial.entry.region,
        model=case.model.id,
    )
    voice.receipt.request_id = request_id
    if made is not None:
        voice.provider_voice_id = made.provider_voice_id
        voice.provider_request_id = made.receipt.provider_request_id
    return voice


async def delete(case: Case, made: MadeVoice) -> None:
    """Delete a voice if the provider can, however that ends."""
    provider = case.trial.entry.provider
    if isinstance(provider, VoiceDeleter):
        await ending_of(provider.delete_voice(record_of(case, uuid.uuid4().hex, made)), within=case.trial.seconds)


def _seconds(capability: model_service_pb2.CloneVoiceCapability) -> float:
    longest = capability.max_audio_seconds or math.inf
    return min(max(capability.min_audio_seconds * 1.2, _USUAL_SECONDS), longest * 0.9)


async def _speech(trial: Trial, seconds: float) -> tuple[bytes, int]:
    """Return samples and their rate."""
    if not trial.has(SPEECH):
        return _tones(seconds), _RATE
    speaker = Case(trial, SPEECH, trial.usual_models(SPEECH)[0])
    spoken = await speaker.said(speaking.long_text(speaker.model, 400))
    pcm = spoken.pcm[: int(seconds * spoken.rate) * speaking.BYTES_PER_SAMPLE]
    enough = len(pcm) >= 0.9 * seconds * spoken.rate * speaking.BYTES_PER_SAMPLE
    return (pcm, spoken.rate) if enough else (_tones(seconds), _RATE)


def _tones(seconds: float) -> bytes:
    """Return tones that swell and fade as syllables do."""
    count = int(seconds * _RATE)
    return array(
        "h",
        (
            int(_FULL_SCALE / 3 * math.sin(index * 0.05 * (1 + index // 6000 % 5 / 8)) * abs(math.sin(index / 1900)))
            for index in range(count)
        ),
    ).tobytes()


def _wav(pcm: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(speaking.BYTES_PER_SAMPLE)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()
