"""The events of the realtime protocol, and the settings of a session.

Source: dashscope reference 4a.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixvox.testing.dashscope import containers, fields, speech_requests
from pixvox.testing.dashscope.envelope import invalid
from pixvox.testing.dashscope.models import LANGUAGE_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.testing.dashscope.fields import JsonObject
    from pixvox.testing.dashscope.models import SpeechModel
    from pixvox.testing.dashscope.voices import Voices

_RATES = (8000, 16000, 24000, 48000)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session speaks; the names are those of the protocol.

    Attributes:
        given: What the client sent, echoed by the server.
    """

    # What a session has before its update is documented for the format only. [guess]
    voice: str = "Cherry"
    mode: str = "server_commit"
    language_type: str = "Auto"
    response_format: str = "pcm"
    sample_rate: int = 24000
    speech_rate: float = 1.0
    volume: int = 50
    pitch_rate: float = 1.0
    given: JsonObject = field(default_factory=dict)

    def described(self) -> dict[str, object]:
        """Return the members of ``session.created``."""
        return {
            "mode": self.mode,
            "voice": self.voice,
            "response_format": self.response_format,
            "sample_rate": self.sample_rate,
        }


def settings_of(name: str, model: SpeechModel, session: JsonObject, voices: Voices) -> SessionSettings:
    """Return the settings of a ``session.update``.

    Raises:
        RefusedError: One of them is wrong.
    """
    settings = SessionSettings(
        voice=fields.text_at(session, "voice"),
        mode=fields.choice_at(session, "mode", "server_commit", ("server_commit", "commit")),
        language_type=fields.choice_at(session, "language_type", "Auto", LANGUAGE_TYPES),
        response_format=fields.choice_at(session, "response_format", "pcm", containers.FORMATS),
        sample_rate=fields.whole_at(session, "sample_rate", 24000, (0, 10**9)),
        speech_rate=fields.number_at(session, "speech_rate", 1.0, (0.5, 2.0)),
        volume=fields.whole_at(session, "volume", 50, (0, 100)),
        pitch_rate=fields.number_at(session, "pitch_rate", 1.0, (0.5, 2.0)),
        given=session,
    )
    fields.whole_at(session, "bit_rate", 128, (6, 510))
    # What a model does with instructions that it does not understand is not known; here they change nothing. [guess]
    fields.optional_text_at(session, "instructions")
    fields.truth_at(session, "optimize_instructions", default=False)
    # The vendor's SDK lists 22050 and 44100 too, the documentation doesn't.
    if settings.sample_rate not in _RATES:
        raise invalid(f"sample_rate must be one of {', '.join(map(str, _RATES))}.")
    if model.legacy and (settings.response_format, settings.sample_rate) != ("pcm", 24000):
        raise invalid(f"{name} gives pcm at 24000 Hz only.")
    speech_requests.check_voice(name, model, settings.voice, voices)
    return settings


def event(type: str, **members: object) -> dict[str, object]:  # noqa: A002  # the protocol's name for it
    """Return a server event."""
    return {"event_id": f"event_{uuid.uuid4().hex}", "type": type, **members}


def session_event(type: str, session_id: str, model: str, members: JsonObject) -> dict[str, object]:  # noqa: A002
    """Return ``session.created`` or ``session.updated``."""
    return event(type, session={"object": "realtime.session", "id": session_id, "model": model, **members})


class ResponseEvents:
    """The events of one response, in their order."""

    def __init__(self, voice: str) -> None:
        self._voice = voice
        self._response_id = f"resp_{uuid.uuid4().hex[:24]}"
        self._item_id = f"item_{uuid.uuid4().hex[:24]}"

    def opening(self) -> Iterator[dict[str, object]]:
        """Give what comes before the audio."""
        yield event("response.created", response=self._response("in_progress", voice=self._voice, output=[]))
        yield event(
            "response.output_item.added",
            response_id=self._response_id,
            output_index=0,
            item=self._item("in_progress", []),
        )
        yield self._part("response.content_part.added")

    def delta(self, audio: str) -> dict[str, object]:
        """Return an audio chunk, given in base64."""
        return event("response.audio.delta", **self._place(), delta=audio)

    def closing(self, usage: JsonObject) -> Iterator[dict[str, object]]:
        """Give what comes after the audio."""
        yield event("response.audio.done", **self._place())
        yield self._part("response.content_part.done")
        yield event(
            "response.output_item.done",
            response_id=self._response_id,
            output_index=0,
            item=self._item("completed", [{"type": "audio", "text": ""}]),
        )
        yield event(
            "response.done",
            response=self._response(
                "completed",
                modalities=["text", "audio"],
                voice=self._voice,
                output=[self._item("completed", [{"type": "audio", "transcript": ""}])],
                usage=usage,
            ),
        )

    def _response(self, status: str, **members: object) -> dict[str, object]:
        common = {"id": self._response_id, "object": "realtime.response", "conversation_id": "", "status": status}
        return {**common, **members}

    def _item(self, status: str, content: list[dict[str, str]]) -> dict[str, object]:
        return {
            "id": self._item_id,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _part(self, type: str) -> dict[str, object]:  # noqa: A002
        return event(type, **self._place(), part={"type": "audio", "text": ""})

    def _place(self) -> dict[str, object]:
        return {
            "response_id": self._response_id,
            "item_id": self._item_id,
            "output_index": 0,
            "content_index": 0,
        }
