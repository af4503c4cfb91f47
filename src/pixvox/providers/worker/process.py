"""Pictures by ``/process``, for a container that has no other route: one at a time, at once or as a job.

Source: the earlier container's sources, as the project's requirements have them, and `docs/worker-openapi.json`.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from pixvox import telemetry
from pixvox.errors import PixvoxError, ProviderInternalError
from pixvox.providers.worker import image_wire, refusals
from pixvox.providers.worker.fleet import CANCEL_SECONDS, call_off, deadline_headers, to_its_end
from pixvox.providers.worker.pictures import blob_of, result_of
from pixvox.upstream import Safety, polled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.provider import Blob, ImageResult
    from pixvox.providers.worker.fleet import Fleet
    from pixvox.providers.worker.image_wire import Request
    from pixvox.upstream import Origin, Reply
    from pixvox.upstream.pool import Pool
    from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2

_PATH = "/process"
_ACCEPTED = 202
_LONGEST_GROWTH = 5.0
_OVER = frozenset({"completed", "failed", "cancelled"})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})


class ProcessImages:
    """The verbs of `pixvox.provider.ImageGenerator` and `ImageEditor`.

    Args:
        fleet: The workers.
        jobs: Whether they are asked to work by jobs.
        poll_seconds: Before a job is asked after for the first time.
    """

    def __init__(self, fleet: Fleet, *, jobs: bool, poll_seconds: float) -> None:
        self._fleet = fleet
        self._jobs = jobs
        self._poll_seconds = poll_seconds

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make a picture; see `pixvox.provider.ImageGenerator`."""
        return await self._made(request, None, model, model.generate_image.output.formats[0])

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit one picture; no model takes a mask or several pictures, so that there are none."""
        return await self._made(request, images[0], model, model.edit_image.output.formats[0])

    async def _made(
        self,
        request: Request,
        image: Blob | None,
        model: model_service_pb2.Model,
        wanted: media_pb2.ImageFormat.ValueType,
    ) -> ImageResult:
        telemetry.took_lane("job" if self._jobs else "at_once")
        table = self._fleet.tables[model.id]
        # The earlier container has a negative prompt and a seed of its own where none is given.
        fields = {"model": table.name or model.id, "prompt": request.prompt, **image_wire.manner(request, table)}
        body = await asyncio.to_thread(_body, fields, image)
        call = _Call(self._fleet.workers(model.id), body, jobs=self._jobs, poll_seconds=self._poll_seconds)
        try:
            reply = await call.done()
            answer = await asyncio.to_thread(_answer, reply.body, call.request_id)
            blob = await blob_of(answer.file, wanted, answer.seed, call.request_id)
        except PixvoxError as error:
            error.metadata = {"provider_code": "", "provider_request_id": call.request_id} | error.metadata
            raise
        return result_of((blob,), request, None, call.request_id)


class _Call:
    """One request, which may become a job."""

    def __init__(self, pool: Pool, body: bytes, *, jobs: bool, poll_seconds: float) -> None:
        self.request_id = ""
        self._pool = pool
        self._body = body
        self._jobs = jobs
        self._poll_seconds = poll_seconds

    async def done(self) -> Reply:
        """Return the reply with the picture.

        When this is cancelled, a job is called off, which takes `CANCEL_SECONDS` at most.

        Raises:
            PixvoxError: The worker refused, failed, or lost the job.
        """
        submission = asyncio.create_task(self._submitted())
        try:
            # Cut off in the middle, a submission may have begun a job whose number nobody knows.
            reply, url = await (asyncio.shield(submission) if self._jobs else submission)
            return await self._followed(reply, self._pool.origin(url)) if reply.status == _ACCEPTED else reply
        except asyncio.CancelledError:
            await to_its_end(self._called_off(submission))
            raise

    async def _submitted(self) -> tuple[Reply, str]:
        headers = deadline_headers() | ({"prefer": "respond-async"} if self._jobs else {})
        reply, url = await self._pool.call(
            "POST", _PATH, body=self._body, headers=headers, safety=Safety.BILLABLE, operation="image processing"
        )
        self.request_id = refusals.request_id_in(reply.headers)
        if reply.status not in {200, _ACCEPTED}:
            raise refusals.error_of(refusals.complaint_of(reply))
        return reply, url

    async def _followed(self, begun: Reply, origin: Origin) -> Reply:
        job_id = _job_id(begun)
        if not job_id:
            raise refusals.senseless("took a job without saying how to ask after it", self.request_id)
        self.request_id = refusals.identifier(job_id, 128)
        first, longest = self._poll_seconds, _LONGEST_GROWTH * self._poll_seconds
        return await polled(lambda: self._result(origin, job_id, begun), first_seconds=first, longest_seconds=longest)

    async def _result(self, origin: Origin, job_id: str, begun: Reply) -> Reply | None:
        """Return the reply with the result of a job, None while it is not over."""
        place = f"/job/{quote(job_id, safe='')}"
        status = await origin.call(
            "GET", f"{place}/status", safety=Safety.FOLLOW_UP, operation="job poll", follows=begun
        )
        if status.status in _PASSING or (status.status == 200 and _state(status) not in _OVER):
            return None
        reply = await origin.call(
            "GET", f"{place}/result", safety=Safety.FOLLOW_UP, operation="job result", follows=begun
        )
        if reply.status == _ACCEPTED:
            return None
        if reply.status in _GONE:
            raise ProviderInternalError("The worker has lost the job.", metadata={"replay": "accepted"})
        if reply.status != 200:
            error = refusals.error_of(refusals.complaint_of(reply))
            error.metadata = error.metadata | {"replay": "accepted", "provider_request_id": self.request_id}
            raise error
        return reply

    async def _called_off(self, submission: asyncio.Task[tuple[Reply, str]]) -> None:
        await asyncio.wait({submission}, timeout=CANCEL_SECONDS)
        if not submission.done():
            submission.cancel()
            await asyncio.wait({submission})
        if submission.cancelled() or submission.exception() is not None:
            return
        reply, url = submission.result()
        await call_off(self._pool.origin(url), _job_id(reply), reply)


class _Answer(msgspec.Struct):
    success: bool = True
    processed_image: str = ""
    processed_image_base64: str = ""
    seed: int | None = None
    file: bytes = b""


class _Job(msgspec.Struct):
    job_id: str = ""
    status: str = ""


def _body(fields: dict[str, object], image: Blob | None) -> bytes:
    packed = {} if image is None else {"image_base64": base64.b64encode(image.data).decode()}
    return msgspec.json.encode({**fields, **packed})


def _answer(body: bytes, request_id: str) -> _Answer:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        # Some write a data URI.
        packed = (answer.processed_image or answer.processed_image_base64).rpartition(",")[2]
        answer.file = base64.b64decode(packed, validate=True)
    except (msgspec.MsgspecError, ValueError) as error:
        raise refusals.senseless("answered with something that makes no sense", request_id) from error
    if not answer.success or not answer.file:
        raise refusals.senseless("answered without a picture", request_id)
    return answer


def _job(reply: Reply) -> _Job:
    try:
        return msgspec.json.decode(reply.body, type=_Job)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Job()


def _job_id(reply: Reply) -> str:
    return _job(reply).job_id if reply.status == _ACCEPTED else ""


def _state(reply: Reply) -> str:
    return _job(reply).status
