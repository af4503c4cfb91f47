"""Which provider and model speak with the voice that a request names.

Everything here is checked before a provider is asked: a made voice speaks with the one model that it was made for, and a
model that needs made voices speaks with no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pixvox.errors import (
    InternalError,
    InvalidRequestError,
    ProviderNotFoundError,
    RequestError,
    Violation,
    VoiceDeletedError,
    VoiceModelMismatchError,
    VoiceNotFoundError,
    VoiceProviderMismatchError,
)
from pixvox.provider import ReferenceSpeaker
from pixvox.routing.candidates import Finding
from pixvox.v1 import model_service_pb2, speech_service_pb2, voice_service_pb2
from pixvox.voices.store import ID_PREFIX

if TYPE_CHECKING:
    from pixvox.registry import Entry
    from pixvox.routing import Plan, Router
    from pixvox.v1.voice_service_pb2 import Voice
    from pixvox.voices.store import KeptVoice, VoiceStore

log = structlog.get_logger("pixvox.voices")

_FIELD = "config.voice"


async def resolved(
    config: speech_service_pb2.SpeechConfig, store: VoiceStore, router: Router
) -> tuple[speech_service_pb2.SpeechConfig, Plan]:
    """Return how a call is going to be served, and its config as the provider takes it.

    Args:
        config: The caller's. If its voice is a made one, the answer is a copy whose provider and model are those of the
            voice, and whose voice is the provider's own id of it. If the provider does not keep the voice, the plan has the
            reference that goes along.
        store: The catalogue.
        router: Finds the target and checks the config against its limits.

    Raises:
        VoiceNotFoundError: There is no such voice.
        VoiceDeletedError: It was deleted.
        VoiceProviderMismatchError: It belongs to another provider than `config` names, or to one that is not there, or does
            not speak with such voices any more.
        VoiceModelMismatchError: It was made for another model than `config` names, or the model needs a made voice.
        InvalidRequestError: The model needs a made voice, and `config` names none.
        InternalError: The reference of the voice is lost.
        RequestError: As of `Router.stream_speech`.
    """
    if config.voice.startswith(ID_PREFIX):
        return await _made(config, store, router)
    plan = router.stream_speech(config)
    for candidate in plan.candidates:
        if candidate.model.stream_speech.needs_made_voice:
            error = _not_made(config.voice, candidate.model, router)
            # Tells more than that the voice is not among the model's own.
            candidate.findings = [one for one in candidate.findings if not isinstance(one.error, VoiceNotFoundError)]
            candidate.findings.append(Finding(model_service_pb2.ROUTE_CHECK_VOICE, error.message, error))
    return config, plan


async def _made(
    config: speech_service_pb2.SpeechConfig, store: VoiceStore, router: Router
) -> tuple[speech_service_pb2.SpeechConfig, Plan]:
    kept = await store.kept(config.voice)
    if kept is None:
        raise VoiceNotFoundError(
            "There is no such voice; ListVoices lists them.",
            Violation(_FIELD, "allowed: the id of a voice of ListVoices"),
            metadata={"voice": config.voice},
            resource=("pixvox.v1.Voice", config.voice),
        )
    voice = kept.voice
    if voice.state != voice_service_pb2.VOICE_STATE_ACTIVE:
        raise _deleted(voice)
    model = _model_of(voice, router)
    _check_reference(kept, router)
    _check_same(config, voice, model, router)
    copy = speech_service_pb2.SpeechConfig()
    copy.CopyFrom(config)
    copy.provider, copy.model, copy.voice = voice.provider, voice.model, ""
    # Without the voice, which is not among the model's own.
    plan = router.stream_speech(copy, bound=True)
    plan.reference = kept.reference
    copy.voice = voice.provider_voice_id
    return copy, plan


def _deleted(voice: Voice) -> VoiceDeletedError:
    purged = voice.state == voice_service_pb2.VOICE_STATE_PURGED
    help_ = "it was purged and cannot come back; make a new one" if purged else "UndeleteVoice takes it back into use"
    return VoiceDeletedError(
        f"The voice was deleted; {help_}.", Violation(_FIELD, "is deleted"), metadata={"voice": voice.id}
    )


def _model_of(voice: Voice, router: Router) -> model_service_pb2.Model:
    """Return the model that a voice was made for."""
    try:
        entry = router.entry(voice.provider)
    except ProviderNotFoundError as error:
        raise _gone(voice, f"provider {voice.provider}, which is not configured any more") from error
    if voice.region != entry.region:
        raise _gone(voice, f"region {voice.region} of {entry.name}, which is configured for {entry.region or 'none'}")
    model = _speaking(entry, voice.model)
    if model is None:
        raise _gone(voice, f"model {voice.model} of {voice.provider}, which is not there any more")
    return model


def _speaking(entry: Entry, model_id: str) -> model_service_pb2.Model | None:
    return next((one for one in entry.models if one.id == model_id and one.HasField("stream_speech")), None)


def _gone(voice: Voice, what: str) -> VoiceProviderMismatchError:
    return VoiceProviderMismatchError(
        f"The voice belongs to {what}; the operator has to configure it, or make the voice anew.",
        Violation(_FIELD, f"belongs to {what}"),
        metadata=_metadata(voice),
    )


def _check_reference(kept: KeptVoice, router: Router) -> None:
    """Check that a voice whose provider does not keep it can be spoken with."""
    if not kept.by_reference:
        return
    voice = kept.voice
    if not isinstance(router.entry(voice.provider).provider, ReferenceSpeaker):
        raise _gone(voice, f"provider {voice.provider}, which does not speak from recordings any more")
    if kept.reference is None:
        log.error("the recording of a voice is lost or damaged", **_metadata(voice))
        raise InternalError(
            "The recording that the voice is spoken from is lost or damaged; make the voice anew.",
            metadata=_metadata(voice),
        )


def _check_same(
    config: speech_service_pb2.SpeechConfig, voice: Voice, model: model_service_pb2.Model, router: Router
) -> None:
    if config.provider not in {"", voice.provider}:
        raise VoiceProviderMismatchError(
            f"The voice belongs to provider {voice.provider}.",
            Violation("config.provider", f"allowed with this voice: {voice.provider}, or nothing"),
            metadata=_metadata(voice),
        )
    if config.model not in {"", model.id, *model.aliases} and not _leads_to(config.model, voice, router):
        raise VoiceModelMismatchError(
            f"The voice was made for model {voice.model} and speaks with no other.",
            Violation("config.model", f"allowed with this voice: {voice.model}, or nothing"),
            metadata=_metadata(voice),
        )


def _leads_to(name: str, voice: Voice, router: Router) -> bool:
    """Tell whether a route has the voice's own model among its targets; a call with the voice takes no other of them."""
    route = router.route_of("stream_speech", name)
    return route is not None and any(one.key == (voice.provider, voice.model) for one in route.listed)


def _not_made(voice: str, model: model_service_pb2.Model, router: Router) -> RequestError:
    """Return why a model that needs made voices cannot speak with `voice`."""
    metadata = {"provider": model.provider, "model": model.id}
    violation = Violation(
        _FIELD, f"allowed with {model.id}: the id of a voice that CloneVoice or DesignVoice made for it, see ListVoices"
    )
    if not voice:
        return InvalidRequestError(
            f"{model.id} speaks only with voices that were made for it.", violation, metadata=metadata
        )
    owners = [
        one.id
        for entry in router.entries
        for one in entry.models
        if any(own.id == voice for own in one.stream_speech.voices)
    ]
    metadata["voice"] = voice
    if owners:
        return VoiceModelMismatchError(
            f"The voice comes with {owners[0]}, and {model.id} speaks only with voices that were made for it.",
            violation,
            metadata=metadata,
        )
    return VoiceNotFoundError(
        "There is no such voice; ListVoices lists them.",
        violation,
        metadata=metadata,
        resource=("pixvox.v1.Voice", voice),
    )


def _metadata(voice: Voice) -> dict[str, str]:
    return {"voice": voice.id, "provider": voice.provider, "model": voice.model}
