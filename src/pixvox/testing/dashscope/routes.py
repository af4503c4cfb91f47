"""Which operation a request asks for, by its path, headers and body.

Source: dashscope reference 2.2, 2.4 to 2.6, 4a, 4b and 5. Not emulated: uploads (1.5), CosyVoice (4c), image2image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.testing.dashscope import files, image_requests, models, voices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.testing.dashscope.faults import Operation
    from pixvox.testing.dashscope.fields import JsonObject

HTTP_PATH = "/api/v1"
WEBSOCKET_PATH = "/api-ws/v1"

_SERVICES = f"{HTTP_PATH}/services"
_TASKS = f"{HTTP_PATH}/tasks"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request leads.

    Attributes:
        operation: What it asks for.
        tail: What the path says beyond it: a task's id, a file's name, or the service that makes tasks.
        needs_body: Whether there must be a JSON object.
        needs_key: Whether there must be an API key.
    """

    operation: Operation
    tail: str = ""
    needs_body: bool = True
    needs_key: bool = True


def find(method: str, path: str, headers: Mapping[str, str], body: JsonObject) -> Route | None:
    """Return where a request leads, or None if there is nothing."""
    if method == "POST":
        return _of_post(path, headers, body)
    return _of_get(path) if method == "GET" else None


def _of_post(path: str, headers: Mapping[str, str], body: JsonObject) -> Route | None:
    if path == f"{_SERVICES}/aigc/multimodal-generation/generation":
        return Route(_multimodal(headers, body))
    if path == f"{_SERVICES}/aigc/text2image/image-synthesis":
        return Route("task_create", "text2image")
    if path == f"{_SERVICES}/aigc/image-generation/generation":
        return Route("task_create", "image-generation")
    if path == f"{_SERVICES}/audio/tts/customization":
        return Route(_CUSTOMIZATION[voices.action_of(body)])
    match = re.fullmatch(rf"{_TASKS}/([^/]+)/cancel", path)
    return Route("task_cancel", match[1], needs_body=False) if match else None


def _of_get(path: str) -> Route | None:
    if path == f"{WEBSOCKET_PATH}/realtime":
        return Route("realtime", needs_body=False)
    if path == _TASKS:
        return Route("task_list", needs_body=False)
    if path.startswith(files.PATH):
        return Route("download", path.removeprefix(files.PATH), needs_body=False, needs_key=False)
    match = re.fullmatch(rf"{_TASKS}/([^/]+)", path)
    return Route("task_get", match[1], needs_body=False) if match else None


def _multimodal(headers: Mapping[str, str], body: JsonObject) -> Operation:
    name, given = body.get("model"), body.get("input")
    speaks = isinstance(name, str) and models.speech_model(name) is not None
    if speaks or (isinstance(given, dict) and "text" in given):
        return "speech_sse" if headers.get("X-DashScope-SSE", "").lower() == "enable" else "speech_http"
    return "edit" if image_requests.has_images(body) else "generate"


_CUSTOMIZATION: dict[str, Operation] = {
    "create": "voice_create",
    "list": "voice_list",
    "query": "voice_query",
    "delete": "voice_delete",
}
