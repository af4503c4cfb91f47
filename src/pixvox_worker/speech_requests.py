"""Turns a request for speech into a task that the loaded model can do, or says what is wrong with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pixvox_worker import languages, recordings
from pixvox_worker.failures import BadRequest, UnsupportedTask
from pixvox_worker.requests import check_model, seed_of
from pixvox_worker.speech import CUSTOM_VOICE, SPEECH_KINDS, VOICE_CLONE, VOICE_DESIGN, SpeechEngine, SpeechTask

if TYPE_CHECKING:
    from pixvox_worker.recordings import Recording
    from pixvox_worker.settings import Settings
    from pixvox_worker.speech_schemas import SpeechRequest
    from pixvox_worker.tasks import Engine
    from pixvox_worker.voices import Voice, VoiceShelf

_KINDS = {"CustomVoice": CUSTOM_VOICE, "VoiceDesign": VOICE_DESIGN, "Base": VOICE_CLONE}
# Marks of the model's own language: in a text they would end it, or say something in somebody else's name.
_MARK = re.compile(r"<\|[^<>|]{1,40}\|>|<tts_[a-z_]{1,40}>")
# What clients send that have to send something.
_NO_VOICE = ("", "default", "auto")


class SpeechReader:
    """Knows the settings, the model and the voices that a request has to fit to."""

    def __init__(self, settings: Settings, engine: Engine, shelf: VoiceShelf) -> None:
        self._settings = settings
        self._engine = engine
        self._shelf = shelf

    def engine(self) -> SpeechEngine:
        """The engine, where it speaks.

        Raises:
            UnsupportedTask: it does not.
        """
        speaks = any(kind in self._engine.capabilities() for kind in SPEECH_KINDS)
        if not speaks or not isinstance(self._engine, SpeechEngine):
            message = f"{self._settings.model_id} does not speak."
            raise UnsupportedTask(message)
        return self._engine

    def read(self, body: SpeechRequest, *, streamed: bool) -> SpeechTask:
        """A request in the shape of OpenAI and vLLM-Omni. Decodes the recording, so not in the event loop.

        Raises:
            Failure: the model or the settings do not allow it.
        """
        check_model(self._settings, body.model)
        engine = self.engine()
        named = self._shelf.find(body.voice) if body.voice else None
        kind = self._kind(body, named, engine.capabilities())
        self._check_texts(body)
        if body.instructions and not engine.follows_instructions(kind):
            message = f"{self._settings.model_id} follows no instructions."
            raise BadRequest(message, param="instructions")
        if kind == VOICE_CLONE:
            recording, transcript = self._reference(body, named)
        else:
            recording, transcript = None, None
            _check_no_reference(body)
        return SpeechTask(
            kind=kind,
            text=body.input.strip(),
            voice=self._speaker(body.voice, engine) if kind == CUSTOM_VOICE else None,
            instructions=self._instructions(body, kind),
            language=_language(body.language, engine),
            seed=seed_of(body.seed),
            max_frames=min(body.max_new_tokens, self._settings.max_new_tokens),
            recording=recording,
            transcript=transcript,
            streamed=streamed,
        )

    def _kind(self, body: SpeechRequest, named: Voice | None, can: tuple[str, ...]) -> str:
        """What the request says, else what its fields mean, else the only thing that the model does."""
        spoken = [kind for kind in SPEECH_KINDS if kind in can]
        if body.task_type is not None:
            wanted = _KINDS[body.task_type]
        elif body.ref_audio or body.ref_text or body.x_vector_only_mode or named is not None:
            wanted = VOICE_CLONE
        elif len(spoken) == 1:
            wanted = spoken[0]
        else:
            wanted = VOICE_DESIGN if _is_no_voice(body.voice) and body.instructions else CUSTOM_VOICE
        if wanted not in spoken:
            message = f"{self._settings.model_id} does no {wanted}."
            raise UnsupportedTask(message, param="task_type")
        return wanted

    def _check_texts(self, body: SpeechRequest) -> None:
        if not body.input.strip():
            message = "There is nothing to say."
            raise BadRequest(message, param="input")
        if len(body.input) > self._settings.max_input_characters:
            message = f"At most {self._settings.max_input_characters} characters are spoken at a time."
            raise BadRequest(message, param="input")
        for name in ("input", "instructions", "ref_text"):
            if _MARK.search(getattr(body, name) or ""):
                message = "The text has marks that are the model's own."
                raise BadRequest(message, param=name)
        if body.speed != 1.0:
            message = "The model has one speed: 1.0."
            raise BadRequest(message, param="speed")

    def _speaker(self, given: str | None, engine: SpeechEngine) -> str:
        known = engine.speakers()
        if given is None or given.lower() not in known:
            message = f"voice is one of {', '.join(known)}."
            raise BadRequest(message, param="voice")
        return given.lower()

    def _instructions(self, body: SpeechRequest, kind: str) -> str | None:
        text = (body.instructions or "").strip()
        if kind == VOICE_DESIGN:
            if not text:
                message = "A voice is designed by instructions that describe it."
                raise BadRequest(message, param="instructions")
            if not _is_no_voice(body.voice):
                message = "A voice that is designed has no name: describe it in instructions."
                raise BadRequest(message, param="voice")
        return text or None

    def _reference(self, body: SpeechRequest, named: Voice | None) -> tuple[Recording, str | None]:
        """The recording and what is said in it, from the request or from the voice that it names."""
        if named is None and not _is_no_voice(body.voice):
            known = ", ".join(voice.name for voice in self._shelf.all()) or "none so far"
            message = f"voice is one that was sent to /v1/audio/voices ({known}), or send ref_audio."
            raise BadRequest(message, param="voice")
        if (named is None) == (body.ref_audio is None):
            message = "A voice is cloned from ref_audio or from a voice that was sent before: one of them."
            raise BadRequest(message, param="ref_audio")
        if named is not None:
            data, transcript = self._shelf.recording(named), body.ref_text or named.transcript
        else:
            data, transcript = recordings.from_text(body.ref_audio or ""), body.ref_text
        transcript = (transcript or "").strip() or None
        if named is None and transcript is None and not body.x_vector_only_mode:
            message = "What is said in ref_audio is needed, or x_vector_only_mode."
            raise BadRequest(message, param="ref_text")
        recording = recordings.decode(data, max_bytes=self._settings.max_recording_mb * 1024 * 1024)
        return recording, None if body.x_vector_only_mode else transcript


def _check_no_reference(body: SpeechRequest) -> None:
    for name in ("ref_audio", "ref_text", "x_vector_only_mode"):
        if getattr(body, name):
            message = f"{name} is for clones: task_type Base."
            raise BadRequest(message, param=name)


def _language(given: str | None, engine: SpeechEngine) -> str:
    found = languages.resolve(given, engine.languages())
    if found is None:
        message = f"language is one of {', '.join(engine.languages())}, or a BCP-47 tag of one of them."
        raise BadRequest(message, param="language")
    return found


def _is_no_voice(given: str | None) -> bool:
    return (given or "").lower() in _NO_VOICE
