"""Several hosts that do the same work, or one: each call goes to the one with the least to do that takes calls."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from pixvox import telemetry
from pixvox.concurrency import alongside
from pixvox.errors import PixvoxError, ProviderUnavailableError
from pixvox.upstream.replay import RefusedError, Replay, Reply, Safety

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.upstream.events import EventStream
    from pixvox.upstream.origin import Origin

    Opening = Callable[["Origin"], AbstractAsyncContextManager["T"]]

log = structlog.get_logger("pixvox.upstream.pool")

T = TypeVar("T")

# A host that does not say how it is within this time is taken for one that is not well.
PROBE_SECONDS = 2.0
# What a host said of itself is forgotten after so many times the interval at which it is asked.
_STALE = 3.0
_PROBING = "health check"


class Decline(enum.Enum):
    """What a reply says with which a host did no work, so that another host may be asked."""

    BUSY = enum.auto()
    """It has enough to do, or does other work than this; one other host is asked, and its answer counts."""
    DOWN = enum.auto()
    """It takes no work for a while: it is left out, and all others are asked."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a host says of itself.

    Attributes:
        ready: Whether it takes work.
        depth: How many requests it has, waiting and running, whoever sent them.
    """

    ready: bool
    depth: int = 0


class Reading(Protocol):
    """Reads what a host says of itself; a reply that makes no sense means a host that is not ready, or one without depth."""

    def __call__(self, reply: Reply, /) -> Load:
        """Return what the reply says, whatever its status."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """How hosts are asked how they are.

    Attributes:
        path: Below the base address, for GET; free.
        read: Of its replies.
        seconds: How often a host is asked at most. It is asked beside calls, and not while there are none.
        origins: By base addresses, where hosts are asked that answer this elsewhere than below that.
    """

    path: str
    read: Reading
    seconds: float
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a host stands, as far as this process knows.

    Attributes:
        url: Its base address.
        calls: How many calls of this process it has.
        load: By which it is chosen: what it said that it has, corrected by the calls that were begun and ended since.
        left_out: Whether it gets no calls.
    """

    url: str
    calls: int
    load: int
    left_out: bool


