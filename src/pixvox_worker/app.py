"""The application: one model, one thread for it, and the routes in front."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from pixvox_worker import __version__, engines, telemetry
from pixvox_worker.access import Access
from pixvox_worker.failures import BadRequest, Failure
from pixvox_worker.inference import Inference
from pixvox_worker.jobs import JobTable
from pixvox_worker.metrics import Metrics
from pixvox_worker.openapi import document
from pixvox_worker.requests import TaskReader
from pixvox_worker.routes import images, jobs, probes, process, speech, voices
from pixvox_worker.speech_requests import SpeechReader
from pixvox_worker.uploads import Uploads
from pixvox_worker.voices import VoiceShelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Engine

_DECODED_AT_A_TIME = 2


@dataclass(slots=True)
class Worker:
    """What the routes work with."""

    settings: Settings
    engine: Engine
    metrics: Metrics
    inference: Inference
    jobs: JobTable
    reader: TaskReader
    speech: SpeechReader
    voices: VoiceShelf
    uploads: Uploads
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_DECODED_AT_A_TIME))
    """Held while the pictures of a request are decoded: a megabyte may become a gigabyte."""
    begun: int = field(default_factory=lambda: int(time.time()))


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """The ASGI application; the model is loaded in the background when it starts.

    `engine` is given by tests that need their hands on it.
    """
    chosen = engines.choose(settings) if engine is None else engine
    metrics = Metrics()
    app = FastAPI(
        title="pixvox worker",
        version=__version__,
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    shelf = VoiceShelf(settings)
    uploads = Uploads(max(settings.max_upload_mb, settings.max_uploads_mb) * 1024 * 1024)
    app.state.worker = Worker(
        settings=settings,
        engine=chosen,
        metrics=metrics,
        inference=Inference(chosen, settings, metrics),
        jobs=JobTable(ttl=settings.job_ttl, most=settings.max_kept_jobs),
        reader=TaskReader(settings, chosen),
        speech=SpeechReader(settings, chosen, shelf),
        voices=shelf,
        uploads=uploads,
    )
    for module in (probes, process, jobs, images, speech, voices):
        app.include_router(module.router)
    app.add_exception_handler(Failure, _failed)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(ValidationError, _misread)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broke)
    app.state.spans = telemetry.start(settings)
    app.add_middleware(Access, settings=settings, metrics=metrics, uploads=uploads, spans=app.state.spans)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    inference: Inference = app.state.worker.inference
    serving = asyncio.create_task(inference.serve())
    try:
        yield
    finally:
        await inference.stop()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        if app.state.spans is not None:
            await asyncio.to_thread(app.state.spans.close)


async def _failed(request: Request, failure: Exception) -> JSONResponse:
    del request
    assert isinstance(failure, Failure)  # noqa: S101 - registered for this class
    headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    content = {"error": failure.body(), "success": False, "message": failure.message}
    return JSONResponse(content, failure.status, headers)


async def _misread(request: Request, error: Exception) -> JSONResponse:
    """Say which field was wrong, and nothing of what was in it."""
    assert isinstance(error, RequestValidationError | ValidationError)  # noqa: S101 - registered for these
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    name = ".".join(place) or None
    return await _failed(request, BadRequest(f"{name or 'The body'}: {first['msg']}.", param=name))


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: an unknown path, a method that a route has not, a form that cannot be read."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    del request
    kinds = {400: "invalid_request_error", 404: "not_found_error", 405: "method_not_allowed"}
    body = {
        "message": str(error.detail),
        "type": kinds.get(error.status_code, "http_error"),
        "param": None,
        "code": error.status_code,
    }
    content = {"error": body, "success": False, "message": body["message"]}
    return JSONResponse(content, error.status_code, error.headers)


async def _broke(request: Request, error: Exception) -> JSONResponse:
    """The trace is in the log; the caller gets none of it."""
    del error
    return await _failed(request, Failure("The worker failed on this request."))
