"""Pictures made at once: generation and editing, and what an answer with pictures looks like.

Source: dashscope reference 2.2, 2.5 and 3.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pixvox.testing.dashscope import image_requests, pictures
from pixvox.testing.dashscope.envelope import Answer, RefusedError, succeeded
from pixvox.testing.dashscope.faults import FewerImages, NoResult, PlacedAt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.testing.dashscope.faults import Effects
    from pixvox.testing.dashscope.image_requests import ImageRequest
    from pixvox.testing.dashscope.vendor import Call, Vendor


async def made(call: Call) -> Answer:
    """Return the answer to a request for new or edited pictures."""
    if call.headers.get("X-DashScope-Async", "").lower() == "enable":
        raise RefusedError(403, "AccessDenied", "The API does not support asynchronous calls.")
    request = await image_requests.of_messages(call, asynchronous=False)
    urls = links(call.vendor, request, call.effects)
    output: dict[str, object] = {"choices": choices(request, urls)}
    if request.model.task_metric:
        output["task_metric"] = {"TOTAL": request.count, "SUCCEEDED": len(urls), "FAILED": request.count - len(urls)}
    return succeeded(call.request_id, output=output, usage=usage(request, len(urls)))


def links(vendor: Vendor, request: ImageRequest, effects: Effects) -> list[str]:
    """Return the URLs of the pictures of a request."""
    count = request.count
    fewer = effects.one(FewerImages)
    if fewer is not None:
        count = max(0, count - fewer.by)
    if effects.one(NoResult) is not None:
        count = 0
    placed = effects.one(PlacedAt)
    base = placed.base if placed is not None else None
    seconds = vendor.behaviour.result_seconds
    return [
        vendor.files.put(functools.partial(_drawn, request, index), ".png", "image/png", seconds, base).url
        for index in range(count)
    ]


def choices(request: ImageRequest, urls: Sequence[str]) -> list[dict[str, object]]:
    """Return ``output.choices``: one choice with all pictures, as the editing sample has it.

    Whether the 2.0 and wan2.6 models give a choice for each picture instead is not known. [guess]
    """
    kind = {"type": "image"} if request.model.typed_parts else {}
    content = [{**kind, "image": url} for url in urls]
    return [{"finish_reason": "stop", "message": {"role": "assistant", "content": content}}]


def usage(request: ImageRequest, count: int) -> dict[str, object]:
    """Return ``usage``; that of wan2.6 is documented for tasks only and taken for its sync calls too. [guess]"""
    width, height = request.size
    if request.model.typed_parts:
        tokens = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        return {"image_count": count, "size": f"{width}*{height}", **tokens}
    return {"image_count": count, "width": width, "height": height}


def _drawn(request: ImageRequest, index: int) -> bytes:
    painting = request.painting(index)
    return pictures.edited(request.inputs, painting) if request.inputs else pictures.painted(painting)
