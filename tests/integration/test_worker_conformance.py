"""The conformance kit on the provider of workers, as it asks our own and as it asks those that have `/process` alone."""

from __future__ import annotations

import contextlib
from functools import partial

from pixvox.testing.conformance import Hints, Rehearsal, conformance_tests
from pixvox.testing.worker import Cut, Failing, Nonsense, Refused, Slow, WorkerEmulator

FAILURES = (
    (Refused(400, "invalid_request_error"), "INVALID_PARAMETER"),
    (Refused(500), "PROVIDER_INTERNAL"),
    (Failing(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
    (Nonsense(), "PROVIDER_INTERNAL"),
    (Cut(), "OUTCOME_UNKNOWN"),
)


@contextlib.asynccontextmanager
async def bare(*, jobs):
    """Hints with a container that has nothing else."""
    async with WorkerEmulator() as worker:

        def order(effect):
            worker.faults.clear()
            worker.faults.add("process", effect, times=None)

        table = {"contract": "process", "url": worker.url, "jobs": jobs, "poll_seconds": 0.01}
        failures = [Rehearsal("edit_image", reason, order=partial(order, effect)) for effect, reason in FAILURES]
        slow = [Rehearsal("edit_image", order=partial(worker.faults.add, "process", Slow(600)))]
        # A job is begun whatever becomes of the container, so that its failures have another meaning.
        yield Hints(table, failures=() if jobs else tuple(failures), slow=tuple(slow), seconds=20.0)


TestWorker = conformance_tests("worker")
# What has to do with the one thing that it does.
ONLY = (
    "table",
    "image",
    "edit-inputs",
    "inputs",
    "receipts",
    "warnings",
    "errors",
    "event-loop",
    "tasks",
    "close",
    "resources",
)
TestBareWorker = conformance_tests("worker", hints=partial(bare, jobs=False), only=ONLY)
TestBareWorkerWithJobs = conformance_tests("worker", hints=partial(bare, jobs=True), only=ONLY)
