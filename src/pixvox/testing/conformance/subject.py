"""Which provider is to be checked, and with what settings."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from pixvox import registry
from pixvox.settings import SettingsError
from pixvox.testing.conformance import hints as hinting
from pixvox.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import ModuleType

    from pixvox.registry import Entry
    from pixvox.testing.conformance.hints import Hints, HintSource

_SCHEMES = frozenset({"http", "https", "ws", "wss"})


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of provider, and how to create one.

    Attributes:
        kind: As in the settings.
        table: Of the settings, without `kind`. None takes that of the hints, or an empty one.
        name: Of the table; empty takes the kind.
        hints: Instead of those that the kind offers.
        models: Ids of the models to call; `trial.ALL_MODELS` for all; none for the first of each verb.
        seconds: The longest that one call may take; None leaves it to the hints.
        allowed_hosts: That the provider may download from although they are not public, as in the settings.
    """

    kind: str
    table: Mapping[str, Any] | None = None
    name: str = ""
    hints: HintSource | None = None
    models: tuple[str, ...] = ()
    seconds: float | None = None
    allowed_hosts: tuple[str, ...] = field(default=())

    @contextlib.asynccontextmanager
    async def hinted(self) -> AsyncIterator[Hints]:
        """Give the hints for the block.

        Raises:
            SettingsError: There is no such kind.
            TypeError: They are none.
        """
        source = self.hints or hinting.source_in(self.module())
        async with hinting.opened(source, given=self.table is not None) as hints:
            yield hints

    def table_with(self, hints: Hints) -> dict[str, Any]:
        """Return the table to create the provider with."""
        return dict(hints.table or {}) if self.table is None else dict(self.table)

    def upstream(self) -> Upstream:
        """Return a door to the network for one provider."""
        return Upstream(allowed_hosts=self.allowed_hosts)

    def entry(self, table: Mapping[str, Any], upstream: Upstream) -> Entry:
        """Create the provider as the service does.

        Raises:
            SettingsError: The table is wrong, or the provider promises what it lacks.
        """
        own = {key: value for key, value in table.items() if key != "enabled"}
        [entry] = registry.build({self.name or self.kind: own | {"kind": self.kind}}, upstream)
        return entry

    def module(self) -> ModuleType:
        """Return the kind's module, found as the registry finds it.

        Raises:
            SettingsError: There is none.
        """
        inner = f"{registry.PACKAGE}.{self.kind}"
        if self.kind.isidentifier() and importlib.util.find_spec(inner) is not None:
            return importlib.import_module(inner)
        for point in importlib.metadata.entry_points(group=registry.ENTRY_POINTS, name=self.kind):
            module: ModuleType = point.load()
            return module
        raise SettingsError(
            f"there is no provider kind {self.kind!r}; there are: {', '.join(sorted(registry.kinds()))}"
        )

    def addresses(self, table: Mapping[str, Any]) -> dict[str, str]:
        """Return the base addresses in the kind's configuration by field, those that it has by default included.

        Raises:
            SettingsError: The table is wrong.
        """
        own = {key: value for key, value in table.items() if key not in {"kind", "enabled", "switched_off"}}
        try:
            config = msgspec.convert(own, type=self.module().Config, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{self.name or self.kind}: {error}") from error
        fields = msgspec.structs.asdict(config)
        return {name: value for name, value in fields.items() if isinstance(value, str) and is_address(value)}


async def costs(subject: Subject) -> str:
    """Return why checking a provider may cost money, a sentence; empty if it does not.

    Raises:
        SettingsError: The kind or the table is wrong.
        TypeError: What the kind offers as hints is none.
    """
    async with subject.hinted() as hints:
        table = subject.table_with(hints)
        addresses = subject.addresses(table)
        if hints.free or (subject.table is None and hints.table is not None):
            return ""
    away = {name: address for name, address in addresses.items() if not is_loopback(address)}
    if away:
        return "It asks " + ", ".join(f"{address} ({name})" for name, address in sorted(away.items())) + "."
    return "" if addresses else f"Nothing says that calls of kind {subject.kind} are free."


def is_address(text: str) -> bool:
    """Tell whether a text is the address of something that HTTP or a WebSocket reaches."""
    try:
        parts = urlsplit(text)
        return parts.scheme in _SCHEMES and bool(parts.hostname)
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """Tell whether an address is of this machine."""
    host = urlsplit(address).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
