"""The workers behind one provider: which of them serve a model, how they are asked, and that work nobody waits for ends."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pixvox import telemetry
from pixvox.errors import PixvoxError, ProviderNotConfiguredError
from pixvox.providers.worker import refusals
from pixvox.upstream import Safety
from pixvox.upstream.pool import Pool, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pixvox.providers.worker.config import Config
    from pixvox.upstream import Origin, Reply, Upstream

# The longest that a caller who leaves keeps its place for the sake of telling a worker.
CANCEL_SECONDS = 0.5

_NO_URL = "The provider has no address; set url in its table of the settings, or urls in those of its models."
_DEADLINE = "x-request-timeout"
# The worker reads at most so many; nobody waits for longer.
_LONGEST_SECONDS = 86_400.0


class Fleet:
    """The workers of one provider. Opens nothing by itself.

    Args:
        config: Of the provider.
        upstream: The door to the network.
        clock: Tells seconds.

    Attributes:
        tables: Of the models, by id.
    """

    def __init__(self, config: Config, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        self.tables = config.models
        self._config = config
        self._upstream = upstream
        self._clock = clock
        # Models with the same addresses share their pool, so that it knows all that these workers have to do.
        self._pools: dict[tuple[str, ...], Pool] = {}
        for model in config.models:
            for addresses in (config.addresses_of(model), config.designers_of(model)):
                if addresses and addresses not in self._pools:
                    self._pools[addresses] = self._pool(addresses)

    def unready(self) -> str:
        """Return why every call fails, empty if none has to."""
        return "" if self._pools else _NO_URL

    def workers(self, model: str) -> Pool:
        """Return those that serve a model.

        Raises:
            ProviderNotConfiguredError: There are none.
        """
        return self._found(self._config.addresses_of(model))

    def designers(self, model: str) -> Pool:
        """Return those that invent voices for a model.

        Raises:
            ProviderNotConfiguredError: There are none.
        """
        return self._found(self._config.designers_of(model))

    def _found(self, addresses: tuple[str, ...]) -> Pool:
        if not addresses:
            raise ProviderNotConfiguredError(_NO_URL)
        return self._pools[addresses]

    def _pool(self, addresses: tuple[str, ...]) -> Pool:
        config = self._config
        return Pool(
            [(url, self._origin(url, alone=len(addresses) == 1)) for url in addresses],
            eject_seconds=config.eject_seconds,
            probe=Probe(config.health_path, refusals.load_of, config.health_seconds),
            declined=refusals.declined,
            clock=self._clock,
        )

    def _origin(self, url: str, *, alone: bool) -> Origin:
        config = self._config
        return self._upstream.origin(
            url,
            headers={"authorization": f"Bearer {config.api_key}"} if config.api_key else {},
            connect_seconds=config.connect_seconds,
            read_seconds=config.waits,
            # Several workers are better than one that is waited for.
            refusal=refusals.retry_seconds if alone else None,
            identify=refusals.ids_of,
            propagate=config.propagate_trace,
        )


def deadline_headers() -> dict[str, str]:
    """Return what tells a worker how long the running RPC waits for it; empty if it waits without end."""
    call = telemetry.running_call()
    seconds = math.inf if call is None else call.deadline - time.monotonic()
    if seconds >= _LONGEST_SECONDS:
        return {}
    return {_DEADLINE: f"{max(seconds, 0.001):.3f}"}


async def call_off(origin: Origin, job_id: str, begun: Reply | None = None) -> None:
    """Tell a worker that nobody waits for a job; for a caller that is cancelled. Takes `CANCEL_SECONDS` at most.

    That the connection is closed tells the same, but not through every proxy.

    Args:
        origin: Of the worker that has the job.
        job_id: Of the job; empty does nothing.
        begun: The reply that began it, if it was one.
    """
    if not job_id:
        return
    await to_its_end(_told(origin, job_id, begun))


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do work that soon ends, even while being cancelled; only then raise that cancellation."""
    task = asyncio.create_task(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        raise cancellation
    task.result()


async def _told(origin: Origin, job_id: str, begun: Reply | None) -> None:
    path = f"/job/{quote(job_id, safe='')}/cancel"
    # Nobody is left to be told.
    with contextlib.suppress(TimeoutError, PixvoxError):
        async with asyncio.timeout(CANCEL_SECONDS):
            await origin.call("POST", path, safety=Safety.FOLLOW_UP, operation="job cancellation", follows=begun)
