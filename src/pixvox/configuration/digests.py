"""The digest of settings, by which instances are told apart that are not configured alike."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec

from pixvox.configuration.secrets import shown, veiled
from pixvox.configuration.trees import without_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.settings import Settings

DIGITS = 16

# Instances that are configured alike may listen, log and report elsewhere.
_OWN_TABLES = ("log", "telemetry")
_OWN_KEYS = ("listen", "http", "admin", "workers")


def digest(settings: Settings, *, prices: bytes = b"") -> str:
    """Return 16 hexadecimal digits (of a SHA-256) that stand for what settings decide.

    The order of providers, of routes and of their targets counts; that of keys in a table does not, and a default that is
    spelled out is as one that is left out. Of a secret only counts whether it is set. The name of the price file does not
    count, its contents do.

    Args:
        settings: As `registry.understood` gives them, or spelled-out defaults of providers count.
        prices: The contents of the price file, empty if there is none.
    """
    # What has its default is left out, so that a new version with a new setting does not change every digest.
    tables = without_defaults(settings)
    for name in _OWN_TABLES:
        tables.pop(name, None)
    tables["server"] = {key: one for key, one in _table(tables, "server").items() if key not in _OWN_KEYS}
    tables["prices"] = hashlib.sha256(prices).hexdigest() if prices else ""
    tables["switches"] = {verb: on for verb, on in settings.switches.items() if not on}
    tables["targets"] = _targets(settings)
    tables["providers"] = {name: _provider(table) for name, table in settings.providers.items()}
    canonical: dict[str, Any] = {name: shown(table) for name, table in veiled(tables).items()}
    for name in ("providers", "routes"):
        canonical[name] = list(_table(canonical, name).items())
    text = json.dumps(_numbers(canonical), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = tables.get(name, {})
    return found


def _provider(table: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: one for key, one in table.items() if (key, one) != ("enabled", True)}
    if off := own.pop("switched_off", ()):
        own["switched_off"] = sorted(off)
    return own


def _targets(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what each table changes: that of a model the provider's, and that the defaults."""
    changed = {}
    defaults = msgspec.structs.asdict(settings.target_defaults)
    for name, table in settings.targets.items():
        provider, slash, _ = name.partition("/")
        above = defaults | settings.targets.get(provider, {}) if slash else defaults
        if own := {key: one for key, one in table.items() if key not in above or above[key] != one}:
            changed[name] = own
    return changed


def _numbers(value: Any) -> Any:  # noqa: ANN401  # any value of TOML
    """Return nested tables in which 2.0 is 2."""
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
