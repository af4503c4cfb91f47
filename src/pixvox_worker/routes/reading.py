"""Reads a body that is JSON or a form, with pictures as parts, as base64 or as data: URLs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile

from pixvox_worker import pictures
from pixvox_worker.failures import BadRequest
from pixvox_worker.routes import waiting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from fastapi import Request
    from PIL.Image import Image
    from starlette.datastructures import FormData

    from pixvox_worker.app import Worker

_IMAGE_PARTS = ("image", "image[]", "images", "file")
_IMAGE_FIELDS = ("image", "image_base64", "images")
_FORM = "multipart/form-data"
_CHARSETS = (b"utf-8", b"us-ascii")


async def fields_and_pictures(request: Request, worker: Worker) -> tuple[dict[str, Any], tuple[Image, ...]]:
    """The fields of the body without its pictures, and the pictures.

    Raises:
        Failure: the body or a picture cannot be read, or there is no room for the request.
    """
    settings = worker.settings
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        fields, files = await _read_form(request, settings.max_upload_mb * 1024 * 1024)
    elif kind in ("application/json", ""):
        # Megabytes of base64: not in the event loop.
        fields, files = await asyncio.to_thread(_read_json, await request.body())
    else:
        message = "The body is JSON or multipart/form-data."
        raise BadRequest(message)
    if "mask" in fields or "mask_image" in fields:
        message = "The loaded model takes no mask."
        raise BadRequest(message, param="mask")
    waiting.ready(worker)
    async with worker.decoding:
        worker.inference.check_room()
        worker.reader.check_pictures(len(files))
        # A megapixel takes tens of milliseconds to decode: not in the event loop.
        return fields, await asyncio.to_thread(_decode_all, files, settings.max_input_pixels)


def open_form(
    request: Request, *, max_files: int, max_fields: int, max_bytes: int
) -> AbstractAsyncContextManager[FormData]:
    """The form that the body is.

    Raises:
        BadRequest: it is none, or its texts are not UTF-8. Any codec of Python could be named, and some take the square
            of the length.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != _FORM.encode():
        message = f"The body is {_FORM}."
        raise BadRequest(message)
    if parameters.get(b"charset", _CHARSETS[0]).lower() not in _CHARSETS:
        message = "A form is in UTF-8."
        raise BadRequest(message)
    return request.form(max_files=max_files, max_fields=max_fields, max_part_size=max_bytes)


async def _read_form(request: Request, max_bytes: int) -> tuple[dict[str, Any], list[bytes]]:
    fields: dict[str, Any] = {}
    files: list[bytes] = []
    async with open_form(request, max_files=16, max_fields=64, max_bytes=max_bytes) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name in _IMAGE_PARTS:
                    files.append(await value.read())
                else:
                    fields[name] = ""
            elif name in _IMAGE_PARTS:
                files.append(pictures.from_text(value))
            elif value != "":
                fields[name] = _options(value) if name == "options" else value
    return fields, files


def json_object(body: bytes) -> dict[str, Any]:
    """The object that the body is.

    Raises:
        BadRequest: it is none.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        message = "The body is not JSON."
        raise BadRequest(message) from None
    if not isinstance(content, dict):
        message = "The body is a JSON object."
        raise BadRequest(message)
    return content


def _read_json(body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    content = json_object(body)
    if content.get("image_url"):
        message = "The worker fetches nothing: send the picture itself."
        raise BadRequest(message, param="image_url")
    texts = [text for name in _IMAGE_FIELDS for text in _texts(name, content.pop(name, None))]
    return content, [pictures.from_text(text) for text in texts]


def _texts(name: str, value: object) -> Sequence[str]:
    """A picture, a list of pictures, or OpenAI's list of objects with a URL."""
    if value is None:
        return []
    found = [item.get("image_url") if isinstance(item, dict) else item for item in _as_list(value)]
    if not all(isinstance(text, str) for text in found):
        message = "A picture is a text in base64."
        raise BadRequest(message, param=name)
    return [str(text) for text in found]


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _options(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        message = "options is a JSON object."
        raise BadRequest(message, param="options") from None


def _decode_all(files: list[bytes], max_pixels: int) -> tuple[Image, ...]:
    return tuple(pictures.decode(data, max_pixels=max_pixels) for data in files)
