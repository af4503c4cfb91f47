"""Checks of made voices: designed and cloned, spoken with, found, and deleted again, or kept by nobody but the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.errors import PixvoxError
from pixvox.media import audio
from pixvox.media.recordings import M4A, MP3, WAV
from pixvox.provider import MAX_REFERENCE_BYTES, ReferenceSpeaker, VoiceDeleter, VoiceFinder
from pixvox.testing.conformance import requests, speaking, voicing
from pixvox.testing.conformance.cases import CLONE, DESIGN, SPEECH, Case, each
from pixvox.testing.conformance.ending import ending_of, told
from pixvox.testing.conformance.findings import Check, CheckFailedError, CheckSkippedError, Finding
from pixvox.testing.conformance.receipts import check_receipt
from pixvox.testing.conformance.speaking import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.provider import MadeVoice, Reference
    from pixvox.v1.voice_service_pb2 import Voice

DELETE = "delete_voice"
FIND = "find_voices"
SPEECH_AS = "stream_speech_as"

_DELETED = "A voice is deleted for good, and one that the provider no longer has is no error to delete."
_FOUND = "find_voices returns what the making of a voice has made, by its kind, model, name and request id."


async def check_design(case: Case) -> None:
    """Design a voice, hear its preview, speak with it, find it, and delete it."""
    _check_deletable(case)
    request = voicing.designing(case.model)
    made = await case.served(lambda: case.trial.designing(request, case.model))
    _check_preview(case, made)
    await _check_made(case, made, request.request_id)


async def check_clone(case: Case) -> None:
    """Clone a voice, speak with it, find it, and delete it."""
    _check_deletable(case)
    recording = await voicing.recording(case)
    request = voicing.cloning(case.model, recording)
    made = await case.served(lambda: case.trial.cloning(request, recording, case.model))
    case.require(not made.preview, f"the clone has a preview of {len(made.preview)} bytes", "A clone has no preview.")
    await _check_made(case, made, request.request_id)


async def check_references(case: Case) -> None:
    """Make a voice that the provider does not keep, and speak with it by another provider, which has never heard of it."""
    if not isinstance(case.trial.entry.provider, ReferenceSpeaker):
        raise CheckSkippedError("the provider speaks from no references")
    made = await _made(case)
    if made.reference is None:
        await voicing.delete(case, made)
        raise CheckSkippedError("the provider keeps its voices")
    async with case.trial.another() as another:
        await _check_spoken(Case(another, case.verb, case.model), made)


CHECKS = (
    Check(
        "voice-design", "A designed voice has its preview, speaks, is found and deleted.", each(check_design, DESIGN), 6
    ),
    Check("voice-clone", "A cloned voice speaks, is found and deleted.", each(check_clone, CLONE), 7),
    Check(
        "voice-references",
        "A voice that the provider does not keep speaks from its reference alone, wherever it was made.",
        each(check_references, CLONE, DESIGN),
        3,
    ),
)


async def _made(case: Case) -> MadeVoice:
    if case.verb == DESIGN:
        design = voicing.designing(case.model)
        return await case.served(lambda: case.trial.designing(design, case.model))
    recording = await voicing.recording(case)
    clone = voicing.cloning(case.model, recording)
    return await case.served(lambda: case.trial.cloning(clone, recording, case.model))


def _check_deletable(case: Case) -> None:
    if not isinstance(case.trial.entry.provider, VoiceDeleter | ReferenceSpeaker) and not case.trial.hints.free:
        raise CheckSkippedError("the provider deletes no voices, so that those of the kit would stay for good")


def _check_preview(case: Case, made: MadeVoice) -> None:
    whole = len(made.preview) % speaking.BYTES_PER_SAMPLE == 0
    seen = f"the preview has {len(made.preview)} bytes at {made.preview_rate_hertz} Hz"
    contract = "A preview is whole 16-bit samples with their rate; without one, there is a warning about preview_text."
    warned = any(warning.field == "preview_text" for warning in made.warnings)
    case.require(whole and (bool(made.preview) or warned), seen, contract)
    case.require(bool(made.preview) == (made.preview_rate_hertz > 0), seen, contract)


async def _check_made(case: Case, made: MadeVoice, request_id: str) -> None:
    case.require(bool(made.provider_voice_id), "the voice has no id", "A made voice has an id.")
    check_receipt(case, made.receipt)
    if made.reference is not None:
        _check_reference(case, made.reference)
        await _check_spoken(case, made)
        return
    record = voicing.record_of(case, request_id, made)
    try:
        await _check_spoken(case, made)
        if isinstance(case.trial.entry.provider, VoiceFinder):
            found = await _found(case, case.trial.entry.provider, request_id)
            seen = f"{made.provider_voice_id} was made, and {', '.join(found) or 'nothing'} was found"
            case.require(found == [made.provider_voice_id], seen, _FOUND, method=FIND)
    finally:
        await _check_deleted(case, record)


def _check_reference(case: Case, reference: Reference) -> None:
    """Look at what the catalogue would keep.

    Raises:
        CheckFailedError: The voice cannot be spoken from it.
    """
    if not isinstance(case.trial.entry.provider, ReferenceSpeaker):
        raise _failed(case, "gave a reference, and has no stream_speech_as", "Who gives references speaks from them.")
    size = len(reference.data)
    seen = f"the reference is {reference.mime_type} of {size} bytes"
    contract = f"A reference is a file of 1..{MAX_REFERENCE_BYTES} bytes that can be decoded, of a type of Recording's."
    if not 0 < size <= MAX_REFERENCE_BYTES or reference.mime_type not in {WAV, MP3, M4A}:
        raise _failed(case, seen, contract)
    try:
        audio.decoded(reference.data)
    except PixvoxError as error:
        raise _failed(case, f"{seen}: {error.message}", contract) from error


def _failed(case: Case, seen: str, contract: str) -> CheckFailedError:
    return CheckFailedError(Finding(seen, contract, case.verb, case.model.id))


async def _check_spoken(case: Case, made: MadeVoice) -> None:
    """Speak with a made voice, as the service does: by the provider's own id of it, and from its reference."""
    if not case.model.HasField("stream_speech"):
        return
    method = SPEECH if made.reference is None else SPEECH_AS
    config, text = requests.speech(case.model, voice=made.provider_voice_id), Text([case.sentence])
    spoken = await case.served(lambda: case.trial.speaking(config, text, case.model, made=made), method=method)
    seen = f"asked for the made voice {made.provider_voice_id!r}; the stream says {spoken.voice!r}"
    same = spoken.voice == made.provider_voice_id
    case.require(same, seen, "The stream says which voice speaks.", method=method)
    case.require(bool(spoken.pcm), "the made voice gave no audio", "A made voice speaks.", method=method)
    heard = case.trial.hints.heard
    if made.reference is not None and heard is not None:
        came = heard()
        seen = f"gave a reference of {len(made.reference.data)} bytes along; another one of {len(came)} bytes arrived"
        case.require(came == made.reference.data, seen, "The voice is spoken from its own reference.", method=method)


async def _found(case: Case, finder: VoiceFinder, request_id: str) -> list[str]:
    """Return the ids of what a making has made, asked with what the service knows before it is made."""
    record = voicing.record_of(case, request_id)

    async def find() -> Sequence[MadeVoice]:
        return await finder.find_voices(record)

    return [one.provider_voice_id for one in await case.served(find, method=FIND)]


async def _check_deleted(case: Case, record: Voice) -> None:
    """Delete a voice twice, and look whether it is gone."""
    provider = case.trial.entry.provider
    if not isinstance(provider, VoiceDeleter):
        case.note("the provider deletes no voices")
        return
    for time in ("first", "second"):
        ending = await ending_of(provider.delete_voice(record), within=case.trial.seconds)
        if not ending.succeeded:
            what = f"raised {told(ending.error)}" if ending.error else f"did not end within {case.trial.seconds:g} s"
            case.require(False, f"deleting a voice the {time} time {what}", _DELETED, method=DELETE)
            return
    if isinstance(provider, VoiceFinder):
        found = await _found(case, provider, record.receipt.request_id)
        case.require(not found, f"{', '.join(found)} was found after it was deleted", _DELETED, method=DELETE)
