"""Makes voices that no provider keeps: a voice is a recording that is given along whenever the voice speaks."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from pixvox.errors import InvalidParameterError, ProviderInternalError, Violation
from pixvox.media import audio
from pixvox.media.recordings import SILENT_PEAK
from pixvox.provider import MAX_REFERENCE_BYTES, MadeVoice, Reference
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.provider import Recording
    from pixvox.v1 import voice_service_pb2

WAV = "audio/wav"
# What Qwen3-TTS and its servers take.
RATE_HERTZ = 24_000
MIN_SECONDS = 1.0
MAX_SECONDS = 30.0
MAX_BYTES = MAX_REFERENCE_BYTES
MAX_DESCRIPTION_CHARACTERS = 500
# What takes longer to say than `MAX_SECONDS` makes no reference.
MAX_PREVIEW_CHARACTERS = 300

_BYTES_PER_SAMPLE = 2


def clone_capability(
    language_codes: Iterable[str], *, needs_transcript: bool
) -> model_service_pb2.CloneVoiceCapability:
    """Return what recordings can be cloned.

    Args:
        language_codes: BCP-47 tags of the languages.
        needs_transcript: Whether it has to be known what is said in a recording.
    """
    return model_service_pb2.CloneVoiceCapability(
        max_audio_bytes=MAX_BYTES,
        min_audio_seconds=MIN_SECONDS,
        max_audio_seconds=MAX_SECONDS,
        language_codes=language_codes,
        needs_transcript=needs_transcript,
    )


def design_capability(language_codes: Iterable[str]) -> model_service_pb2.DesignVoiceCapability:
    """Return what voices can be designed; arguments are those of `clone_capability`."""
    return model_service_pb2.DesignVoiceCapability(
        max_description_characters=MAX_DESCRIPTION_CHARACTERS,
        max_preview_text_characters=MAX_PREVIEW_CHARACTERS,
        language_codes=language_codes,
    )


async def cloned(request: voice_service_pb2.CloneVoiceRequest, recording: Recording) -> MadeVoice:
    """Return the voice that a recording is, made into a mono WAV of 16 bits and 24 kHz; asks nobody.

    Raises:
        InvalidMediaError: The recording cannot be decoded.
    """
    data = await asyncio.to_thread(_normalised, recording.data)
    reference = Reference(data, WAV, request.transcript, request.language_code)
    return MadeVoice(_new_id(), media_pb2.Receipt(usage=media_pb2.Usage(voices=1)), reference=reference)


async def designed(
    request: voice_service_pb2.DesignVoiceRequest, preview: bytes, rate: int, *, provider_request_id: str
) -> MadeVoice:
    """Return the voice whose recording is the preview of its design.

    Args:
        request: That was answered.
        preview: 16-bit signed little-endian mono samples of the request's preview text, at most 30 seconds.
        rate: Of the preview, in samples per second.
        provider_request_id: Of the call that made it, or empty.

    Raises:
        InvalidParameterError: The preview is too short to speak from.
        ProviderInternalError: The preview is silent.
    """
    metadata = {"provider_code": "", "provider_request_id": provider_request_id, "replay": "accepted"}
    await asyncio.to_thread(_check_preview, preview, rate, metadata)
    data = await asyncio.to_thread(_wav_of, preview, rate)
    usage = media_pb2.Usage(voices=1, characters=len(request.preview_text))
    usage.audio_duration.FromNanoseconds(len(preview) // _BYTES_PER_SAMPLE * 1_000_000_000 // rate)
    return MadeVoice(
        _new_id(),
        media_pb2.Receipt(provider_request_id=provider_request_id, usage=usage),
        preview=preview,
        preview_rate_hertz=rate,
        reference=Reference(data, WAV, request.preview_text, request.language_code),
    )


def _check_preview(preview: bytes, rate: int, metadata: dict[str, str]) -> None:
    seconds = len(preview) / _BYTES_PER_SAMPLE / rate
    if 0 < seconds < MIN_SECONDS:
        raise InvalidParameterError(
            f"The preview text is spoken in {seconds:.2f} seconds; a voice needs {MIN_SECONDS:g} or more to speak from.",
            Violation("preview_text", f"is spoken in {seconds:.2f} seconds; write a longer one"),
            metadata=metadata,
        )
    samples = memoryview(preview[: len(preview) // _BYTES_PER_SAMPLE * _BYTES_PER_SAMPLE]).cast("h")
    if max(samples, default=0) < SILENT_PEAK and min(samples, default=0) > -SILENT_PEAK:
        raise ProviderInternalError("The provider made a preview that is silent.", metadata=metadata)


def _new_id() -> str:
    return f"reference-{uuid.uuid4().hex}"


def _normalised(data: bytes) -> bytes:
    return _wav_of(*audio.decoded(data))


def _wav_of(pcm: bytes, rate: int) -> bytes:
    wav = media_pb2.AudioFormat(encoding=media_pb2.AUDIO_ENCODING_WAV, sample_rate_hertz=RATE_HERTZ)
    return audio.encoded_whole(pcm, rate, wav)
