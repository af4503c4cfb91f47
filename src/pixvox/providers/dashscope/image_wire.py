"""Requests for pictures as the vendor takes them, and its answers read: bytes out, bytes in, no network.

Source: "Qwen - text-to-image API reference", "Qwen - image editing API reference" and "Wan text-to-image V2 API reference" of
Alibaba Cloud Model Studio.
"""

from __future__ import annotations

import binascii
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pixvox import limits
from pixvox.errors import InvalidRequestError, Violation
from pixvox.providers.dashscope.refusals import Complaint, Envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf import struct_pb2

    from pixvox.provider import Blob
    from pixvox.providers.dashscope.models import ImageModel
    from pixvox.upstream import Reply
    from pixvox.v1 import image_service_pb2, model_service_pb2

    Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest

KIND = "dashscope"

_NEGATIVE = "negative_prompt"
_FIELDS = frozenset({"n", "size", "seed", "prompt_extend", "watermark", _NEGATIVE})
# Encoded this much at a time, a multiple of three, a picture never keeps the event loop waiting for the interpreter's lock.
_PIECE = 384 * 1024
_EMPTY_IMAGE = b'"image":""'


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer with status 200 says.

    Attributes:
        urls: Of the finished pictures; may be empty.
        request_id: The vendor's, or empty.
        billed: How many pictures are billed, or None if it does not say.
        size: (width, height) of the pictures in pixels, or None if it does not say.
        complaint: Why some or all pictures are missing, or None if it does not say.
        begun: The reply to the request that began the work, once that is known.
    """

    urls: tuple[str, ...]
    request_id: str
    billed: int | None
    size: tuple[int, int] | None
    complaint: Complaint | None
    begun: Reply | None = field(default=None, repr=False)


def size_asked(request: Request, output: model_service_pb2.ImageOutput) -> tuple[int, int] | None:
    """Return the (width, height) to ask for, None where the vendor chooses."""
    if request.HasField("size"):
        return limits.effective_size(request.size.width, request.size.height, output.size)
    if output.size.HasField("default_size"):
        return output.size.default_size.width, output.size.default_size.height
    return None


def encoded_messages(
    request: Request, model: ImageModel, size: tuple[int, int] | None, images: Sequence[Blob] = ()
) -> bytes:
    """Return the JSON that asks a model for pictures at once; input pictures become data URIs, before the prompt.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    parameters = _parameters(request, model, size)
    if request.negative_prompt.strip():
        parameters[_NEGATIVE] = request.negative_prompt
    content = [*({"image": ""} for _ in images), {"text": request.prompt}]
    messages = [{"role": "user", "content": content}]
    document = msgspec.json.encode(
        {"model": model.message.id, "input": {"messages": messages}, "parameters": parameters}
    )
    return _filled(document, images)


def encoded_task(
    request: image_service_pb2.GenerateImageRequest, model: ImageModel, size: tuple[int, int] | None
) -> bytes:
    """Return the JSON that begins a text2image task.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    prompts = {"prompt": request.prompt}
    if request.negative_prompt.strip():
        prompts[_NEGATIVE] = request.negative_prompt
    return msgspec.json.encode(
        {"model": model.message.id, "input": prompts, "parameters": _parameters(request, model, size)}
    )


def decoded(body: bytes) -> Answer | Complaint:
    """Return what an answer with status 200 says, a complaint if it is a failure all the same.

    Raises:
        msgspec.MsgspecError: It is not JSON as the vendor's.
        UnicodeDecodeError: Likewise.
    """
    envelope = msgspec.json.decode(body, type=_Envelope)
    request_id = envelope.request_id or ""
    if envelope.code:
        return Complaint(code=str(envelope.code), message=envelope.message or "", request_id=request_id)
    output, usage = envelope.output or _Output(), envelope.usage or _Usage()
    parts = [
        *(part for choice in output.choices or () if choice.message for part in choice.message.content or ()),
        *(output.results or ()),
    ]
    failed = next((part for part in parts if part.code), None)
    return Answer(
        urls=tuple(url for part in parts if (url := part.image or part.url or "").startswith(("http://", "https://"))),
        request_id=request_id,
        billed=usage.image_count if isinstance(usage.image_count, int) else None,
        size=_made_size(usage),
        complaint=failed and Complaint(code=str(failed.code), message=failed.message or "", request_id=request_id),
    )


class _Part(msgspec.Struct):
    """One picture, of an answer's content or of a task's results; or text, which is left alone."""

    image: str | None = None
    url: str | None = None
    code: str | int | None = None
    message: str | None = None


class _Message(msgspec.Struct):
    content: list[_Part] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Output(msgspec.Struct):
    choices: list[_Choice] | None = None
    results: list[_Part] | None = None


class _Usage(msgspec.Struct):
    image_count: object = None
    width: object = None
    height: object = None
    size: object = None


class _Envelope(Envelope):
    output: _Output | None = None
    usage: _Usage | None = None


def _parameters(request: Request, model: ImageModel, size: tuple[int, int] | None) -> dict[str, object]:
    """Return the parameters but for the negative prompt; what has a default is sent, since defaults differ by model."""
    parameters: dict[str, object] = {} if size is None else {"size": f"{size[0]}*{size[1]}"}
    parameters["n"] = request.n or 1
    if model.extends:
        parameters["prompt_extend"] = request.prompt_extend if request.HasField("prompt_extend") else True
    parameters["watermark"] = request.watermark
    if request.HasField("seed"):
        parameters["seed"] = request.seed
    parameters |= model.fixed
    return parameters | _options(request.provider_options, taken=_FIELDS.union(model.fixed))


def _options(options: struct_pb2.Struct, taken: frozenset[str]) -> dict[str, object]:
    """Return the parameters that the caller gives under this kind of provider."""
    if KIND not in options.fields:
        return {}
    path = f"provider_options.{KIND}"
    given = _plain(options.fields[KIND])
    if not isinstance(given, dict):
        raise _invalid(path, "has to be an object of the vendor's parameters")
    if clashes := sorted(taken.intersection(given)):
        raise _invalid(f"{path}.{clashes[0]}", "is set by the service; use the request's own field of that name")
    return given


def _plain(value: struct_pb2.Value) -> object:
    """Return a value as JSON has it; whole numbers are written without a point, which the vendor does not take."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _plain(one) for name, one in value.struct_value.fields.items()}
        case "list_value":
            return [_plain(one) for one in value.list_value.values]
        case "number_value":
            return int(value.number_value) if value.number_value.is_integer() else value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _invalid(path: str, description: str) -> InvalidRequestError:
    return InvalidRequestError("The provider's options are not as documented.", Violation(path, description))


def _filled(document: bytes, images: Sequence[Blob]) -> bytes:
    """Return a document with each picture in its place, copied once on the way to Base64 and once into the document."""
    # Inside a JSON string the quotes would be escaped, and before the pictures there is nothing but the model's name.
    before, *others = document.split(_EMPTY_IMAGE, len(images))
    body = io.BytesIO()
    body.write(before)
    for image, after in zip(images, others, strict=True):
        body.write(f'"image":"data:{image.mime_type};base64,'.encode())
        view = memoryview(image.data)
        for start in range(0, len(view), _PIECE):
            body.write(binascii.b2a_base64(view[start : start + _PIECE], newline=False))
        body.write(b'"')
        body.write(after)
    return body.getvalue()


def _made_size(usage: _Usage) -> tuple[int, int] | None:
    width, height = usage.width, usage.height
    if isinstance(usage.size, str):
        left, _, right = usage.size.partition("*")
        if left.isdecimal() and right.isdecimal():
            width, height = int(left), int(right)
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    return None
