"""Is it alive, is it ready, what can it do, and how much does it do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import generate_latest

from pixvox_worker import sounds
from pixvox_worker.failures import Unavailable
from pixvox_worker.openapi import failures
from pixvox_worker.schemas import Health, Limits, ModelCard, ModelList, Models
from pixvox_worker.speech import SPEECH_KINDS, SpeechEngine
from pixvox_worker.tasks import PictureEngine

if TYPE_CHECKING:
    from pixvox_worker.app import Worker

router = APIRouter(tags=["probes"])
_PICTURES = ("PNG", "JPEG", "WebP")
_SOUNDS = ("WAV", "PCM", "FLAC", "MP3", "Opus")
_MEGABYTE = 1024 * 1024


@router.get("/livez", response_class=PlainTextResponse)
async def livez() -> PlainTextResponse:
    """200 while the event loop turns."""
    return PlainTextResponse("ok")


@router.get("/health", response_model=Health, responses={503: {"model": Health, "description": "Not ready."}})
async def health(request: Request) -> JSONResponse:
    """200 once requests are taken, 503 before and after."""
    worker: Worker = request.app.state.worker
    inference = worker.inference
    described = worker.engine.describe()
    content = Health(
        status=inference.status,
        model_loaded=inference.status in ("ready", "stopping"),
        model=worker.settings.model_id,
        message=inference.reason,
        device=str(described["device"]),
        engine=str(described["engine"]),
        queue_depth=inference.depth,
        running=inference.running,
        max_concurrent_requests=worker.settings.max_concurrent_requests,
    )
    return JSONResponse(content.model_dump(), 200 if inference.status == "ready" else 503)


@router.get("/models", responses=failures(401, 503))
async def models(request: Request) -> Models:
    """What the loaded model does, and within which limits."""
    worker: Worker = request.app.state.worker
    if worker.inference.status != "ready":
        message = "The model is not loaded."
        raise Unavailable(message, retry_after=5)
    capabilities = worker.engine.capabilities()
    speaks = isinstance(worker.engine, SpeechEngine) and any(kind in SPEECH_KINDS for kind in capabilities)
    paints = any(kind not in SPEECH_KINDS for kind in capabilities)
    return Models(
        available_models=[worker.settings.model_id],
        capabilities=list(capabilities),
        supported_formats=[*(_PICTURES if paints else ()), *(_SOUNDS if speaks else ())],
        languages=list(worker.engine.languages()) if isinstance(worker.engine, SpeechEngine) and speaks else [],
        voices=list(worker.engine.speakers()) if isinstance(worker.engine, SpeechEngine) and speaks else [],
        limits=_limits(worker, paints=paints, speaks=speaks),
    )


def _limits(worker: Worker, *, paints: bool, speaks: bool) -> Limits:
    settings, engine = worker.settings, worker.engine
    limits: dict[str, object] = {"max_upload_bytes": settings.max_upload_mb * _MEGABYTE}
    if paints and isinstance(engine, PictureEngine):
        limits |= {
            "max_pixels": settings.max_pixels,
            "max_input_pixels": settings.max_input_pixels,
            "min_steps": engine.min_steps(),
            "max_steps": settings.max_steps,
            "default_steps": settings.default_steps or engine.traits().steps,
            "default_guidance": settings.default_guidance or engine.traits().guidance,
            "max_images": settings.max_images,
            "max_input_images": engine.max_input_images(),
            "size_multiple": engine.size_multiple(),
        }
    if speaks:
        limits |= {
            "max_input_characters": settings.max_input_characters,
            "max_new_tokens": settings.max_new_tokens,
            "max_recording_bytes": settings.max_recording_mb * _MEGABYTE,
            "sample_rates": list(sounds.SAMPLE_RATES),
        }
    return Limits.model_validate(limits)


@router.get("/v1/models", responses=failures(401))
async def model_list(request: Request) -> ModelList:
    """The one model, in OpenAI's list."""
    worker: Worker = request.app.state.worker
    return ModelList(data=[ModelCard(id=worker.settings.model_id, created=worker.begun)])


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """In the text format of Prometheus."""
    worker: Worker = request.app.state.worker
    worker.metrics.memory.set(worker.engine.memory_bytes())
    return Response(generate_latest(worker.metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8")
