"""VoiceService: making voices, and the catalogue of them."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Any

from pixvox import telemetry
from pixvox.errors import (
    InvalidRequestError,
    ProviderNotFoundError,
    UnsupportedError,
    Violation,
    VoiceDeletedError,
    VoiceNotFoundError,
    VoiceProviderMismatchError,
)
from pixvox.media.audio import SAMPLE_RATES_HERTZ, encoded_whole, mime_type_of
from pixvox.media.recordings import RecordingRules, checked_recording
from pixvox.provider import MAX_REFERENCE_BYTES, Recording, ReferenceSpeaker, VoiceDeleter
from pixvox.services import voice_pages
from pixvox.services.voice_makings import VoiceMakings
from pixvox.v1 import media_pb2, voice_service_pb2, voice_service_pb2_grpc
from pixvox.voices import ID_PREFIX, new_voice_id

if TYPE_CHECKING:
    from collections.abc import Collection

    import grpc

    from pixvox.provider import MadeVoice
    from pixvox.routing import Target
    from pixvox.services.current import Current
    from pixvox.upstream import Upstream
    from pixvox.v1.voice_service_pb2 import Voice
    from pixvox.voices import VoiceStore

    Making = voice_service_pb2.CloneVoiceRequest | voice_service_pb2.DesignVoiceRequest
    Context = grpc.aio.ServicerContext[Any, Any]

BYTES_PER_SAMPLE = 2


class VoiceService(voice_service_pb2_grpc.VoiceServiceServicer):
    """Checks recordings and descriptions, has voices made, and serves the catalogue.

    Args:
        current: Whose router finds who makes a voice and knows the voices that come with models.
        upstream: Downloads recordings that are named by address.
        store: The catalogue.
        makings: Instead of the service's own, for tests.
    """

    def __init__(
        self,
        current: Current,
        upstream: Upstream,
        store: VoiceStore,
        *,
        makings: VoiceMakings | None = None,
    ) -> None:
        self._current = current
        self._upstream = upstream
        self._store = store
        self._makings = makings or VoiceMakings(store, current)

    async def CloneVoice(
        self, request: voice_service_pb2.CloneVoiceRequest, context: Context
    ) -> voice_service_pb2.CloneVoiceResponse:
        """Make a voice from a recording."""
        plan = self._current.router.clone_voice(request).checked()
        data = await self._loaded(request.audio)
        self._makings.settle()

        async def cloned(target: Target) -> tuple[Voice, MadeVoice, list[media_pb2.Warning]]:
            recording, warnings = await self._recording(data, target)
            draft = _draft(request, target, voice_service_pb2.VOICE_KIND_CLONED)
            draft.consent.CopyFrom(request.consent)
            voice, made = await self._makings.made(draft, target.entry, lambda: target.clone_voice(request, recording))
            return voice, made, warnings

        voice, made, warnings = await plan.run(cloned)
        return voice_service_pb2.CloneVoiceResponse(voice=voice, warnings=[*warnings, *made.warnings])

    async def DesignVoice(
        self, request: voice_service_pb2.DesignVoiceRequest, context: Context
    ) -> voice_service_pb2.DesignVoiceResponse:
        """Make a voice from a description, with a preview."""
        plan = self._current.router.design_voice(request).checked()
        self._makings.settle()

        async def designed(target: Target) -> tuple[Voice, MadeVoice]:
            draft = _draft(request, target, voice_service_pb2.VOICE_KIND_DESIGNED)
            draft.description = request.description
            return await self._makings.made(draft, target.entry, lambda: target.design_voice(request))

        voice, made = await plan.run(designed)
        answer = voice_service_pb2.DesignVoiceResponse(voice=voice, warnings=made.warnings)
        if made.preview:
            await _add_preview(answer, made, request)
        return answer

    async def GetVoice(
        self, request: voice_service_pb2.GetVoiceRequest, context: Context
    ) -> voice_service_pb2.GetVoiceResponse:
        """Return one voice."""
        if not request.id:
            raise InvalidRequestError("A voice has to be named.", Violation("id", "is empty"))
        if request.id.startswith(ID_PREFIX):
            voice = _existing(await self._store.get(request.id), request.id)
        else:
            voice = _existing(voice_pages.system_voice(self._current.router, request.id, request.provider), request.id)
        return voice_service_pb2.GetVoiceResponse(voice=voice)

    async def ListVoices(
        self, request: voice_service_pb2.ListVoicesRequest, context: Context
    ) -> voice_service_pb2.ListVoicesResponse:
        """Return one page of voices."""
        if request.kind != voice_service_pb2.VOICE_KIND_SYSTEM:
            self._makings.settle()
        return await voice_pages.page(request, self._store, self._current.router)

    async def DeleteVoice(
        self, request: voice_service_pb2.DeleteVoiceRequest, context: Context
    ) -> voice_service_pb2.DeleteVoiceResponse:
        """Take a voice out of use, or delete it for good where it is kept: at its provider, or here."""
        _check_made(request.id)
        kept = await self._store.kept(request.id)
        voice = _existing(kept.voice if kept is not None else None, request.id)
        purge = request.purge and voice.state != voice_service_pb2.VOICE_STATE_PURGED
        deleter = self._deleter(voice) if purge and kept is not None and not kept.by_reference else None
        # First of all nobody shall speak with it any more.
        voice = _existing(await self._store.delete(request.id), request.id)
        if deleter is not None:
            await deleter.delete_voice(voice)
        if purge:
            voice = _existing(await self._store.purge(request.id), request.id)
        return voice_service_pb2.DeleteVoiceResponse(voice=voice)

    async def UndeleteVoice(
        self, request: voice_service_pb2.UndeleteVoiceRequest, context: Context
    ) -> voice_service_pb2.UndeleteVoiceResponse:
        """Take a deleted voice back into use."""
        _check_made(request.id)
        voice = _existing(await self._store.undelete(request.id), request.id)
        if voice.state == voice_service_pb2.VOICE_STATE_PURGED:
            raise VoiceDeletedError(
                "The voice was purged and cannot come back; make a new one.",
                Violation("id", "is purged"),
                metadata={"voice": voice.id},
            )
        return voice_service_pb2.UndeleteVoiceResponse(voice=voice)

    def makings(self) -> Collection[asyncio.Task[Any]]:
        """Return what is being made now, with callers or without."""
        return self._makings.running()

    async def aclose(self) -> None:
        """Wait for voices that are being made without their callers; is called before the database is closed."""
        await self._makings.aclose()

    async def _loaded(self, audio: media_pb2.MediaInput) -> bytes:
        if audio.WhichOneof("source") != "uri":
            return audio.data
        most = self._current.settings.fetch.max_bytes
        return await self._upstream.download(audio.uri, field="audio", max_bytes=most)

    async def _recording(self, data: bytes, target: Target) -> tuple[Recording, list[media_pb2.Warning]]:
        capability = target.model.clone_voice
        rules = RecordingRules(
            min_seconds=capability.min_audio_seconds,
            max_seconds=capability.max_audio_seconds,
            min_rate_hertz=capability.min_sample_rate_hertz,
            max_bytes=_max_bytes(target),
            max_input_bytes=self._current.settings.inputs.max_bytes,
        )
        checked = await asyncio.to_thread(checked_recording, data, field="audio", rules=rules)
        warnings = []
        if checked.converted:
            reason = media_pb2.WARNING_REASON_VALUE_ADJUSTED
            warnings.append(media_pb2.Warning(reason=reason, field="audio", message=checked.converted))
        return Recording(checked.data, checked.mime_type, checked.seconds), warnings

    def _deleter(self, voice: Voice) -> VoiceDeleter:
        try:
            entry = self._current.router.entry(voice.provider)
        except ProviderNotFoundError as error:
            raise _elsewhere(voice, "is not configured any more") from error
        if entry.region != voice.region:
            raise _elsewhere(voice, f"is configured for region {entry.region or 'none'} instead of {voice.region}")
        if not isinstance(entry.provider, VoiceDeleter):
            raise UnsupportedError(
                f"{entry.name} deletes no voices.",
                Violation("purge", f"{entry.name} deletes no voices; leave it unset to delete the voice here alone"),
                metadata={"voice": voice.id, "provider": voice.provider},
            )
        return entry.provider


def _max_bytes(target: Target) -> int:
    """Return the largest recording that may be handed to a target, which may give it back to be kept; 0 is no limit."""
    most = target.model.clone_voice.max_audio_bytes
    if isinstance(target.entry.provider, ReferenceSpeaker):
        most = min(most or MAX_REFERENCE_BYTES, MAX_REFERENCE_BYTES)
    return most


def _draft(request: Making, target: Target, kind: voice_service_pb2.VoiceKind.ValueType) -> Voice:
    """Return the voice as far as it is known before it is made."""
    # Providers tell by it which voice came from which call.
    request.request_id = telemetry.current_call().request_id
    voice = voice_service_pb2.Voice(
        id=new_voice_id(),
        kind=kind,
        display_name=request.display_name,
        provider=target.entry.name,
        region=target.entry.region,
        model=target.model.id,
        language_code=request.language_code,
        labels=request.labels,
    )
    voice.create_time.FromDatetime(datetime.datetime.now(datetime.UTC))
    voice.receipt.request_id = request.request_id
    return voice


async def _add_preview(
    answer: voice_service_pb2.DesignVoiceResponse, made: MadeVoice, request: voice_service_pb2.DesignVoiceRequest
) -> None:
    rate = made.preview_rate_hertz
    wanted = _preview_format(request, rate)
    answer.preview = await asyncio.to_thread(encoded_whole, made.preview, rate, wanted)
    answer.preview_mime_type = mime_type_of(wanted)
    answer.preview_format.CopyFrom(wanted)
    answer.preview_duration.FromNanoseconds(len(made.preview) // BYTES_PER_SAMPLE * 1_000_000_000 // rate)


def _preview_format(request: voice_service_pb2.DesignVoiceRequest, own_rate: int) -> media_pb2.AudioFormat:
    """Return the format of the preview; its encoding and, if the caller named one, its rate were checked before."""
    encoding = media_pb2.AUDIO_ENCODING_WAV
    if request.HasField("preview_format"):
        encoding = request.preview_format.encoding or media_pb2.AUDIO_ENCODING_PCM_S16LE
    rate = request.preview_format.sample_rate_hertz or own_rate
    rates = SAMPLE_RATES_HERTZ[encoding]
    if rate not in rates:
        # The provider's own rate, which this encoding cannot have.
        rate = min((one for one in rates if one > rate), default=max(rates))
    return media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate)


def _elsewhere(voice: Voice, why: str) -> VoiceProviderMismatchError:
    return VoiceProviderMismatchError(
        f"The voice belongs to provider {voice.provider}, which {why}.",
        Violation("purge", "needs the voice's provider; leave it unset to delete the voice here alone"),
        metadata={"voice": voice.id, "provider": voice.provider},
    )


def _check_made(voice_id: str) -> None:
    if not voice_id.startswith(ID_PREFIX):
        raise InvalidRequestError(
            "Only made voices can be deleted and undeleted.",
            Violation("id", f"allowed: {ID_PREFIX} and a unique id, as ListVoices gives it"),
        )


def _existing(voice: Voice | None, voice_id: str) -> Voice:
    if voice is None:
        raise VoiceNotFoundError(
            "There is no such voice; ListVoices lists them.",
            Violation("id", "allowed: the id of a voice of ListVoices"),
            metadata={"voice": voice_id},
            resource=("pixvox.v1.Voice", voice_id),
        )
    return voice
