"""Requests for pictures as a worker takes them, and its events read: bytes out, bytes in, no network.

Source: `docs/worker-openapi.json`. The members are those of OpenAI's HTTP API and of vLLM-Omni.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pixvox import limits
from pixvox.media.images import mime_type_of
from pixvox.providers.worker.options import PICTURES, options_of
from pixvox.providers.worker.refusals import senseless
from pixvox.upstream.forms import FormFile, encoded_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.provider import Blob
    from pixvox.providers.worker.models import ModelTable
    from pixvox.upstream import Event
    from pixvox.v1 import image_service_pb2, model_service_pb2

    Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest

OPTIONS = "provider_options"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the steps of a request are.

    Attributes:
        step: How many are over.
        steps: Of how many.
    """

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is finished.

    Attributes:
        data: The file.
        seed: That made it, or None if the worker does not say.
        index: Of the picture among those of its request, from 0, or None if the worker does not say.
    """

    data: bytes = field(repr=False)
    seed: int | None
    index: int | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The request has failed.

    Attributes:
        data: Of the event that says so.
    """

    data: bytes = field(repr=False)


def size_asked(request: Request, output: model_service_pb2.ImageOutput) -> tuple[int, int] | None:
    """Return the (width, height) to ask for, None where the picture keeps its input's."""
    if request.HasField("size"):
        return limits.effective_size(request.size.width, request.size.height, output.size)
    if output.size.HasField("default_size"):
        return output.size.default_size.width, output.size.default_size.height
    return None


def members(
    request: Request,
    model: str,
    table: ModelTable,
    output: model_service_pb2.ImageOutput,
    size: tuple[int, int] | None,
) -> dict[str, object]:
    """Return what a request for a stream of events says beside its pictures.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    found: dict[str, object] = {
        "model": table.name or model,
        "prompt": request.prompt,
        "n": request.n or 1,
        "output_format": mime_type_of(request.format or output.formats[0]).removeprefix("image/"),
        "stream": True,
    }
    if size is not None:
        found["size"] = f"{size[0]}x{size[1]}"
    return found | manner(request, table)


def manner(request: Request, table: ModelTable) -> dict[str, object]:
    """Return how a picture is to be made: seed, negative prompt, steps.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    found: dict[str, object] = {}
    if request.negative_prompt.strip():
        found["negative_prompt"] = request.negative_prompt
    if request.HasField("seed"):
        found["seed"] = request.seed
    options = options_of(request.provider_options, PICTURES, OPTIONS)
    # Steps win over a quality wherever both are given, so that a caller's quality has to win over the table's steps.
    if table.steps and "quality" not in options:
        found["num_inference_steps"] = table.steps
    elif table.quality:
        found["quality"] = table.quality
    return found | options


def edit_form(fields: dict[str, object], images: Sequence[Blob]) -> tuple[bytes, str]:
    """Return the form of an edit and its content type; copies the pictures."""
    files = [
        FormFile("image", f"{number}.{image.mime_type.removeprefix('image/')}", image.mime_type, image.data)
        for number, image in enumerate(images, 1)
    ]
    return encoded_form(fields, files)


def happened(event: Event, request_id: str) -> Progress | Picture | Failed | None:
    """Return what an event says, None for one that says nothing of interest. Takes a moment for one with a picture.

    Raises:
        ProviderInternalError: It makes no sense.
    """
    if event.data == b"[DONE]" or event.event.endswith(".partial_image"):
        return None
    try:
        said = msgspec.json.decode(event.data, type=_Said)
        kind = said.type or event.event
        if kind == "error" or said.error is not None:
            return Failed(event.data)
        if kind == "x.progress":
            return Progress(said.step or 0, said.steps or 0)
        if kind.endswith(".completed"):
            return Picture(base64.b64decode(said.b64_json or "", validate=True), said.seed, said.index)
    except (msgspec.MsgspecError, ValueError) as error:
        raise senseless("sent an event that makes no sense", request_id) from error
    return None


class _Said(msgspec.Struct):
    type: str | None = None
    step: int | None = None
    steps: int | None = None
    b64_json: str | None = None
    seed: int | None = None
    index: int | None = None
    error: object = None
