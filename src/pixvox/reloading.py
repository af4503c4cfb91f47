"""The configuration that is in force, and its replacement while calls are running.

Generation  is one configuration and all that was made from it
Current     holds the one in force
Reloads     replaces it when its files have changed, or when told to
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from pixvox import configuration, registry
from pixvox.prices import PriceTable, PriceTableError
from pixvox.routing import Router
from pixvox.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from pixvox.configuration import Loaded
    from pixvox.provider import Provider
    from pixvox.registry import Entry
    from pixvox.routing import TargetStates
    from pixvox.routing.rollbacks import Rollbacks
    from pixvox.settings import Settings
    from pixvox.telemetry import Telemetry
    from pixvox.upstream import Upstream

    # Tells which tasks may be using providers.
    Users = Callable[[], Collection[asyncio.Task[Any]]]

log = structlog.get_logger("pixvox.configuration")

# Between two looks at files that are being written.
SETTLING_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives every configuration.

    Attributes:
        upstream: The door to the network.
        telemetry: Of the server.
        states: What is remembered of targets.
        rollbacks: That are kept.
    """

    upstream: Upstream
    telemetry: Telemetry
    states: TargetStates
    rollbacks: Rollbacks


@dataclass(frozen=True, slots=True)
class Generation:
    """One configuration and all that was made from it.

    Attributes:
        settings: As they run: what needs a restart has the values of the start.
        digest: Of `settings`.
        entries: The enabled providers.
        router: Over them.
    """

    settings: Settings
    digest: str
    entries: tuple[Entry, ...]
    router: Router

    @classmethod
    async def build(cls, settings: Settings, lasting: Lasting, before: Generation | None = None) -> Generation:
        """Make everything that `settings` say. Asks no provider anything, and changes nothing of what is in force.

        Args:
            settings: As they are to run.
            lasting: What it is built upon.
            before: Whose providers are taken over where their tables mean the same.

        Raises:
            SettingsError: The settings cannot be used.
        """
        running = {} if before is None else _standing(before, settings)
        async with contextlib.AsyncExitStack() as stack:
            entries: list[Entry] = []
            for name, table in settings.providers.items():
                made = registry.build({name: table}, lasting.upstream, running)
                entries += made
                if name not in running:
                    for entry in made:
                        stack.push_async_callback(entry.provider.aclose)
            router = Router(settings, entries, lasting.telemetry, _prices(settings), lasting.states)
            generation = cls(settings, digest(settings), tuple(entries), router)
            if _guarded(settings):
                await lasting.rollbacks.start()
            # Nothing has failed, so the new providers stay open.
            stack.pop_all()
        return generation

    async def aclose(self) -> None:
        """Close all providers."""
        async with contextlib.AsyncExitStack() as stack:
            for entry in self.entries:
                stack.push_async_callback(entry.provider.aclose)


