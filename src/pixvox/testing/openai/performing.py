"""What the emulated engine makes, and how it says so."""

from __future__ import annotations

import base64
import json
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
    seed = int(str(record.body.get("seed", 0)))
    inputs = tuple(file.data for file in record.files if file.part.startswith("image"))
    count = int(str(record.body.get("n", 1)))
    size = size_of(record)
    paintings = [Painting(prompt, size, seed, index) for index in range(count)]
    return [edited(inputs, one) if inputs else painted(one) for one in paintings]


def size_of(record: Record) -> tuple[int, int]:
    """Return the (width, height) that a request asks for, or the default."""
    width, _, height = str(record.body.get("size", "")).partition("x")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else _DEFAULT_SIZE


def samples(record: Record, rate: int) -> bytes:
    """Return the sound of a request."""
    speed = float(str(record.body.get("speed", 1.0)))
    return expected_pcm(str(record.body["input"]), str(record.body.get("voice", "")), rate=rate, speech_rate=speed)


def pieces(pcm: bytes) -> Iterator[bytes]:
    """Cut sound into pieces that end within samples."""
    for start in range(0, len(pcm), _PIECE_BYTES):
        yield pcm[start : start + _PIECE_BYTES]


def delta(piece: bytes) -> bytes:
    """Return the event of a piece of sound."""
    packed = base64.b64encode(piece).decode()
    return event("speech.audio.delta", {"type": "speech.audio.delta", "audio": packed, "response_format": "pcm"})


def event(name: str, body: dict[str, object]) -> bytes:
    """Return a server-sent event."""
    return f"event: {name}\ndata: {json.dumps(body)}\n\n".encode()


def wav(pcm: bytes, rate: int, *, short: bool = False) -> bytes:
    """Return a WAV file, perhaps without the last half of its sound."""
    file = wav_of(pcm, rate)
    return file[: len(file) - len(pcm) // 2] if short else file
