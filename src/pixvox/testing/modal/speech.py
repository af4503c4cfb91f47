"""Speech as the emulated worker makes it: events with the audio in them, a level for each character."""

from __future__ import annotations

import base64
import binascii
import io
import json
import wave
from typing import TYPE_CHECKING, Literal

from pixvox.testing.modal.answers import Answer, ContractError
from pixvox.testing.modal.faults import SpeechBreak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pixvox.testing.modal.clocks import Clock
    from pixvox.testing.modal.faults import Effect

Kind = Literal["CustomVoice", "Base", "VoiceDesign"]

RATE = 24_000
SPEAKERS = ("vivian", "serena", "uncle_fu", "dylan", "eric", "ryan", "aiden", "ono_anna", "sohee")
SAMPLES_OF_A_CHARACTER = 1_200

# Spreads the letters over what can be heard.
_LOUDNESS = 97

_LANGUAGES = frozenset(
    {
        *("Auto", "Chinese", "English", "Japanese", "Korean", "German", "French", "Russian", "Portuguese", "Spanish"),
        "Italian",
    }
)


def said(text: str) -> bytes:
    """Return the samples, 16-bit little-endian mono at 24 kHz, that a text is spoken with: a level for each character."""
    return b"".join(level(one) * SAMPLES_OF_A_CHARACTER for one in text)


def level(character: str) -> bytes:
    """Return the sample of a character."""
    return (1 + ord(character) * _LOUDNESS % 16_000).to_bytes(2, "little")


def wav(samples: bytes) -> bytes:
    """Return a WAV file of samples at 24 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(samples)
    return file.getvalue()


def check(fields: Mapping[str, object], kind: Kind | None) -> None:
    """Hold a request against the contract.

    Raises:
        ContractError: It is not as the contract says.
    """
    if kind is None:
        raise ContractError(400, "the model does not speak", "unsupported_task")
    if not str(fields.get("input", "")).strip():
        raise ContractError(400, "input is empty")
    if fields.get("task_type", kind) != kind:
        raise ContractError(400, f"the model is for {kind}")
    if fields.get("language", "Auto") not in _LANGUAGES:
        raise ContractError(400, "no such language")
    if kind == "CustomVoice" and str(fields.get("voice", "")).lower() not in SPEAKERS:
        raise ContractError(400, "no such voice")
    if kind == "VoiceDesign" and not fields.get("instructions"):
        raise ContractError(400, "instructions are missing")
    if kind == "Base":
        _check_reference(fields)


def answer(fields: Mapping[str, object], effect: Effect | None, piece_seconds: float, clock: Clock) -> Answer:
    """Return the answer to a request that is all right.

    Args:
        fields: Of the request.
        effect: That it meets.
        piece_seconds: How long each character takes, where the answer streams.
        clock: To wait by.
    """
    text = str(fields["input"])
    if not fields.get("stream"):
        return Answer(200, wav(said(text)), "audio/wav", {"X-Sample-Rate": str(RATE)})
    broken = effect if isinstance(effect, SpeechBreak) else None
    pieces = _events(text, broken, piece_seconds, clock)
    return Answer(200, b"", "text/event-stream", {"X-Sample-Rate": str(RATE)}, pieces=pieces)


def _check_reference(fields: Mapping[str, object]) -> None:
    audio = str(fields.get("ref_audio", ""))
    head, _, packed = audio.rpartition(",")
    if not head.startswith("data:audio/"):
        raise ContractError(400, "ref_audio is missing")
    try:
        base64.b64decode(packed, validate=True)
    except binascii.Error as error:
        raise ContractError(400, "ref_audio is no base64") from error
    if not fields.get("ref_text") and not fields.get("x_vector_only_mode"):
        raise ContractError(400, "ref_text is missing")


async def _events(
    text: str, broken: SpeechBreak | None, piece_seconds: float, clock: Clock
) -> AsyncIterator[bytes | None]:
    """Give the events, None where the connection is to be cut."""
    for number, character in enumerate(text):
        if broken is not None and broken.after == number:
            if broken.how == "cut":
                yield None
            elif broken.how == "error":
                yield _event("speech.audio.error", error=_ERROR, partial_audio=True, action="discard")
            return
        await clock.sleep(piece_seconds)
        # An odd number of bytes, to see that whole samples come out of it.
        samples = level(character) * SAMPLES_OF_A_CHARACTER
        for part in (samples[:1001], samples[1001:]):
            packed = base64.b64encode(part).decode()
            yield _event("speech.audio.delta", audio=packed, response_format="pcm", sample_rate=RATE)
    usage = {"input_tokens": len(text), "output_tokens": len(text), "total_tokens": 2 * len(text)}
    yield _event("speech.audio.done", usage=usage, seed=1)


_ERROR = {"message": "It went wrong.", "type": "internal_error", "param": None, "code": 500}


def _event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
