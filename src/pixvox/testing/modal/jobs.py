"""An emulator of the earlier speech app on Modal: jobs that are submitted, asked after, fetched and perhaps cancelled."""

from __future__ import annotations

import asyncio
import io
import secrets
import time
import wave
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web  # a server, not upstream traffic

RATE = 24_000
_MOST_BODY_BYTES = 16 * 1024 * 1024
_SAMPLES_OF_A_CHARACTER = 1_200


@dataclass(slots=True)
class Job:
    """A job.

    Attributes:
        fields: Of its submission.
        done_at: By `time.monotonic`.
        cancelled: Whether it was.
        failed: Whether it came to nothing.
    """

    fields: dict[str, object] = field(repr=False)
    done_at: float
    cancelled: bool = False
    failed: bool = False


class JobApp:
    """The app with its endpoints on one port; used as ``async with JobApp() as app``.

    Args:
        seconds: That a job takes.

    Attributes:
        jobs: By their ids.
        failing: Whether jobs fail that are submitted from now on.
        forgetful: Whether the connection of the next submission ends without an answer, after the job was begun.
    """

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.jobs: dict[str, Job] = {}
        self.failing = False
        self.forgetful = False
        self._seconds = seconds
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port of this machine."""
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        app.router.add_post("/submit-job", self._submit)
        app.router.add_get("/job-status", self._status)
        app.router.add_get("/job-result", self._result)
        app.router.add_post("/cancel-job", self._cancel)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def urls(self) -> dict[str, str]:
        """The addresses of the endpoints by their names in the environment."""
        names = {"SUBMIT": "submit-job", "STATUS": "job-status", "RESULT": "job-result", "CANCEL": "cancel-job"}
        return {f"MODAL_JOB_{name}": f"http://127.0.0.1:{self._port}/{path}" for name, path in names.items()}

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        fields = await request.json()
        if not all(fields.get(name) for name in ("text", "ref_audio_base64", "ref_text")):
            return web.json_response({"detail": "text, ref_audio_base64 and ref_text are required"}, status=400)
        job_id = f"fc-{secrets.token_hex(8)}"
        self.jobs[job_id] = Job(fields, time.monotonic() + self._seconds, failed=self.failing)
        if self.forgetful and request.transport is not None:
            self.forgetful = False
            request.transport.abort()
        return web.json_response({"job_id": job_id, "status": "submitted", "text_length": len(fields["text"])})

    async def _status(self, request: web.Request) -> web.StreamResponse:
        job_id = request.query["job_id"]
        job = self.jobs.get(job_id)
        if job is None or job.failed or job.cancelled:
            return web.json_response({"job_id": job_id, "status": "failed", "result_ready": False, "error": "gone"})
        done = time.monotonic() >= job.done_at
        return web.json_response({"job_id": job_id, "status": "completed" if done else "running", "result_ready": done})

    async def _result(self, request: web.Request) -> web.StreamResponse:
        job = self.jobs.get(request.query["job_id"])
        if job is None or job.failed or job.cancelled:
            return web.json_response({"detail": "failed or expired"}, status=500)
        if time.monotonic() < job.done_at:
            return web.json_response({"status": "running"}, status=202)
        file = await asyncio.to_thread(_wav, said(str(job.fields["text"])))
        return web.Response(body=file, content_type="audio/wav")

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job_id = (await request.json())["job_id"]
        if job_id not in self.jobs:
            return web.json_response({"detail": "no such job"}, status=500)
        self.jobs[job_id].cancelled = True
        return web.json_response({"job_id": job_id, "status": "cancelled"})


def said(text: str) -> bytes:
    """Return the samples, 16-bit little-endian mono at 24 kHz, that a text is spoken with: a level for each character."""
    return b"".join((1 + ord(one) % 8_000).to_bytes(2, "little") * _SAMPLES_OF_A_CHARACTER for one in text)


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(samples)
    return file.getvalue()
