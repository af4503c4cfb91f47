"""An emulator of the earlier speech apps on Modal: jobs, the cloning of a short text by one call, and the design of voices."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.modal.edge import CALL_ID
from pixvox.testing.modal.speech import said, wav

_MOST_BODY_BYTES = 16 * 1024 * 1024
_MOST_DESIGN_CHARACTERS = 500


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
        redirects: How often a clone or a design redirects before its audio comes.

    Attributes:
        jobs: By their ids.
        clones: The fields of texts that were spoken by one call.
        designs: The fields of designs.
        slow_seconds: That a clone or a design takes.
        failing: Whether jobs fail that are submitted from now on.
        forgetful: Whether the connection of the next submission ends without an answer, after the job was begun.
        slow_submissions: How often each submission redirects before it is answered, as while a container starts.
        late_seconds: For how long a result is not there although its job is said to be completed.
        results: How often results were asked for.
    """

    def __init__(self, *, seconds: float = 0.0, redirects: int = 0) -> None:
        self.jobs: dict[str, Job] = {}
        self.clones: list[dict[str, object]] = []
        self.designs: list[dict[str, object]] = []
        self.slow_seconds = 0.0
        self._redirects = redirects
        self._redirected: dict[str, tuple[int, str]] = {}
        self.failing = False
        self.forgetful = False
        self.slow_submissions = 0
        self.late_seconds = 0.0
        self.results = 0
        self._submitting: dict[str, int] = {}
        self._seconds = seconds
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port of this machine."""
        app = web.Application(client_max_size=_MOST_BODY_BYTES)
        app.router.add_route("*", "/submit-job", self._submit)
        app.router.add_get("/job-status", self._status)
        app.router.add_get("/job-result", self._result)
        app.router.add_post("/cancel-job", self._cancel)
        app.router.add_route("*", "/clone", self._cloned)
        app.router.add_route("*", "/design", self._designed)
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
        return {f"MODAL_JOB_{name}": self.url(path) for name, path in names.items()}

    def url(self, path: str) -> str:
        """Return the address of an endpoint, such as ``clone`` or ``design``."""
        return f"http://127.0.0.1:{self._port}/{path}"

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        if job_id := request.query.get(CALL_ID, ""):
            return self._submitted(request, job_id)
        fields = await request.json()
        if not all(fields.get(name) for name in ("text", "ref_audio_base64", "ref_text")):
            return web.json_response({"detail": "text, ref_audio_base64 and ref_text are required"}, status=400)
        job_id = f"fc-{secrets.token_hex(8)}"
        self.jobs[job_id] = Job(fields, time.monotonic() + self._seconds, failed=self.failing)
        if self.forgetful and request.transport is not None:
            self.forgetful = False
            request.transport.abort()
        self._submitting[job_id] = self.slow_submissions
        return self._submitted(request, job_id)

    def _submitted(self, request: web.Request, job_id: str) -> web.StreamResponse:
        # The call of the function that submits has the id of the job here.
        if self._submitting[job_id]:
            self._submitting[job_id] -= 1
            raise web.HTTPSeeOther(f"{request.path}?{CALL_ID}={job_id}")
        length = len(str(self.jobs[job_id].fields["text"]))
        return web.json_response({"job_id": job_id, "status": "submitted", "text_length": length})

    async def _status(self, request: web.Request) -> web.StreamResponse:
        job_id = request.query["job_id"]
        job = self.jobs.get(job_id)
        if job is None or job.failed or job.cancelled:
            return web.json_response({"job_id": job_id, "status": "failed", "result_ready": False, "error": "gone"})
        done = time.monotonic() >= job.done_at
        return web.json_response({"job_id": job_id, "status": "completed" if done else "running", "result_ready": done})

    async def _result(self, request: web.Request) -> web.StreamResponse:
        self.results += 1
        job = self.jobs.get(request.query["job_id"])
        if job is None or job.failed or job.cancelled:
            return web.json_response({"detail": "failed or expired"}, status=500)
        if time.monotonic() < job.done_at + self.late_seconds:
            return web.json_response({"status": "running"}, status=202)
        file = await asyncio.to_thread(wav, said(str(job.fields["text"])))
        return web.Response(body=file, content_type="audio/wav")

    async def _cloned(self, request: web.Request) -> web.StreamResponse:
        if CALL_ID in request.query:
            return await self._resumed(request)
        fields = await request.json()
        if not all(fields.get(name) for name in ("text", "ref_audio_base64", "ref_text")):
            return web.json_response({"detail": "text, ref_audio_base64 and ref_text are required"}, status=400)
        self.clones.append(fields)
        return await self._spoken(request, str(fields["text"]))

    async def _designed(self, request: web.Request) -> web.StreamResponse:
        if CALL_ID in request.query:
            return await self._resumed(request)
        fields = await request.json()
        if not all(1 <= len(fields.get(name, "")) <= _MOST_DESIGN_CHARACTERS for name in ("text", "instruct")):
            return web.json_response({"detail": "text and instruct have 1 to 500 characters"}, status=400)
        self.designs.append(fields)
        if self.failing:
            return web.json_response({"detail": "CUDA error"}, status=500)
        return await self._spoken(request, str(fields["text"]))

    async def _resumed(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            return web.Response(status=400, text="modal-http: bad redirect method")
        left, text = self._redirected.pop(request.query[CALL_ID])
        return await self._spoken(request, text, left)

    async def _spoken(self, request: web.Request, text: str, left: int | None = None) -> web.StreamResponse:
        left = self._redirects if left is None else left
        if left:
            call_id = request.query.get(CALL_ID) or f"fc-{secrets.token_hex(8)}"
            self._redirected[call_id] = (left - 1, text)
            raise web.HTTPSeeOther(f"{request.path}?{CALL_ID}={call_id}")
        await asyncio.sleep(self.slow_seconds)
        return web.Response(body=await asyncio.to_thread(wav, said(text)), content_type="audio/wav")

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        job_id = (await request.json())["job_id"]
        if job_id not in self.jobs:
            return web.json_response({"detail": "no such job"}, status=500)
        self.jobs[job_id].cancelled = True
        return web.json_response({"job_id": job_id, "status": "cancelled"})
