"""An answer that is sent while it is made: it ends early with its caller or its deadline, and then says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from fastapi import Response

from pixvox_worker.failures import DeadlineExceeded, Failure
from pixvox_worker.routes.waiting import gone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from pixvox_worker.app import Worker
    from pixvox_worker.jobs import SpeechJob

_log = logging.getLogger(__name__)
_TO_SAY_WHY = 1.0


class Stream(Response):
    """What a job says, piece by piece.

    The head is sent with the first piece, so what fails before it is answered with a status of its own. What fails
    after it cuts the body off without its end, which a client must see: a body that ends well is complete.
    """

    def __init__(
        self, worker: Worker, job: SpeechJob, pieces: AsyncGenerator[bytes], media_type: str, headers: dict[str, str]
    ) -> None:
        super().__init__(headers={**headers, "Cache-Control": "no-cache"}, media_type=media_type)
        # Of the empty body that was given above.
        del self.headers["content-length"]
        self._worker = worker
        self._job = job
        self._pieces = pieces
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            Failure: what went wrong before the first piece.
        """
        del scope
        sending = asyncio.create_task(self._send_all(send))
        left = asyncio.create_task(gone(receive))
        # The job ends by itself at its deadline, and says why: this is for a caller that does not read what is there.
        seconds = max(0.0, self._job.deadline - time.monotonic()) + _TO_SAY_WHY
        try:
            await asyncio.wait({sending, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            left.cancel()
            self._worker.inference.cancel(self._job)
            self._worker.jobs.drop(self._job)
            self._job.sound.close(DeadlineExceeded("Nobody reads any more."))
            await asyncio.wait({sending, left})
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, send: Send) -> None:
        try:
            async with contextlib.aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    await self._begin(send)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Failure as failure:
            if not self._begun:
                raise
            _log.info("the speech broke off: %s", failure.message, extra={"job": self._job.job_id})
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