class Current:
    """Holds the generation that is in force, and closes what is left over of earlier ones; see `services.current`."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def generation(self) -> Generation:
        """What is in force."""
        return self._generation

    @property
    def settings(self) -> Settings:
        """The settings that are in force."""
        return self._generation.settings

    @property
    def digest(self) -> str:
        """Of the settings that are in force."""
        return self._generation.digest

    @property
    def router(self) -> Router:
        """The router that is in force."""
        return self._generation.router

    def replace(self, generation: Generation, users: Sequence[Users] = ()) -> None:
        """Put a generation in force. Providers that it lacks are closed when nothing uses them any more.

        Args:
            generation: That was built upon the one in force.
            users: The first tells of the calls; each other of what those before it may begin and leave behind.
        """
        old, self._generation = self._generation, generation
        generation.router.activate()
        standing = {id(entry.provider) for entry in generation.entries}
        # Calls that begin from now on know nothing of the old generation.
        calls = set(users[0]()) if users else set()
        for entry in old.entries:
            if id(entry.provider) not in standing:
                task = asyncio.create_task(_retire(entry, calls, users[1:]), name=f"retire {entry.name}")
                self._retiring.add(task)
                task.add_done_callback(self._retired)

    async def aclose(self) -> None:
        """Close all providers; is called after the last call has ended."""
        retiring = set(self._retiring)
        for task in retiring:
            task.cancel()
        if retiring:
            await asyncio.wait(retiring)
        await self._generation.aclose()

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a provider could not be closed", task=task.get_name(), exc_info=error)


class Reloads:
    """Reads the settings again when a file of theirs has changed, or when asked to, and puts them in force.

    Settings that cannot be used are reported once and change nothing.

    Args:
        loaded: The settings of the start, as they were read.
        current: Is replaced.
        lasting: What generations are built upon.
        users: As `Current.replace` takes them.
        tell: Is awaited with each new generation that is in force.
        asked: Is set by whoever wants the settings read again.
    """

    def __init__(
        self,
        loaded: Loaded,
        current: Current,
        lasting: Lasting,
        users: Sequence[Users],
        tell: Callable[[Generation], Awaitable[None]],
        asked: asyncio.Event,
    ) -> None:
        self._start = self._loaded = loaded
        self._seen = loaded.contents
        self._current = current
        self._lasting = lasting
        self._users = users
        self._tell = tell
        self._asked = asked

    async def watch(self) -> NoReturn:
        """Go on until cancelled."""
        while True:
            if await self._asked_in_time() or await self._changed():
                await self._attempt()

    async def _asked_in_time(self) -> bool:
        """Wait for being asked, until it is time to look at the files."""
        try:
            async with asyncio.timeout(self._current.settings.server.watch_seconds or None):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _changed(self) -> bool:
        """Tell whether there is something new in the files, and nobody is writing it any more."""
        contents = await self._look()
        while contents != self._seen:
            await asyncio.sleep(min(SETTLING_SECONDS, self._current.settings.server.watch_seconds))
            before, contents = contents, await self._look()
            if contents == before:
                return True
        return False

    async def _look(self) -> Mapping[str, str]:
        return await asyncio.to_thread(configuration.contents, self._seen)

    async def _attempt(self) -> None:
        # In a task of its own, so that a fault of a provider's code is reported like one of the settings.
        task = asyncio.create_task(self._reload())
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if (error := task.exception()) is not None:
            log.error("configuration refused", digest=self._current.digest, exc_info=error)
        outcome = "refused" if error is not None else task.result()
        self._lasting.telemetry.instruments.config_reloads.add(1, {"outcome": outcome})

    async def _reload(self) -> str:
        """Return what came of it: `reloaded`, `unchanged` or `refused`."""
        self._seen = await self._look()
        try:
            loaded = await asyncio.to_thread(self._start.source.read)
            self._seen = loaded.contents
            return await self._apply(loaded)
        except SettingsError as error:
            log.error("configuration refused", digest=self._current.digest, error=str(error))
            return "refused"

    async def _apply(self, loaded: Loaded) -> str:
        settings = configuration.kept(self._current.settings, loaded.settings)
        # Beside the calls, because it may load the modules of a provider for the first time.
        old, new = self._current.digest, await asyncio.to_thread(digest, settings)
        aligned = registry.aligned(self._loaded.settings, loaded.settings)
        changes = configuration.differences(self._loaded.settings, aligned)
        if changed := [one.name for one in changes if not one.restart] or old != new:
            generation = await Generation.build(settings, self._lasting, self._current.generation)
            self._current.replace(generation, self._users)
            log.info("configuration reloaded", old_digest=old, digest=new, changed=changed)
            await self._tell(generation)
        self._loaded = loaded
        waiting = configuration.differences(self._start.settings, loaded.settings)
        if names := [one.name for one in waiting if one.restart]:
            log.warning("configuration needs a restart", digest=new, changed=names)
        return "reloaded" if changed else "unchanged"


def digest(settings: Settings) -> str:
    """Return the digest of settings, whose price file is read for it.

    Raises:
        SettingsError: A provider's table or the price file cannot be used.
    """
    prices = b""
    if settings.prices.file:
        try:
            prices = Path(settings.prices.file).read_bytes()
        except OSError as error:
            raise SettingsError(f"prices.file: {settings.prices.file}: {error.strerror}") from error
    return configuration.digest(registry.understood(settings), prices=prices)


def _standing(before: Generation, settings: Settings) -> dict[str, Provider]:
    """Return the providers that serve the new settings as well."""
    tables = {name: table for name, table in settings.providers.items() if table.get("enabled", True)}
    return {
        entry.name: entry.provider
        for entry in before.entries
        if entry.name in tables and registry.same(entry.name, before.settings.providers[entry.name], tables[entry.name])
    }


def _prices(settings: Settings) -> PriceTable:
    try:
        return PriceTable.load(Path(settings.prices.file) if settings.prices.file else None)
    except PriceTableError as error:
        raise SettingsError(f"prices.file: {error}") from error


def _guarded(settings: Settings) -> bool:
    return any(target.guard is not None for route in settings.routes.values() for target in route.targets)


async def _retire(entry: Entry, calls: Collection[asyncio.Task[Any]], users: Sequence[Users]) -> None:
    """Close a provider after everything that may be using it has ended, or at once when cancelled."""
    try:
        for running in (lambda: calls, *users):
            if tasks := running():
                await asyncio.wait(tasks)
    finally:
        await entry.provider.aclose()
    log.info("provider closed", provider=entry.name)
