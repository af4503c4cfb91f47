"""The app behind the emulated edge: the part of our worker's contract that asks for pictures and for speech."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import BodyPartReader  # a server, not upstream traffic
from PIL import Image, UnidentifiedImageError

from pixvox.testing.modal import speech
from pixvox.testing.modal.answers import Answer, ContractError, failed
from pixvox.testing.modal.faults import AppAnswer, Effect, NoPicture, Slow
from pixvox.testing.modal.pictures import changed, drawn

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiohttp import web

    from pixvox.testing.modal.clocks import Clock

_DEFAULT_SIZE = (1328, 1328)
_PICTURE_PARTS = ("image", "file", "image[]")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        fields: Text and numbers; of an edit's options each by its own name.
        picture: To be edited, or None.
        raw: Whether the picture is wanted as it is, without JSON.
    """

    fields: Mapping[str, object]
    picture: bytes | None = field(default=None, repr=False)
    raw: bool = False


class Worker:
    """A loaded model that takes its time.

    Attributes:
        begun: How many pieces of work were begun.
        finished: How many of them came to their end.
    """

    def __init__(
        self,
        models: Collection[str],
        work_seconds: float,
        clock: Clock,
        speech: speech.Kind | Mapping[str, speech.Kind] | None = None,
        piece_seconds: float = 0.0,
    ) -> None:
        self.models = models
        self.work_seconds = work_seconds
        self._clock = clock
        self._speech = speech
        self._piece_seconds = piece_seconds
        self.begun = 0
        self.finished = 0

    async def perform(self, operation: str, asked: Asked, effect: Effect | None) -> Answer:
        """Do the work, and return what the app says."""
        self.begun += 1
        await self._clock.sleep(effect.seconds if isinstance(effect, Slow) else self.work_seconds)
        self.finished += 1
        if isinstance(effect, AppAnswer):
            return failed(effect.status, effect.type, effect.message, effect.headers)
        try:
            if operation == "speech":
                speech.check(asked.fields, self._kind(asked))
                return speech.answer(asked.fields, effect, self._piece_seconds, self._clock)
            self._check(asked)
            made = _made(asked) if not isinstance(effect, NoPicture) else b"no picture at all"
        except ContractError as error:
            return error.answer
        if asked.raw:
            return Answer(200, made, "image/png")
        return _edited(made, asked) if operation == "edit" else _generated(made, asked)

    def _kind(self, asked: Asked) -> speech.Kind | None:
        if self._speech is None or isinstance(self._speech, str):
            return self._speech
        return self._speech.get(str(asked.fields.get("model")))

    def _check(self, asked: Asked) -> None:
        if not asked.fields.get("prompt"):
            raise ContractError(400, "prompt is missing")
        model = asked.fields.get("model")
        if model is not None and model not in self.models:
            raise ContractError(404, "no such model", "not_found_error")


def health() -> Answer:
    """Return what a worker says that is ready."""
    return Answer(200, json.dumps({"status": "ok", "model_loaded": True, "queue_depth": 0}).encode())


async def read(request: web.Request, operation: str) -> Asked:
    """Return what a request asks for.

    Raises:
        ContractError: It is not as the contract says.
    """
    raw = request.headers.get("Accept", "").startswith("image/")
    if request.content_type == "multipart/form-data":
        return await _read_form(request, raw=raw)
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise ContractError(400, "the body is no JSON") from error
    if not isinstance(body, dict):
        raise ContractError(400, "the body is no object")
    if operation in {"generate", "speech"}:
        return Asked(body)
    encoded = body.pop("image_base64", None) or body.pop("image", None)
    options = body.pop("options", None) or {}
    return Asked(body | options, None if encoded is None else _unpacked(encoded), raw)


async def _read_form(request: web.Request, *, raw: bool) -> Asked:
    fields: dict[str, object] = {}
    picture = None
    # Not `request.post`, whose temporary files outlive a client that leaves.
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise ContractError(400, "the form is nested")
        data = bytes(await part.read())
        if part.name in _PICTURE_PARTS:
            picture = data
        else:
            fields |= json.loads(data) if part.name == "options" else {str(part.name): data.decode()}
    return Asked(fields, picture, raw)


def _unpacked(encoded: object) -> bytes:
    try:
        return base64.b64decode(str(encoded).rpartition(",")[2], validate=True)
    except binascii.Error as error:
        raise ContractError(400, "image is no base64") from error


def _made(asked: Asked) -> bytes:
    prompt, seed = str(asked.fields["prompt"]), asked.fields.get("seed")
    number = seed if isinstance(seed, int) else 0
    size = _size(asked)
    if asked.picture is None:
        return drawn(prompt, size or _DEFAULT_SIZE, number)
    try:
        return changed(asked.picture, prompt, size, number)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ContractError(415, "the file is no picture", "unsupported_media_type") from error


def _size(asked: Asked) -> tuple[int, int] | None:
    width, height = asked.fields.get("width"), asked.fields.get("height")
    if isinstance(width, int) and isinstance(height, int):
        return width, height
    left, _, right = str(asked.fields.get("size", "")).partition("x")
    return (int(left), int(right)) if left.isdecimal() and right.isdecimal() else None


def _edited(made: bytes, asked: Asked) -> Answer:
    encoded = base64.b64encode(made).decode()
    body = {
        "success": True,
        "processed_image": encoded,
        "processed_image_base64": encoded,
        "processing_time": 0.1,
        "model_used": asked.fields.get("model"),
        "message": "done",
    }
    return Answer(200, json.dumps(body).encode())


def _generated(first: bytes, asked: Asked) -> Answer:
    fields = asked.fields
    n, seed = fields.get("n"), fields.get("seed")
    count, number = n if isinstance(n, int) else 1, seed if isinstance(seed, int) else 0
    size = _size(asked) or _DEFAULT_SIZE
    pictures = [first, *(drawn(str(fields["prompt"]), size, number + index) for index in range(1, count))]
    data = [{"b64_json": base64.b64encode(one).decode(), "seed": number + at} for at, one in enumerate(pictures)]
    body = {"created": 0, "data": data, "seed": number, "output_format": "png", "size": f"{size[0]}x{size[1]}"}
    return Answer(200, json.dumps(body).encode())