class Pool:
    """One or several hosts that do the same work.

    A host that accepts no connection, or says that it takes no work, gets no calls for a while; the call goes on to the next
    one without a second try. A host that says that it has enough to do has the call go to one other. What may have begun is
    never sent to another host. A single host is never left out and never asked how it is.

    A host that was left out is back after `eject_seconds`; with a `probe` it is back when it says that it is well, and then
    only. If none is left, a call asks them how they are before it fails.

    Args:
        origins: The hosts' base addresses with their origins, at least one. Where there are several, an origin should have no
            `refusal` of its own, for it would wait for a busy host while another one is idle.
        eject_seconds: How long a host is left out.
        probe: How they are asked how they are; None means that only the calls of this process count.
        declined: Says of a reply that the host did no work and why; None for any other reply.
        clock: Tells seconds.
    """

    def __init__(
        self,
        origins: Sequence[tuple[str, Origin]],
        *,
        eject_seconds: float,
        probe: Probe | None = None,
        declined: Callable[[Reply], Decline | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosts = [_Host(url, origin) for url, origin in origins]
        self._eject_seconds = eject_seconds
        self._probe = probe if len(self._hosts) > 1 else None
        self._declined = declined
        self._clock = clock
        self._turn = 0
        self._last_resort = asyncio.Lock()

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How the hosts stand, in the order of the addresses."""
        now = self._clock()
        return tuple(Standing(one.url, one.calls, self._load(one), self._is_out(one, now)) for one in self._hosts)

    def origin(self, url: str) -> Origin:
        """Return the origin of a host, for what has to go to that host and no other."""
        return next(host.origin for host in self._hosts if host.url == url)

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
        """Return the whole reply and the base address of the host that gave it; arguments and errors as of `Origin.call`.

        Raises:
            ProviderUnavailableError: Also if every host is left out.
        """

        @contextlib.asynccontextmanager
        async def called(origin: Origin) -> AsyncIterator[Reply]:
            yield await origin.call(method, path, body=body, headers=headers, safety=safety, operation=operation)

        async with self.opened(called) as (reply, url):
            return reply, url

    @contextlib.asynccontextmanager
    async def events(
        self, path: str, *, body: bytes, headers: Mapping[str, str] | None = None, operation: str
    ) -> AsyncIterator[EventStream]:
        """Give the events of a reply for the block; arguments and errors as of `Origin.events`."""
        opening = self.opened(lambda origin: origin.events(path, body=body, headers=headers, operation=operation))
        async with opening as (stream, _):
            yield stream

    @contextlib.asynccontextmanager
    async def opened(self, opening: Opening[T]) -> AsyncIterator[tuple[T, str]]:
        """Give for the block what `opening` gives of a host, and the base address of that host, which is busy meanwhile.

        Args:
            opening: Opens a stream at a host, or makes a call: what it raises or gives on entering decides whether another
                host is asked.

        Raises:
            ProviderUnavailableError: Every host is left out.
            PixvoxError: What `opening` raised.
        """
        async with self._watched():
            last: tuple[T | RefusedError, str] | None = None
            moved = False
            candidates = await self._candidates()
            for host in candidates:
                async with AsyncExitStack() as stack:
                    stack.enter_context(host.busy())
                    with _repeating(allowed=host is candidates[-1]):
                        found = await self._tried(host, opening, stack)
                    if found is None:
                        continue
                    last = found, host.url
                    decline = self._decline(host, found)
                    if decline is None or (decline is Decline.BUSY and moved):
                        yield _given(found), host.url
                        return
                    moved = moved or decline is Decline.BUSY
            if last is None:
                raise self._none_left()
            # All have declined, and the last one's words are the answer.
            yield _given(last[0]), last[1]

    async def _tried(self, host: _Host, opening: Opening[T], stack: AsyncExitStack) -> T | RefusedError | None:
        """Return what a host gives, the refusal of a stream, or None if it cannot be reached and there are others."""
        try:
            return await stack.enter_async_context(opening(host.origin))
        except RefusedError as error:
            return error
        except ProviderUnavailableError as error:
            if len(self._hosts) == 1 or error.metadata.get("replay") != Replay.NOT_DISPATCHED:
                raise
            self._leave_out(host, error.message)
            return None

    def _decline(self, host: _Host, found: object) -> Decline | None:
        """Return why another host is to be asked, None if what a host gave is what counts."""
        reply = found.reply if isinstance(found, RefusedError) else found
        if len(self._hosts) == 1 or not isinstance(reply, Reply):
            return None
        decline = self._declined(reply)
        if decline is Decline.DOWN:
            self._leave_out(host, f"It answered a call with status {reply.status}.")
        return decline

    def _leave_out(self, host: _Host, why: str) -> None:
        now = self._clock()
        if not self._is_out(host, now):
            log.warning("a host is left out", url=host.url, why=why)
        host.out_until = now + self._eject_seconds
        host.out = True
        host.why = why

    async def _candidates(self) -> list[_Host]:
        """Return the hosts to try, the least busy first; equally busy ones take turns."""
        if (probe := self._probe) is not None and not self._free():
            async with self._last_resort:
                if not self._free():
                    # Those that are being asked as well: whoever asks them may leave before they answer.
                    await self._ask([host for host in self._hosts if self._is_due(host, probe)], probe)
        self._turn += 1
        free = self._free()
        turned = [free[(self._turn + place) % len(free)] for place in range(len(free))]
        return sorted(turned, key=self._load)

    def _free(self) -> list[_Host]:
        now = self._clock()
        return [host for host in self._hosts if not self._is_out(host, now)]

    def _is_out(self, host: _Host, now: float) -> bool:
        if len(self._hosts) == 1:
            return False
        return host.out if self._probe is not None else host.out_until > now

    def _load(self, host: _Host) -> int:
        stale = self._probe is None or self._clock() - host.told_at > _STALE * self._probe.seconds
        return host.calls if stale else max(host.calls, host.told + host.calls - host.calls_when_told)

    def _none_left(self) -> ProviderUnavailableError:
        wait = min(host.out_until for host in self._hosts) - self._clock()
        reasons = dict.fromkeys(host.why for host in self._hosts)
        return ProviderUnavailableError(
            f"None of the provider's {len(self._hosts)} hosts takes calls: {' '.join(reasons)}",
            metadata={"replay": Replay.NOT_DISPATCHED.value},
            retry_after=max(wait, 0.0),
        )

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Ask hosts how they are beside the block, if it is time; what has not answered at its end is asked again later."""
        probe = self._probe
        # A call that finds no host asks for itself, and waits for the answers.
        due = self._due(probe) if probe is not None and self._free() else []
        if probe is None or not due:
            yield
            return
        async with alongside(self._ask_those_due(probe)):
            yield

    def _due(self, probe: Probe) -> list[_Host]:
        return [host for host in self._hosts if not host.asking and self._is_due(host, probe)]

    def _is_due(self, host: _Host, probe: Probe) -> bool:
        return self._clock() - host.asked_at >= probe.seconds

    async def _ask_those_due(self, probe: Probe) -> None:
        # Found here and not before, because this may be cancelled before it begins.
        await self._ask(self._due(probe), probe)

    async def _ask(self, hosts: Sequence[_Host], probe: Probe) -> None:
        with _asking(hosts):
            async with asyncio.TaskGroup() as group:
                for host in hosts:
                    group.create_task(self._asked(host, probe))

    async def _asked(self, host: _Host, probe: Probe) -> None:
        """Take note of how a host is."""
        try:
            # Asked again it would be no better, and the next call asks anyway.
            with telemetry.calling(telemetry.Call(_PROBING, may_repeat=False)):
                async with asyncio.timeout(PROBE_SECONDS):
                    origin = probe.origins.get(host.url, host.origin)
                    reply = await origin.call("GET", probe.path, safety=Safety.FREE, operation=_PROBING)
            load, why = probe.read(reply), f"It says that it is not ready (status {reply.status})."
        except TimeoutError:
            load, why = Load(ready=False), f"It did not say within {PROBE_SECONDS:g} seconds how it is."
        except PixvoxError as error:
            load, why = Load(ready=False), error.message
        host.asked_at = self._clock()
        if not load.ready:
            self._leave_out(host, why)
            return
        if host.out:
            log.info("a host is back", url=host.url)
        host.out = False
        host.told, host.told_at, host.calls_when_told = load.depth, host.asked_at, host.calls


class _Host:
    """One host, and what is known of it. Moments are by the pool's clock."""

    def __init__(self, url: str, origin: Origin) -> None:
        self.url = url
        self.origin = origin
        self.calls = 0
        self.out = False
        self.out_until = -math.inf
        self.why = ""
        self.asking = False
        self.asked_at = -math.inf
        self.told = 0
        self.told_at = -math.inf
        self.calls_when_told = 0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count a call for the block."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1


@contextlib.contextmanager
def _repeating(*, allowed: bool) -> Iterator[None]:
    """Have a host that accepts no connection asked once for the block, unless it may be `allowed` to be asked again."""
    call = telemetry.running_call()
    if allowed or call is None:
        yield
        return
    with telemetry.calling(replace(call, may_repeat=False)):
        yield


@contextlib.contextmanager
def _asking(hosts: Sequence[_Host]) -> Iterator[None]:
    """Keep others from asking the same hosts during the block."""
    for host in hosts:
        host.asking = True
    try:
        yield
    finally:
        for host in hosts:
            host.asking = False


def _given(found: T | RefusedError) -> T:
    if isinstance(found, RefusedError):
        raise found
    return found
