"""Voices cloned and designed, found and deleted, in the vendor's account."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
from typing import TYPE_CHECKING, TypeVar

import msgspec

from pixvox.errors import InvalidMediaError, ProviderInternalError, VoiceNotFoundError
from pixvox.languages import LANGUAGE_CODES
from pixvox.media.audio import decoded
from pixvox.provider import MadeVoice
from pixvox.providers.dashscope import voice_wire
from pixvox.providers.dashscope.refusals import Envelope, request_id_of
from pixvox.upstream import Safety
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pixvox.provider import Recording
    from pixvox.providers.dashscope.account import Account
    from pixvox.upstream import Reply
    from pixvox.v1 import voice_service_pb2

    Request = voice_service_pb2.CloneVoiceRequest | voice_service_pb2.DesignVoiceRequest

E = TypeVar("E", bound=Envelope)

CUSTOMIZATION = "/services/audio/tts/customization"
KIND = "dashscope"

# The first of each is the newest that speaks while text arrives, and serves where nothing else is said.
CLONE_TARGETS = (
    "qwen3-tts-vc-realtime-2026-01-15",
    "qwen3-tts-vc-realtime-2025-11-27",
    "qwen3-tts-vc-2026-01-22",
)
DESIGN_TARGETS = (
    "qwen3-tts-vd-realtime-2026-01-15",
    "qwen3-tts-vd-realtime-2025-12-16",
    "qwen3-tts-vd-2026-01-26",
)

# 10 MB as Base64, with some room for what stands before it.
MAX_AUDIO_BYTES = (10_000_000 - 100) // 4 * 3

_CLONING = "voice cloning"
_DESIGN = "voice design"
# An account has at most a thousand voices of both kinds together.
_MOST_PAGES = 20


def check_target(name: str, value: str, targets: Sequence[str]) -> None:
    """Check a default target of the settings; empty is none.

    Raises:
        ValueError: Voices cannot be made for it.
    """
    if value and value not in targets:
        message = f"{name}: {value!r} is not one of {', '.join(targets)}"
        raise ValueError(message)


def with_voices(
    models: Iterable[model_service_pb2.Model], *, clone_target: str = "", design_target: str = ""
) -> list[model_service_pb2.Model]:
    """Return the models that speak, those among them that voices can be made for with that capability.

    Args:
        models: Of speech.
        clone_target: Comes before the other models that voices are cloned for, and so serves by default; empty keeps
            their order.
        design_target: Likewise for designs.
    """
    listed = _preferring(clone_target, CLONE_TARGETS, _preferring(design_target, DESIGN_TARGETS, models))
    for model in listed:
        if model.id in CLONE_TARGETS:
            model.clone_voice.CopyFrom(_CLONE)
        if model.id in DESIGN_TARGETS:
            model.design_voice.CopyFrom(_DESIGN_CAPABILITY)
    return listed


class DashScopeVoices:
    """The verbs of `pixvox.provider.VoiceCloner`, `VoiceDesigner` and `VoiceDeleter`, and the finding of voices."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def clone_voice(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice from a recording; see `pixvox.provider.VoiceCloner`."""
        self._account.check_ready()
        body = await asyncio.to_thread(voice_wire.encoded_clone, request, recording, model.id)
        private = (request.display_name, request.transcript)
        answer, receipt = await self._made(body, model, _CLONING, private)
        warnings = _option_warnings(request)
        if answer.fallback_mode:
            # The reasons are of the vendor's own making, such as no_valid_asr_segments.
            why = f" ({answer.fallback_reason})" if answer.fallback_reason in _FALLBACKS else ""
            warnings.append(
                _warning("audio", f"the provider found no clear speech in it and made do with the rest{why}")
            )
        return MadeVoice(answer.voice or "", receipt, warnings=(*warnings, *_target_warnings(answer, model)))

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice from a description; see `pixvox.provider.VoiceDesigner`."""
        self._account.check_ready()
        private = (request.display_name, request.description, request.preview_text)
        answer, receipt = await self._made(voice_wire.encoded_design(request, model.id), model, _DESIGN, private)
        warnings = [*_option_warnings(request), *_target_warnings(answer, model)]
        pcm, rate = await asyncio.to_thread(_preview, answer)
        if not pcm:
            # The voice is there and paid for; it must not be lost for the sake of its preview.
            warnings.append(_warning("preview_text", "the provider gave no preview that can be played"))
        return MadeVoice(answer.voice or "", receipt, preview=pcm, preview_rate_hertz=rate, warnings=tuple(warnings))

    async def delete_voice(self, voice: voice_service_pb2.Voice) -> None:
        """Delete a voice; see `pixvox.provider.VoiceDeleter`."""
        self._account.check_ready()
        body = voice_wire.encoded_delete(voice.kind, voice.provider_voice_id)
        # What is deleted already need not be deleted again.
        with contextlib.suppress(VoiceNotFoundError):
            self._read(await self._asked(body, "voice deletion"), voice_wire.Answer)

    async def find_voices(self, voice: voice_service_pb2.Voice) -> list[MadeVoice]:
        """Return the voices that bear the mark of the call that began to make `voice`."""
        self._account.check_ready()
        name = voice_wire.preferred_name(voice.kind, voice.display_name, voice.receipt.request_id)
        found: list[MadeVoice] = []
        for page in range(_MOST_PAGES):
            reply = await self._asked(voice_wire.encoded_list(voice.kind, page), "voice list")
            answer = self._read(reply, voice_wire.ListAnswer)
            listed = (answer.output and answer.output.voice_list) or []
            found += [self._found(one) for one in listed if voice_wire.is_from(one, name)]
            if len(listed) < voice_wire.PAGE_SIZE:
                break
        return found

    async def _made(
        self, body: bytes, model: model_service_pb2.Model, operation: str, private: tuple[str, ...]
    ) -> tuple[voice_wire.Output, media_pb2.Receipt]:
        """Have a voice made, and return what the vendor says of it; it has an id."""
        reply = await self._account.http.call(
            "POST", CUSTOMIZATION, body=body, safety=Safety.BILLABLE, operation=operation
        )
        answer = self._read(reply, voice_wire.Answer, private)
        request_id = answer.request_id or request_id_of(reply)
        if answer.output is None or not answer.output.voice:
            raise self._internal("The provider's answer has no voice in it; one may have been made.", request_id)
        count = answer.usage.count if answer.usage is not None else None
        receipt = media_pb2.Receipt(
            region=self._account.region,
            model=answer.output.target_model or model.id,
            provider_request_id=request_id,
            usage=media_pb2.Usage(voices=count if isinstance(count, int) and count >= 0 else 1),
        )
        return answer.output, receipt

    async def _asked(self, body: bytes, operation: str) -> Reply:
        """Ask for something that costs nothing and may be repeated."""
        return await self._account.http.call("POST", CUSTOMIZATION, body=body, safety=Safety.FREE, operation=operation)

    def _read(self, reply: Reply, kind: type[E], private: tuple[str, ...] = ()) -> E:
        """Return what a reply says.

        Raises:
            PixvoxError: It is a failure, which one with status 200 can be by its code; or it makes no sense.
        """
        try:
            answer = msgspec.json.decode(reply.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            if reply.status != 200:
                raise self._account.refused(reply, private=private) from error
            message = "The provider's answer makes no sense; what was asked may have been done and billed."
            raise self._internal(message, request_id_of(reply)) from error
        if reply.status != 200 or answer.code:
            raise self._account.refused(reply, private=private)
        return answer

    def _internal(self, message: str, request_id: str) -> ProviderInternalError:
        metadata = {"region": self._account.region, "provider_code": "", "provider_request_id": request_id}
        return ProviderInternalError(message, metadata=metadata | {"replay": "accepted"})

    def _found(self, listed: voice_wire.Listed) -> MadeVoice:
        usage = media_pb2.Usage(voices=1)
        receipt = media_pb2.Receipt(region=self._account.region, model=listed.target_model, usage=usage)
        return MadeVoice(listed.voice, receipt)


_CLONE = model_service_pb2.CloneVoiceCapability(
    max_audio_bytes=MAX_AUDIO_BYTES,
    min_audio_seconds=3.0,
    max_audio_seconds=60.0,
    min_sample_rate_hertz=24_000,
    language_codes=LANGUAGE_CODES,
)
_DESIGN_CAPABILITY = model_service_pb2.DesignVoiceCapability(
    max_description_characters=2048, max_preview_text_characters=1024, language_codes=LANGUAGE_CODES
)
_FALLBACKS = frozenset({"no_merged_segments", "no_valid_asr_segments"})


def _preferring(
    chosen: str, targets: Sequence[str], models: Iterable[model_service_pb2.Model]
) -> list[model_service_pb2.Model]:
    """Return the models with the chosen one of `targets` in the place of their first; the others keep theirs."""
    listed = list(models)
    ordered = iter(sorted((one for one in listed if one.id in targets), key=lambda one: one.id != chosen))
    return [next(ordered) if one.id in targets else one for one in listed]


def _preview(answer: voice_wire.Output) -> tuple[bytes, int]:
    """Return the samples and the rate of a preview; none if it cannot be played."""
    if answer.preview_audio is None or not answer.preview_audio.data:
        return b"", 0
    try:
        return decoded(binascii.a2b_base64(answer.preview_audio.data, strict_mode=True))
    except (binascii.Error, ValueError, InvalidMediaError):
        return b"", 0


def _option_warnings(request: Request) -> list[media_pb2.Warning]:
    if KIND not in request.provider_options.fields:
        return []
    message = "the provider has no options for voices"
    return [
        media_pb2.Warning(
            reason=media_pb2.WARNING_REASON_FIELD_IGNORED, field=f"provider_options.{KIND}", message=message
        )
    ]


def _target_warnings(answer: voice_wire.Output, model: model_service_pb2.Model) -> list[media_pb2.Warning]:
    if answer.target_model in {None, "", model.id}:
        return []
    return [_warning("model", f"the provider made the voice for {answer.target_model} instead of {model.id}")]


def _warning(field: str, message: str) -> media_pb2.Warning:
    return media_pb2.Warning(reason=media_pb2.WARNING_REASON_VALUE_ADJUSTED, field=field, message=message)
