"""Lists of voices: the made ones from the catalogue, then those that come with models, page by page."""

from __future__ import annotations

import base64
import binascii
import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.errors import InvalidRequestError, Violation
from pixvox.v1 import voice_service_pb2
from pixvox.voices import ID_PREFIX, VoiceChoice, is_voice_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.routing import Router
    from pixvox.v1.voice_service_pb2 import Voice
    from pixvox.voices import VoiceStore

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000

_SYSTEM = voice_service_pb2.VOICE_KIND_SYSTEM
_MICROSECOND = datetime.timedelta(microseconds=1)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


async def page(
    request: voice_service_pb2.ListVoicesRequest, store: VoiceStore, router: Router
) -> voice_service_pb2.ListVoicesResponse:
    """Return one page.

    Raises:
        InvalidRequestError: The page is too large, its token is none of this service's, or there is no such kind.
    """
    if request.page_size > LARGEST_PAGE:
        raise InvalidRequestError(
            "The page is too large.", Violation("page_size", f"is {request.page_size}; allowed: 0..{LARGEST_PAGE}")
        )
    if request.kind not in voice_service_pb2.VoiceKind.values():
        names = ", ".join(voice_service_pb2.VoiceKind.keys())
        raise InvalidRequestError("There is no such kind of voice.", Violation("kind", f"allowed: {names}"))
    place, size = _place(request.page_token), request.page_size or DEFAULT_PAGE
    voices: list[Voice] = []
    if place.system is None and request.kind != _SYSTEM:
        choice = VoiceChoice(request.kind, request.provider, request.model, request.show_deleted)
        # One more than fits tells whether there is another page.
        voices = await store.page(choice, after=place.after, most=size + 1)
        if len(voices) > size:
            return _response(voices[:size], _Place(after=_time_and_id(voices[size - 1])))
    start, own = place.system or 0, list(_system_voices(request, router))
    end = start + size - len(voices)
    return _response([*voices, *own[start:end]], _Place(system=end) if end < len(own) else None)


def system_voice(router: Router, voice_id: str, provider: str) -> Voice | None:
    """Return a voice that comes with a model, the first one of that id; None if there is none."""
    request = voice_service_pb2.ListVoicesRequest(provider=provider)
    return next((voice for voice in _system_voices(request, router) if voice.id == voice_id), None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: behind a made voice, or at a place among the models' own voices."""

    after: tuple[datetime.datetime, str] | None = None
    system: int | None = None


def _response(voices: list[Voice], following: _Place | None) -> voice_service_pb2.ListVoicesResponse:
    return voice_service_pb2.ListVoicesResponse(voices=voices, next_page_token=_token(following) if following else "")


def _system_voices(request: voice_service_pb2.ListVoicesRequest, router: Router) -> Iterator[Voice]:
    if request.kind not in {voice_service_pb2.VOICE_KIND_UNSPECIFIED, _SYSTEM}:
        return
    for entry in router.entries:
        for model in entry.models:
            if request.provider not in {"", entry.name} or request.model not in {"", model.id, *model.aliases}:
                continue
            for own in model.stream_speech.voices:
                yield voice_service_pb2.Voice(
                    id=own.id,
                    kind=_SYSTEM,
                    state=voice_service_pb2.VOICE_STATE_ACTIVE,
                    display_name=own.id,
                    provider=entry.name,
                    model=model.id,
                    provider_voice_id=own.id,
                    language_code=own.language_codes[0] if len(own.language_codes) == 1 else "",
                    description=own.description,
                )


def _time_and_id(voice: Voice) -> tuple[datetime.datetime, str]:
    return voice.create_time.ToDatetime(tzinfo=datetime.UTC), voice.id


def _token(place: _Place) -> str:
    if place.after is None:
        text = f"s{place.system}"
    else:
        time, voice_id = place.after
        text = f"m{(time - _EPOCH) // _MICROSECOND}{voice_id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _place(token: str) -> _Place:
    if not token:
        return _Place()
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
        if text.startswith("s"):
            return _Place(system=max(0, int(text[1:])))
        microseconds, prefix, rest = text[1:].partition(ID_PREFIX)
        if not text.startswith("m") or not is_voice_id(prefix + rest):
            raise ValueError("neither kind of place")
        return _Place(after=(_EPOCH + int(microseconds) * _MICROSECOND, prefix + rest))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidRequestError(
            "The page token is not one of this service's.", Violation("page_token", "use next_page_token")
        ) from error
