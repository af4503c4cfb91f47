"""Requests for pictures as each dialect takes them, and its answers read: bytes out, bytes in, no network."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from pixvox import limits
from pixvox.media.images import mime_type_of
from pixvox.providers.openai.options import options_of, wrapped
from pixvox.upstream import forms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pixvox.provider import Blob
    from pixvox.providers.openai.dialects import Dialect
    from pixvox.providers.openai.model_table import ModelTable
    from pixvox.v1 import image_service_pb2, model_service_pb2

    Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest

# Members that the service sets, whatever the dialect.
OWN_MEMBERS = frozenset(
    {
        *("model", "prompt", "n", "size", "seed", "negative_prompt", "response_format", "output_format", "stream"),
        *("image", "image[]", "mask", "mask_image", "url", "url[]", "images", "partial_images", "reference_image"),
        *("file", "files", "ref_images", "kwargs"),
        # What vLLM-Omni loads from a disk, and what SGLang has beside ``size`` and ``n``.
        *("lora", "width", "height", "num_outputs_per_prompt", "num_images_per_prompt"),
    }
)
_SEEDS = range(-(2**63), 2**63)
# What OpenAI names as well, so that it stands outside of what is wrapped.
_PLAIN = frozenset({"model", "prompt", "n", "size", "response_format", "user"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer with status 200 says.

    Attributes:
        files: Of the pictures, those that came with the answer.
        urls: Of the others; absolute, or relative to the engine's address.
        seed: Of the first picture, or None if it does not say.
    """

    files: tuple[bytes, ...] = field(repr=False)
    urls: tuple[str, ...]
    seed: int | None = None


def size_asked(request: Request, output: model_service_pb2.ImageOutput) -> tuple[int, int] | None:
    """Return the (width, height) to ask for, None where the engine chooses."""
    if request.HasField("size"):
        return limits.effective_size(request.size.width, request.size.height, output.size)
    if output.size.HasField("default_size"):
        return output.size.default_size.width, output.size.default_size.height
    return None


def members(request: Request, table: ModelTable, dialect: Dialect, size: tuple[int, int] | None) -> dict[str, object]:
    """Return what a request says beside its pictures.

    Raises:
        InvalidRequestError: `provider_options` is not as documented.
    """
    found: dict[str, object] = {"model": table.served, "prompt": request.prompt, "n": request.n or 1}
    if size is not None:
        found["size"] = f"{size[0]}{dialect.times}{size[1]}"
    if dialect.asks_for_bytes:
        found["response_format"] = "b64_json"
    if dialect.names_format and request.format:
        found["output_format"] = mime_type_of(request.format).removeprefix("image/")
    if request.HasField("seed"):
        found["seed"] = request.seed
    negative = request.negative_prompt.strip()
    if negative and dialect.negative == "member":
        found["negative_prompt"] = request.negative_prompt
    if dialect.negative == "bar":
        # A bar of the caller's own would have the rest taken for what should not be there.
        parts = [request.prompt, request.negative_prompt] if negative else [request.prompt]
        found["prompt"] = "|".join(part.replace("|", " ") for part in parts)
    found |= table.options | options_of(request.provider_options, OWN_MEMBERS, "provider_options")
    return wrapped(found, _PLAIN) if dialect.wraps else found


def encoded_form(
    fields: Mapping[str, object], images: Sequence[Blob], mask: Blob | None, dialect: Dialect
) -> tuple[bytes, str]:
    """Return a multipart body and its content type (RFC 7578): first the texts, then the pictures, then the mask."""
    pictures = [(dialect.images_part if len(images) > 1 else dialect.image_part, image) for image in images]
    if mask is not None:
        pictures.append((dialect.mask_part, mask))
    return forms.encoded_form(fields, [_file(number, part, image) for number, (part, image) in enumerate(pictures, 1)])


def decoded(body: bytes) -> Answer:
    """Return what an answer says.

    Raises:
        ValueError: It makes no sense.
    """
    answer = msgspec.json.decode(body, type=_Answer)
    files: list[bytes] = []
    urls: list[str] = []
    for one in answer.data or ():
        if one.b64_json:
            files.append(_unpacked(one.b64_json))
        elif one.url and one.url.startswith("data:"):
            files.append(_unpacked(one.url))
        elif one.url:
            urls.append(one.url)
    return Answer(tuple(files), tuple(urls), _seed(answer.seed))


def _file(number: int, part: str, image: Blob) -> forms.FormFile:
    return forms.FormFile(part, f"{number}.{image.mime_type.removeprefix('image/')}", image.mime_type, image.data)


class _Picture(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(msgspec.Struct):
    data: list[_Picture] | None = None
    seed: object = None


def _seed(seed: object) -> int | None:
    # Whatever is no seed of ours would be none to the caller either.
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and seed in _SEEDS else None


def _unpacked(text: str) -> bytes:
    """Return the bytes of Base64, which some engines write as a data URI."""
    packed = text.partition(",")[2] if text.startswith("data:") else text
    if "\n" in packed:
        # Some write it in lines, as mail has it.
        packed = "".join(packed.split())
    try:
        return base64.b64decode(packed, validate=True)
    except binascii.Error as error:
        message = "no Base64"
        raise ValueError(message) from error
