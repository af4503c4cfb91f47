"""Whole answers of the emulated worker, in the shapes of `docs/worker-openapi.json`."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.dashscope.sound import wav_of
from pixvox.testing.worker.paintings import Order
from pixvox.testing.worker.sounds import RATE, SPEAKERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pixvox.testing.worker.faults import Page

# What the emulator serves unless it is told otherwise, with what each can do.
CAPABILITIES = {
    "Qwen-Image": "text-to-image",
    "Qwen-Image-Edit": "image-editing",
    "Qwen3-TTS-12Hz-1.7B-CustomVoice": "custom-voice",
    "Qwen3-TTS-12Hz-1.7B-VoiceDesign": "voice-design",
    "Qwen3-TTS-12Hz-1.7B-Base": "voice-clone",
}


def numbered(headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return headers with the number that the worker gives every answer."""
    return {"X-Request-Id": uuid.uuid4().hex, **(headers or {})}


def error_body(status: int, type: str, param: str | None = None) -> dict[str, object]:  # noqa: A002 - the wire's word
    """Return what stands under ``error`` in every failure."""
    return {"message": "Ordered from the emulator.", "type": type, "param": param, "code": status}


def failure(
    status: int,
    type: str,  # noqa: A002 - the wire's word
    param: str | None = None,
    retry_after: int | None = None,
) -> web.Response:
    """Return the answer of a failure."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    error = error_body(status, type, param)
    content = {"error": error, "success": False, "message": error["message"]}
    return web.json_response(content, status=status, headers=numbered(headers))


def page(effect: Page) -> web.Response:
    """Return the answer of something else in the worker's place."""
    return web.Response(status=effect.status, body=effect.body, content_type=effect.content_type)


def document(
    kind: str,
    order: Order | Mapping[str, object],
    files: Sequence[bytes],
    *,
    broken: bool,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a whole answer with what was made.

    Args:
        kind: ``images``, ``process`` or ``speech``.
        order: That was followed.
        files: Pictures, or the samples of a text.
        broken: Whether the JSON breaks off.
        headers: Beside the number.
    """
    if broken:
        return web.Response(body=b'{"data": [', content_type="application/json", headers=numbered(headers))
    if not isinstance(order, Order):
        return _sound(order, files[0], headers)
    packed = [base64.b64encode(file).decode() for file in files]
    content = _images(order, packed) if kind == "images" else _processed(order, packed[0])
    return web.json_response(content, headers=numbered(headers))


def described(
    path: str, status: str, models: Mapping[str, str], counts: Mapping[str, int], max_concurrent: int
) -> web.Response:
    """Return the answer of a route that costs nothing.

    Args:
        path: Of the request.
        status: Of the worker.
        models: That it serves, and their capabilities.
        counts: ``queue_depth`` and ``running``.
        max_concurrent: Requests at a time.
    """
    first = next(iter(models))
    if path == "/health":
        content = {
            "status": status,
            "model_loaded": status in {"ready", "stopping"},
            "model": first,
            "message": None,
            "device": "cpu",
            "engine": "emulator",
            **counts,
            "max_concurrent_requests": max_concurrent,
        }
        return web.json_response(content, status=200 if status == "ready" else 503, headers=numbered())
    if path == "/livez":
        return web.Response(text="ok", headers=numbered())
    if path == "/v1/models":
        cards = [{"id": name, "object": "model", "created": 0, "owned_by": "pixvox"} for name in models]
        return web.json_response({"object": "list", "data": cards}, headers=numbered())
    if path == "/models":
        able = {"available_models": list(models), "capabilities": sorted(set(models.values()))}
        return web.json_response({**able, "supported_formats": ["PNG", "JPEG", "WebP"]}, headers=numbered())
    if path == "/v1/audio/voices":
        return web.json_response({"voices": list(SPEAKERS), "uploaded_voices": []}, headers=numbered())
    return failure(404, "not_found_error")


def _sound(body: Mapping[str, object], pcm: bytes, headers: Mapping[str, str] | None) -> web.Response:
    rate = int(str(body.get("sample_rate", RATE)))
    bare = body.get("response_format") == "pcm"
    kind, data = ("audio/pcm", pcm) if bare else ("audio/wav", wav_of(pcm, rate))
    return web.Response(body=data, content_type=kind, headers=numbered(headers))


def _images(order: Order, packed: Sequence[str]) -> dict[str, object]:
    return {
        "created": 0,
        "data": [{"b64_json": one, "seed": order.seed + index} for index, one in enumerate(packed)],
        "output_format": order.format,
        "size": f"{order.size[0]}x{order.size[1]}",
        "seed": order.seed,
        "processing_time": 0.1,
    }


def _processed(order: Order, packed: str) -> dict[str, object]:
    return {
        "success": True,
        "processed_image": packed,
        "processed_image_base64": packed,
        "processing_time": 0.1,
        "model_used": "emulated",
        "message": "The picture is done.",
        "seed": order.seed,
    }
