"""Requests for pictures as our worker takes them, and its answers read: bytes out, bytes in, no network."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec

from pixvox import limits
from pixvox.errors import InvalidMediaError, InvalidRequestError, ProviderInternalError, Violation
from pixvox.media.images import probed
from pixvox.provider import Blob

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from google.protobuf.struct_pb2 import Struct

    from pixvox.v1 import image_service_pb2, model_service_pb2

    Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest

T = TypeVar("T")

KIND = "modal"
_PATH = f"provider_options.{KIND}"
# Each option of ours with its name in the OpenAI shape; `/process` has the first.
_OPTIONS = {"steps": "num_inference_steps", "true_cfg_scale": "true_cfg_scale"}


def size_asked(request: Request, output: model_service_pb2.ImageOutput) -> tuple[int, int] | None:
    """Return the (width, height) to ask for, None where the picture keeps its size."""
    if request.HasField("size"):
        return limits.effective_size(request.size.width, request.size.height, output.size)
    if output.size.HasField("default_size"):
        return output.size.default_size.width, output.size.default_size.height
    return None


def generation(request: image_service_pb2.GenerateImageRequest, model: str, size: tuple[int, int] | None) -> bytes:
    """Return the JSON for ``/v1/images/generations``.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    document: dict[str, object] = {
        "model": model,
        "prompt": request.prompt,
        "n": request.n or 1,
        "response_format": "b64_json",
        "output_format": "png",
    }
    if size is not None:
        document["size"] = f"{size[0]}x{size[1]}"
    document |= _common(request) | {_OPTIONS[name]: value for name, value in _options(request).items()}
    return msgspec.json.encode(document)


def edit(
    request: image_service_pb2.EditImageRequest, image: Blob, model: str, size: tuple[int, int] | None
) -> tuple[bytes, str]:
    """Return the form for ``/process``, and its content type.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    options: dict[str, object] = {} if size is None else {"width": size[0], "height": size[1]}
    options |= _common(request) | _options(request)
    fields = {"prompt": request.prompt, "model": model, "options": msgspec.json.encode(options).decode()}
    boundary = secrets.token_hex(24)
    return _form(fields, image, boundary), f"multipart/form-data; boundary={boundary}"


def generated(body: bytes) -> tuple[Blob, ...]:
    """Return the pictures of an answer of ``/v1/images/generations``.

    Raises:
        ProviderInternalError: There is none.
    """
    answer = _decoded(body, _Generated)
    pictures = tuple(_picture(one.b64_json, one.seed) for one in answer.data)
    if not pictures:
        raise _senseless()
    return pictures


def edited(body: bytes) -> Blob:
    """Return the picture of an answer of ``/process``.

    Raises:
        ProviderInternalError: There is none.
    """
    answer = _decoded(body, _Processed)
    if not answer.success:
        raise _senseless()
    return _picture(answer.processed_image or answer.processed_image_base64, answer.seed)


def numbers(options: Struct, names: Collection[str], prefix: str = "") -> dict[str, float]:
    """Return the numbers that the caller gives under this kind of provider.

    Args:
        options: The request's `provider_options`.
        names: That there are.
        prefix: Of the field in the request, for the error.

    Raises:
        InvalidRequestError: There is something else.
    """
    if KIND not in options.fields:
        return {}
    path, value = f"{prefix}{_PATH}", options.fields[KIND]
    if value.WhichOneof("kind") != "struct_value":
        raise _invalid(path, f"has to be an object with {' and '.join(names)}")
    found: dict[str, float] = {}
    for name, one in value.struct_value.fields.items():
        if name not in names:
            raise _invalid(f"{path}.{name}", f"is not one of {', '.join(names)}")
        if one.WhichOneof("kind") != "number_value" or not 0 < one.number_value < float("inf"):
            raise _invalid(f"{path}.{name}", "has to be a number above 0")
        found[name] = int(one.number_value) if one.number_value.is_integer() else one.number_value
    return found


class _Data(msgspec.Struct):
    b64_json: str = ""
    seed: int | None = None


class _Generated(msgspec.Struct):
    data: list[_Data]


class _Processed(msgspec.Struct):
    success: bool = True
    processed_image: str = ""
    processed_image_base64: str = ""
    seed: int | None = None


def _common(request: Request) -> dict[str, object]:
    found: dict[str, object] = {}
    if request.negative_prompt.strip():
        found["negative_prompt"] = request.negative_prompt
    if request.HasField("seed"):
        found["seed"] = request.seed
    return found


def _options(request: Request) -> dict[str, float]:
    return numbers(request.provider_options, _OPTIONS)


def _invalid(path: str, description: str) -> InvalidRequestError:
    return InvalidRequestError("The provider's options are not as documented.", Violation(path, description))


def _form(fields: Mapping[str, str], image: Blob, boundary: str) -> bytes:
    """Return a form (RFC 7578) with a file part ``image``."""
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n'
        f"Content-Type: {image.mime_type}\r\n\r\n"
    )
    return b"".join((*pieces, head.encode(), image.data, f"\r\n--{boundary}--\r\n".encode()))


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _senseless() from error


def _picture(encoded: str, seed: int | None) -> Blob:
    try:
        # Some workers give a data URI.
        data = base64.b64decode(encoded.rpartition(",")[2], validate=True)
        facts = probed(data)
    except (ValueError, InvalidMediaError) as error:
        raise _senseless() from error
    return Blob(facts.mime_type, data, width=facts.width, height=facts.height, seed=seed)


def _senseless() -> ProviderInternalError:
    message = "The worker answered without a picture."
    return ProviderInternalError(message, metadata={"replay": "accepted"})
