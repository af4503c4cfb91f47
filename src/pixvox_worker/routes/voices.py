"""The voices that speech can be asked for: those of the model, and those that callers leave here by a recording."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from pixvox_worker import recordings, voices
from pixvox_worker.failures import BadRequest, TooLarge, UnsupportedTask
from pixvox_worker.openapi import failures, voice_form
from pixvox_worker.routes import waiting
from pixvox_worker.routes.reading import open_form
from pixvox_worker.speech import VOICE_CLONE, SpeechEngine
from pixvox_worker.speech_schemas import UploadedVoice, VoiceAdded, VoiceList, VoiceRemoved
from pixvox_worker.voices import Voice

if TYPE_CHECKING:
    from pixvox_worker.app import Worker

router = APIRouter(tags=["speech"])
_LONGEST_TEXT = 2_000


@router.get("/v1/audio/voices", responses=failures(401, 503))
async def list_voices(request: Request) -> VoiceList:
    """All that can be asked for as `voice`; none where the model does not speak."""
    worker: Worker = request.app.state.worker
    waiting.ready(worker)
    uploaded = worker.voices.all()
    own = worker.engine.speakers() if isinstance(worker.engine, SpeechEngine) else ()
    return VoiceList(
        voices=[*own, *(voice.name for voice in uploaded)], uploaded_voices=[_shown(voice) for voice in uploaded]
    )


@router.post(
    "/v1/audio/voices", openapi_extra=voice_form(), responses=failures(400, 401, 409, 413, 415, 503), status_code=200
)
async def add_voice(request: Request) -> VoiceAdded:
    """Keep a recording of 1 to 30 seconds as a voice; `consent` says that who speaks agrees, and how that is known."""
    worker: Worker = request.app.state.worker
    waiting.ready(worker)
    _check_clones(worker)
    fields, data = await _form(request, worker.settings.max_recording_mb * 1024 * 1024)
    name = voices.clean_name(_text(fields, "name", needed=True))
    if name in worker.speech.engine().speakers():
        message = f"The model has a voice {name!r} of its own."
        raise BadRequest(message, param="name")
    consent = voices.check_consent(_text(fields, "consent", needed=True))
    transcript, description = _text(fields, "ref_text"), _text(fields, "speaker_description")
    worker.voices.check(name, len(data))
    recording = await asyncio.to_thread(recordings.decode, data, max_bytes=len(data), param="audio_sample")
    voice = Voice(
        name=name,
        consent=consent,
        created_at=voices.now(),
        file_size=len(data),
        mime_type=recording.mime_type,
        digest=recording.digest,
        transcript=transcript or None,
        description=description or None,
    )
    await asyncio.to_thread(worker.voices.add, voice, data)
    return VoiceAdded(voice=_shown(voice))


@router.delete("/v1/audio/voices/{name}", responses=failures(400, 401, 404, 503))
async def remove_voice(request: Request, name: str) -> VoiceRemoved:
    """Forget a voice, its recording and what the model made of it."""
    worker: Worker = request.app.state.worker
    waiting.ready(worker)
    voice = await asyncio.to_thread(worker.voices.remove, name)
    if isinstance(worker.engine, SpeechEngine):
        worker.engine.forget(voice.digest)
    return VoiceRemoved(name=voice.name)


def _check_clones(worker: Worker) -> None:
    if VOICE_CLONE not in worker.engine.capabilities():
        message = f"{worker.settings.model_id} clones no voices."
        raise UnsupportedTask(message)


async def _form(request: Request, max_bytes: int) -> tuple[dict[str, str], bytes]:
    """The fields and the recording."""
    fields: dict[str, str] = {}
    data: bytes | None = None
    async with open_form(request, max_files=2, max_fields=16, max_bytes=max_bytes) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                fields[name] = value
            elif name == "audio_sample":
                data = await _read(value, max_bytes)
    if "speaker_embedding" in fields:
        message = "The worker takes a recording, not an embedding."
        raise BadRequest(message, param="speaker_embedding")
    if not data:
        message = "A recording is needed, as the file part audio_sample."
        raise BadRequest(message, param="audio_sample")
    return fields, data


async def _read(file: UploadFile, max_bytes: int) -> bytes:
    data: bytes = await file.read(max_bytes + 1)
    if len(data) > max_bytes:
        message = f"A recording has at most {max_bytes} bytes."
        raise TooLarge(message, param="audio_sample")
    return data


def _text(fields: dict[str, Any], name: str, *, needed: bool = False) -> str:
    text = str(fields.get(name, "")).strip()
    if needed and not text:
        message = f"{name} is needed."
        raise BadRequest(message, param=name)
    if len(text) > _LONGEST_TEXT:
        message = f"{name} has at most {_LONGEST_TEXT} characters."
        raise BadRequest(message, param=name)
    return text


def _shown(voice: Voice) -> UploadedVoice:
    return UploadedVoice(
        name=voice.name,
        consent=voice.consent,
        created_at=voice.created_at,
        file_size=voice.file_size,
        mime_type=voice.mime_type,
        ref_text=voice.transcript,
        speaker_description=voice.description,
    )
