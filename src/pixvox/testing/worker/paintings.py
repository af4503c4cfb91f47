"""The pictures of the emulated worker, and what its contract asks of a request for some."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from pixvox.testing.dashscope.pictures import Painting, edited, painted
from pixvox.testing.dashscope.pictures import size_of as size_of_file
from pixvox.testing.worker.sounds import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pixvox.testing.worker.record import Record

STEPS = {"low": 8, "medium": 20, "high": 50}

_DEFAULT_SIZE = (1024, 1024)
_STEP = 16
_SIZE = re.compile(r"(\d{1,5})[xX*](\d{1,5})")
_FORMATS = ("png", "jpeg", "jpg", "webp")
_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Order:
    """A request for pictures that is all right.

    Attributes:
        prompt: Of it.
        inputs: Pictures to be edited.
        size: Width and height that are made.
        count: How many.
        seed: Of the first.
        steps: Of each.
        format: ``png``, ``jpeg`` or ``webp``.
    """

    prompt: str
    inputs: tuple[bytes, ...]
    size: tuple[int, int]
    count: int
    seed: int
    steps: int
    format: str

    def files(self) -> list[bytes]:
        """Return the pictures."""
        paintings = [Painting(self.prompt, self.size, self.seed + index, index) for index in range(self.count)]
        made = [edited(self.inputs, one) if self.inputs else painted(one) for one in paintings]
        return made if self.format == "png" else [_converted(one, self.format) for one in made]


class WrongError(Exception):
    """A request is not as the contract says.

    Attributes:
        status: Of the answer.
        type: Of the error.
        param: The field, or None.
    """

    def __init__(self, status: int, type: str, param: str | None) -> None:  # noqa: A002 - the wire's word
        super().__init__(param)
        self.status = status
        self.type = type
        self.param = param


def order_of(record: Record, *, edits: bool) -> Order:
    """Return what a request asks for; the numbers of a form are texts.

    Raises:
        WrongError: It is not as the contract says.
    """
    fields = _flat(record.body)
    if not isinstance(fields.get("prompt"), str) or not fields["prompt"]:
        raise WrongError(400, "invalid_request_error", "prompt")
    if edits and not record.files:
        raise WrongError(400, "invalid_request_error", "image")
    sizes = [size_of_file(file.data) for file in record.files]
    if None in sizes:
        raise WrongError(415, "unsupported_media_type", None)
    count, seed = _number(fields, "n", 1), _number(fields, "seed", 0)
    steps = _number(fields, "num_inference_steps", STEPS[str(fields.get("quality", "high"))])
    wanted = str(fields.get("output_format", "png"))
    if wanted not in _FORMATS:
        raise WrongError(400, "invalid_request_error", "output_format")
    size = _size(fields, sizes[0] if sizes else None)
    inputs = tuple(file.data for file in record.files)
    return Order(str(fields["prompt"]), inputs, size, count, seed, steps, wanted.replace("jpg", "jpeg"))


def step_event(job_id: str, step: int, steps: int) -> bytes:
    """Return the event of a step that is over."""
    return event("x.progress", job_id=job_id, step=step, steps=steps, progress=round(step / steps, 4))


def picture_events(name: str, order: Order, files: list[bytes]) -> Iterator[bytes]:
    """Give the events of pictures that are finished; `name` is ``image_generation`` or ``image_edit``."""
    for index, file in enumerate(files):
        yield event(
            f"{name}.completed",
            b64_json=base64.b64encode(file).decode(),
            created_at=0,
            size=f"{order.size[0]}x{order.size[1]}",
            quality="auto",
            background="opaque",
            output_format=order.format,
            usage={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
            seed=order.seed + index,
            index=index,
        )


def _flat(body: Mapping[str, object]) -> dict[str, object]:
    """Return the members with the options of ``/process`` among them, by the names of the other routes."""
    options = body.get("options")
    inner = dict(options) if isinstance(options, dict) else {}
    if "steps" in inner:
        inner["num_inference_steps"] = inner.pop("steps")
    if "width" in inner and "height" in inner:
        inner["size"] = f"{inner['width']}x{inner['height']}"
    return {**body, **inner}


def _number(fields: Mapping[str, object], name: str, default: int) -> int:
    try:
        return int(str(fields.get(name, default)))
    except ValueError as error:
        raise WrongError(400, "invalid_request_error", name) from error


def _size(fields: Mapping[str, object], given: tuple[int, int] | None) -> tuple[int, int]:
    text = str(fields.get("size", "auto"))
    if text == "auto":
        size = given or _DEFAULT_SIZE
    elif (match := _SIZE.fullmatch(text)) is not None:
        size = int(match[1]), int(match[2])
    else:
        raise WrongError(400, "invalid_request_error", "size")
    return max(_STEP, size[0] // _STEP * _STEP), max(_STEP, size[1] // _STEP * _STEP)


def _converted(file: bytes, wanted: str) -> bytes:
    made = io.BytesIO()
    Image.open(io.BytesIO(file)).convert("RGB").save(made, wanted.upper(), quality=_QUALITY)
    return made.getvalue()
