"""Speech by HTTP: a link to a WAV file, or server-sent events with audio in them.

Source: dashscope reference 4b and 8.5.
"""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.testing.dashscope import fields, speech_requests
from pixvox.testing.dashscope.envelope import Answer, encoded, invalid, succeeded
from pixvox.testing.dashscope.faults import ErrorEvent, NoResult, OddChunks, PlacedAt
from pixvox.testing.dashscope.files import Link
from pixvox.testing.dashscope.models import LANGUAGE_TYPES, SpeechModel, image_model, speech_model
from pixvox.testing.dashscope.sound import BYTES_PER_SAMPLE, SAMPLE_RATE, expected_pcm, wav_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.testing.dashscope.fields import JsonObject
    from pixvox.testing.dashscope.vendor import Call

_MOST_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class EventStream:
    """Server-sent events.

    Attributes:
        chunks: Frames that each have one audio chunk.
        last: The frame that ends the stream.
        error: Sent instead of what follows after so many chunks, or None.
        usage: What it costs.
    """

    chunks: tuple[bytes, ...]
    last: bytes
    error: tuple[int, bytes] | None
    usage: dict[str, object]


async def spoken(call: Call) -> Answer:
    """Return the answer with a link to a WAV file."""
    said = _said(call)
    link = _link(call, said)
    output = {"finish_reason": "stop", "audio": _audio(call, link, b"", link.url)}
    return succeeded(call.request_id, output=output, usage=said.usage)


def streamed(call: Call) -> EventStream:
    """Return the events of a stream."""
    said = _said(call)
    link = _link(call, said)
    frames = tuple(
        _frame(number, _result(call, said, "null", _audio(call, link, chunk, "")))
        for number, chunk in enumerate(chunks_of(call, said.pcm), 1)
    )
    last = _frame(len(frames) + 1, _result(call, said, "stop", _audio(call, link, b"", link.url)))
    return EventStream(frames, last, _error(call, len(frames)), said.usage)


def chunks_of(call: Call, pcm: bytes, rate: int = SAMPLE_RATE) -> Iterator[bytes]:
    """Cut 16-bit audio into chunks; a fault can make them end within a sample."""
    size = max(1, rate * call.vendor.behaviour.chunk_milliseconds // 1000) * BYTES_PER_SAMPLE
    if call.effects.one(OddChunks) is not None:
        size += 1
    for start in range(0, len(pcm), size):
        yield pcm[start : start + size]


@dataclass(frozen=True, slots=True)
class _Said:
    pcm: bytes
    usage: dict[str, object]


def _said(call: Call) -> _Said:
    name, model = _model(call.body)
    given = fields.input_at(call.body)
    text = fields.text_at(given, "text", longest=None if model.legacy else _MOST_CHARACTERS)
    voice = fields.text_at(given, "voice")
    # Case is known to matter on instruct models; the narrower rule is taken for all. [guess]
    fields.choice_at(given, "language_type", "Auto", LANGUAGE_TYPES)
    # The vendor's SDK puts instructions into the parameters, where they are taken to be unknown and ignored. [guess]
    fields.optional_text_at(given, "instructions")
    fields.truth_at(given, "optimize_instructions", default=False)
    speech_requests.check_voice(name, model, voice, call.vendor.voices)
    pcm = b"" if call.effects.one(NoResult) is not None else expected_pcm(text, voice)
    return _Said(pcm, speech_requests.usage(model, text, len(pcm)))


def _model(body: JsonObject) -> tuple[str, SpeechModel]:
    name = fields.model_at(body)
    model = speech_model(name)
    if model is None and image_model(name) is None:
        raise invalid("Model not exist.")
    if model is None or model.realtime:
        raise invalid("url error, please check url")
    return name, model


def _link(call: Call, said: _Said) -> Link:
    if not said.pcm:
        return Link("", 0)
    placed = call.effects.one(PlacedAt)
    base = placed.base if placed is not None else None
    seconds = call.vendor.behaviour.result_seconds
    return call.vendor.files.put(functools.partial(wav_of, said.pcm), ".wav", "audio/wav", seconds, base)


def _audio(call: Call, link: Link, chunk: bytes, url: str) -> dict[str, object]:
    data = base64.b64encode(chunk).decode()
    return {"data": data, "url": url, "id": f"audio_{call.request_id}", "expires_at": link.expires_at}


def _result(call: Call, said: _Said, finish_reason: str, audio: dict[str, object]) -> bytes:
    # That usage is cumulative is a guess; the sample has the whole of it in the first event. [guess]
    output = {"audio": audio, "finish_reason": finish_reason}
    return encoded({"output": output, "usage": said.usage, "request_id": call.request_id})


def _frame(number: int, data: bytes, event: str = "result", status: int = 200) -> bytes:
    """Return a frame: no blank after the colons, the status in a comment."""
    return b"id:%d\nevent:%s\n:HTTP_STATUS/%d\ndata:%s\n\n" % (number, event.encode(), status, data)


def _error(call: Call, chunks: int) -> tuple[int, bytes] | None:
    error = call.effects.one(ErrorEvent)
    if error is None:
        return None
    after = min(error.after or 0, chunks)
    data = encoded({"code": error.code, "message": error.message, "request_id": call.request_id})
    return after, _frame(after + 1, data, "error", 400)
