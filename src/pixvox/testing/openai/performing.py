"""What the emulated engine makes, and how it says so."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import TYPE_CHECKING

from pixvox.testing.dashscope.pictures import Painting, edited, painted
from pixvox.testing.dashscope.sound import expected_pcm, wav_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.testing.openai.record import Record

_DEFAULT_SIZE = (256, 256)
_PIECE_BYTES = 9_601


def pictures(record: Record) -> list[bytes]:
    """Return the PNG files that a request asks for."""
    prompt = str(record.body.get("prompt", ""))
    seed = int(number_of(record.body | (kwargs_of(record) or {}), "seed", 0))
    inputs = tuple(file.data for file in record.files if file.part.startswith("image"))
    count = int(number_of(record.body, "n", 1))
    size = size_of(record)
    paintings = [Painting(prompt, size, seed, index) for index in range(count)]
    return [edited(inputs, one) if inputs else painted(one) for one in paintings]


def size_of(record: Record) -> tuple[int, int]:
    """Return the (width, height) that a request asks for, or the default."""
    width, _, height = str(record.body.get("size", "")).replace("*", "x").partition("x")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else _DEFAULT_SIZE


def samples(record: Record, rate: int) -> bytes:
    """Return the sound of a request."""
    speed = number_of(record.body, "speed", 1.0)
    return expected_pcm(str(record.body["input"]), voice_of(record), rate=rate, speech_rate=speed)


def voice_of(record: Record) -> str:
    """Return the name of the voice that a request is spoken with, which a recording or a description stands for as well."""
    options = record.body | (kwargs_of(record) or {})
    recorded = next((file.data for file in record.files if file.part == "prompt_speech"), b"")
    if packed := str(options.get("ref_audio", "")).partition(",")[2]:
        recorded = base64.b64decode(packed)
    if recorded:
        return voice_of_recording(recorded)
    described = str(options.get("instructions", options.get("instruct", "")))
    return str(options.get("voice") or "") or (f"design:{described}" if described else "")


def voice_of_recording(data: bytes) -> str:
    """Return the name of the voice of a recording."""
    return f"recording:{hashlib.sha256(data).hexdigest()[:16]}"


def kwargs_of(record: Record) -> dict[str, object] | None:
    """Return what stands in Xinference's ``kwargs``, None if that is not JSON in a string."""
    try:
        found = json.loads(str(record.body.get("kwargs", "{}")))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def number_of(body: dict[str, object], name: str, default: float) -> float:
    """Return a number of a request, which a form has as text; the default if it is none."""
    try:
        return float(str(body.get(name, default)))
    except ValueError:
        return default


def pieces(pcm: bytes, *, endless: bool = False) -> Iterator[bytes]:
    """Cut sound into pieces that end within samples, with nothing behind the last; endlessly if that is wanted."""
    while True:
        for start in range(0, len(pcm), _PIECE_BYTES):
            yield pcm[start : start + _PIECE_BYTES]
        if not endless:
            yield b""
            return


def delta(piece: bytes) -> bytes:
    """Return the event of a piece of sound."""
    packed = base64.b64encode(piece).decode()
    return event("speech.audio.delta", {"type": "speech.audio.delta", "audio": packed, "response_format": "pcm"})


def event(name: str, body: dict[str, object]) -> bytes:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(body)}\n\n".encode()


def endless_header(rate: int) -> bytes:
    """Return the header of a WAV file whose length nobody knows yet."""
    unknown = 0xFFFFFFFF
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", unknown, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", unknown
    )


def wav(pcm: bytes, rate: int, *, short: bool = False) -> bytes:
    """Return a WAV file, perhaps without the last half of its sound."""
    file = wav_of(pcm, rate)
    return file[: len(file) - len(pcm) // 2] if short else file
