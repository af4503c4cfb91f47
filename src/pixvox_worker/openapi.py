"""The OpenAPI document of the routes, with the bodies and failures that the framework does not see by itself."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from pixvox_worker import deadlines
from pixvox_worker.schemas import ErrorAnswer, ImageRequest, ProcessRequest
from pixvox_worker.speech_schemas import SpeechDelta, SpeechDone, SpeechError, SpeechRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI

_REFERENCES = "#/components/schemas/{model}"


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document; equal code gives equal documents."""
    content = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = content.setdefault("components", {}).setdefault("schemas", {})
    for model in (ErrorAnswer, ImageRequest, ProcessRequest, SpeechRequest, SpeechDelta, SpeechDone, SpeechError):
        schema = model.model_json_schema(ref_template=_REFERENCES)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in content["paths"].values():
        for operation in operations.values():
            # A request that cannot be read is a 400 here.
            operation["responses"].pop("422", None)
    return content


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the `responses` of a route: these statuses have the body of every failure."""
    return {status: {"model": ErrorAnswer, "description": _SENTENCES[status]} for status in statuses}


def body(model: type, *, files: str | None = None, several: bool = False, json_body: bool = True) -> dict[str, Any]:
    """For the `openapi_extra` of a route that reads its body itself, as JSON or as a form with the file part `files`."""
    content: dict[str, Any] = {}
    reference = {"$ref": _REFERENCES.format(model=model.__name__)}
    if json_body:
        content["application/json"] = {"schema": reference}
    if files is not None:
        content["multipart/form-data"] = {"schema": _form(files, several=several)}
    return {"parameters": [deadlines.parameter()], "requestBody": {"required": True, "content": content}}


def also(media_type: str, sentence: str) -> dict[int | str, dict[str, Any]]:
    """For the `responses` of a route: a success may have this media type instead of JSON."""
    return also_any((media_type,), sentence)


def also_any(media_types: Sequence[str], sentence: str) -> dict[int | str, dict[str, Any]]:
    """As `also`, for several media types."""
    return {200: {"description": sentence, "content": {kind: {"schema": _body_of(kind)} for kind in media_types}}}


def voice_form() -> dict[str, Any]:
    """For the `openapi_extra` of the route that takes a recording of a voice."""
    texts = {"type": "string", "minLength": 1}
    properties = {
        "audio_sample": {"type": "string", "format": "binary"},
        "consent": texts,
        "name": {**texts, "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"},
        "ref_text": {"type": "string"},
        "speaker_description": {"type": "string"},
    }
    form = {"type": "object", "required": ["audio_sample", "consent", "name"], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def _body_of(media_type: str) -> dict[str, Any]:
    if media_type == "text/event-stream":
        # Of one event: `data` is JSON, whose `type` is the name of the event.
        return {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
    return {"type": "string", "format": "binary"}


def _form(files: str, *, several: bool) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    fields = {name: {"type": "string"} for name in ("model", "options")} if not several else {}
    return {
        "type": "object",
        "required": ["prompt", files],
        "properties": {
            "prompt": {"type": "string", "minLength": 1},
            files: {"type": "array", "items": file, "minItems": 1} if several else file,
            **fields,
        },
    }


_SENTENCES = {
    400: "A value that no retry makes right.",
    401: "No known key.",
    404: "No such model or job.",
    409: "The job was cancelled and has no result.",
    410: "The result was kept for its time and is gone.",
    413: "Too many bytes or pixels.",
    415: "Not a picture that can be read.",
    429: "The worker is full; Retry-After says when to come again.",
    499: "The job was cancelled while somebody waited for it.",
    500: "The model failed.",
    503: "No model to run it, or no memory.",
    504: "The time for the request is over.",
}


def text(app: FastAPI) -> str:
    """The document as it is checked in."""
    return json.dumps(app.openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Print the document: `python -m pixvox_worker.openapi`."""
    from pixvox_worker.app import create_app  # noqa: PLC0415 - it imports this module
    from pixvox_worker.settings import EngineKind, Settings  # noqa: PLC0415 - as above

    sys.stdout.write(text(create_app(Settings(engine=EngineKind.FAKE))))


if __name__ == "__main__":
    main()
