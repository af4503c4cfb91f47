"""The engines behind one provider: each call goes to the one with the least to do that can be reached."""

from __future__ import annotations

import contextlib
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from pixvox.errors import ProviderUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from pixvox.upstream import EventStream, Origin, Reply, Safety

_NOT_DISPATCHED = "not_dispatched"


class Pool:
    """One or several engines that serve the same models.

    One that accepts no connection gets no calls for a while, unless it is the only one; the call goes on to the next. What was
    sent is never sent to another one.

    Args:
        origins: The engines' base addresses with their origins, at least one.
        eject_seconds: How long one that accepts no connection gets no calls.
        clock: Tells seconds.
    """

    def __init__(
        self,
        origins: Sequence[tuple[str, Origin]],
        *,
        eject_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines = [_Engine(url, origin) for url, origin in origins]
        self._eject_seconds = eject_seconds
        self._clock = clock
        self._turn = 0

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        safety: Safety,
        operation: str,
    ) -> tuple[Reply, str]:
        """Return the whole reply and the base address of the engine that gave it; arguments and errors as of `Origin.call`."""
        for engine in self._reachable():
            with self._passed_over(engine), engine.busy():
                reply = await engine.origin.call(
                    method, path, body=body, headers=headers, safety=safety, operation=operation
                )
                return reply, engine.url
        raise self._unreachable()

    @contextlib.asynccontextmanager
    async def events(self, path: str, *, body: bytes, operation: str) -> AsyncIterator[EventStream]:
        """Give the events of a reply for the block; arguments and errors as of `Origin.events`."""
        for engine in self._reachable():
            async with AsyncExitStack() as stack:
                stream = None
                with self._passed_over(engine):
                    stack.enter_context(engine.busy())
                    stream = await stack.enter_async_context(engine.origin.events(path, body=body, operation=operation))
                if stream is not None:
                    yield stream
                    return
        raise self._unreachable()

    def _reachable(self) -> Iterator[_Engine]:
        """Give the engines to try, the least busy first; equally busy ones take turns."""
        self._turn += 1
        now = self._clock()
        turned = [self._engines[(self._turn + place) % len(self._engines)] for place in range(len(self._engines))]
        yield from sorted((one for one in turned if one.ejected_until <= now), key=lambda one: one.calls)

    @contextlib.contextmanager
    def _passed_over(self, engine: _Engine) -> Iterator[None]:
        """Let the block end quietly if the engine could not be reached and there are others."""
        try:
            yield
        except ProviderUnavailableError as error:
            if len(self._engines) == 1 or error.metadata.get("replay") != _NOT_DISPATCHED:
                raise
            engine.ejected_until = self._clock() + self._eject_seconds

    def _unreachable(self) -> ProviderUnavailableError:
        wait = min(engine.ejected_until for engine in self._engines) - self._clock()
        return ProviderUnavailableError(
            f"None of the provider's {len(self._engines)} engines accepts connections.",
            metadata={"replay": _NOT_DISPATCHED},
            retry_after=max(wait, 0.0),
        )


class _Engine:
    """One engine: where it is, how many calls it has, and until when it gets none."""

    def __init__(self, url: str, origin: Origin) -> None:
        self.url = url
        self.origin = origin
        self.calls = 0
        self.ejected_until = float("-inf")

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count a call for the block."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
