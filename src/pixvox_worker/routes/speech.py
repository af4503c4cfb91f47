"""OpenAI's route for speech, with the names that vLLM-Omni adds: whole, as raw sound, or as server-sent events."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request, Response

from pixvox_worker import sounds
from pixvox_worker.failures import BadRequest, Failure
from pixvox_worker.jobs import SpeechJob
from pixvox_worker.openapi import also_any, body, failures
from pixvox_worker.routes import waiting
from pixvox_worker.routes.reading import json_object
from pixvox_worker.routes.streaming import Stream
from pixvox_worker.schemas import ErrorBody
from pixvox_worker.speech_schemas import SpeechDelta, SpeechDone, SpeechError, SpeechRequest, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pixvox_worker.app import Worker

router = APIRouter(tags=["speech"])
_QUIET_SECONDS = 10.0
_Shape = Literal["whole", "raw", "events"]


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    openapi_extra=body(SpeechRequest),
    responses={
        **also_any(
            (*dict.fromkeys(sounds.MIME_TYPES.values()), "text/event-stream"), "The speech; events with `stream`."
        ),
        **failures(400, 401, 404, 413, 415, 429, 500, 503, 504),
    },
)
async def speak(request: Request) -> Response:
    """A text as speech. Events are `speech.audio.delta`, `speech.audio.done` and `speech.audio.error`."""
    worker: Worker = request.app.state.worker
    parsed = SpeechRequest.model_validate(json_object(await request.body()))
    waiting.ready(worker)
    shape = _shape(parsed)
    deadline = worker.reader.deadline(request, parsed.timeout)
    # A recording takes tens of milliseconds to decode: not in the event loop.
    task = await asyncio.to_thread(worker.speech.read, parsed, streamed=shape != "whole")
    job = SpeechJob(task, deadline)
    waiting.admit(worker, job)
    headers = _headers(job, parsed)
    if shape == "events":
        return Stream(worker, job, _events(worker, job, parsed), "text/event-stream", headers)
    if shape == "raw":
        return Stream(worker, job, _raw(job, parsed), sounds.MIME_TYPES[parsed.response_format], headers)
    await waiting.result(request, worker, job)
    return await _whole(job, parsed, headers)


def _shape(parsed: SpeechRequest) -> _Shape:
    """`stream` alone means events, as vLLM-Omni has it from 0.24 on; `stream_format` alone means what it says."""
    if parsed.stream_format != "sse" and not parsed.stream:
        return "whole"
    if parsed.response_format not in sounds.STREAMED_FORMATS:
        message = f"A stream has one of {', '.join(sounds.STREAMED_FORMATS)}."
        raise BadRequest(message, param="response_format")
    return "raw" if parsed.stream_format == "audio" else "events"


def _headers(job: SpeechJob, parsed: SpeechRequest) -> dict[str, str]:
    return {"X-Job-Id": job.job_id, "X-Sample-Rate": str(parsed.sample_rate), "X-Seed": str(job.task.seed)}


async def _whole(job: SpeechJob, parsed: SpeechRequest, headers: dict[str, str]) -> Response:
    pcm = job.sound.rest()
    data = await asyncio.to_thread(sounds.encode, pcm, parsed.response_format, parsed.sample_rate)
    usage = _usage(job)
    counted = {"X-Input-Tokens": str(usage.input_tokens), "X-Output-Tokens": str(usage.output_tokens)}
    return Response(data, media_type=sounds.MIME_TYPES[parsed.response_format], headers={**headers, **counted})


async def _raw(job: SpeechJob, parsed: SpeechRequest) -> AsyncGenerator[bytes]:
    """The samples as they are made, behind the head of a WAV where that was asked for."""
    converter = sounds.Converter(parsed.sample_rate)
    head = sounds.wav_head(parsed.sample_rate) if parsed.response_format == "wav" else b""
    while (pcm := await job.sound.take()) is not None:
        yield head + converter.piece(pcm)
        head = b""
    yield head + converter.rest()


async def _events(worker: Worker, job: SpeechJob, parsed: SpeechRequest) -> AsyncGenerator[bytes]:
    """The samples as events. What fails before the first event is no event, but the status of the answer."""
    converter = sounds.Converter(parsed.sample_rate)
    begun = False
    while True:
        try:
            pcm = await asyncio.wait_for(job.sound.take(), _QUIET_SECONDS)
        except TimeoutError:
            begun = True
            # A line that clients skip: whatever is in between sees that the connection lives.
            yield f": {job.state} {worker.inference.position(job) or 0}\n\n".encode()
        except Failure as failure:
            if not begun:
                raise
            yield _event(SpeechError(error=ErrorBody.model_validate(failure.body()), partial_audio=job.heard))
            return
        else:
            samples = converter.rest() if pcm is None else converter.piece(pcm)
            begun = True
            if samples:
                yield _event(SpeechDelta(audio=base64.b64encode(samples).decode(), sample_rate=parsed.sample_rate))
            if pcm is None:
                yield _event(SpeechDone(usage=_usage(job), seed=job.task.seed))
                return


def _event(content: SpeechDelta | SpeechDone | SpeechError) -> bytes:
    return f"event: {content.type}\ndata: {content.model_dump_json()}\n\n".encode()


def _usage(job: SpeechJob) -> Usage:
    spoken = job.spoken
    read, made = (0, 0) if spoken is None else (spoken.input_tokens, spoken.frames)
    return Usage(input_tokens=read, output_tokens=made, total_tokens=read + made)
