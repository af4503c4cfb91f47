"""How two settings differ, and what of it a running service can take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from pixvox.configuration.secrets import Secret, veiled
from pixvox.configuration.trees import dotted, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pixvox.settings import Settings

# Tables and keys that are read once, at the start.
RESTART = ("database", "fetch.allowed_hosts", "fetch.seconds", "idempotency", "log", "server", "telemetry")
# Their tables mean something by their order.
_ORDERED = ("providers", "routes")


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that differs. Secrets are masked.

    Attributes:
        name: Dotted, as TOML writes it.
        old: None if it is not there.
        new: None if it is not there.
        restart: Whether the new value needs a restart; otherwise a reload is enough.
    """

    name: str
    old: object
    new: object
    restart: bool


def differences(old: Settings, new: Settings) -> tuple[Difference, ...]:
    """Return every setting that differs, in the order of the tables."""
    before, after = dotted(veiled(tree(old))), dotted(veiled(tree(new)))
    found = [
        _difference(name, before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if (name in before, before.get(name)) != (name in after, after.get(name))
    ]
    for name in _ORDERED:
        found += _order(name, getattr(old, name), getattr(new, name))
    return tuple(found)


def kept(running: Settings, loaded: Settings) -> Settings:
    """Return `loaded` with those values of `running` that only a restart changes."""
    for name in RESTART:
        table, _, key = name.partition(".")
        value = getattr(running, table)
        if key:
            value = msgspec.structs.replace(getattr(loaded, table), **{key: getattr(value, key)})
        loaded = msgspec.structs.replace(loaded, **{table: value})
    return loaded


def _difference(name: str, old: object, new: object) -> Difference:
    was, is_ = _seen(old), _seen(new)
    if was == is_:
        is_ = f"{is_} (changed)"
    return Difference(name, was, is_, restart=name.startswith(tuple(f"{one}." for one in RESTART)) or name in RESTART)


def _seen(value: object) -> object:
    if isinstance(value, list):
        return [_seen(one) for one in value]
    return value.shown if isinstance(value, Secret) else value


def _order(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterable[Difference]:
    was, is_ = [key for key in old if key in new], [key for key in new if key in old]
    if was != is_:
        yield Difference(f"{name} (order)", was, is_, restart=False)
