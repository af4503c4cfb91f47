"""Settings as nested tables of plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pixvox.configuration.secrets import shown, veiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.settings import Settings


def told(settings: Settings) -> dict[str, object]:
    """Return every setting, defaults included and secrets masked; what is not set at all is left out.

    The values are those of TOML: tables, lists, texts, numbers, booleans, and the times that a provider's table may hold.
    """
    return {name: shown(table) for name, table in veiled(tree(settings)).items()}


def tree(settings: Settings) -> dict[str, object]:
    """Return every setting, defaults and secrets included."""
    return {name: _plain(getattr(settings, name), defaults=True) for name in settings.__struct_fields__}


def without_defaults(value: msgspec.Struct) -> dict[str, object]:
    """Return a struct as nested tables without the fields that have their defaults."""
    defaults = {field.name: _default(field) for field in msgspec.structs.fields(value)}
    given = {name: getattr(value, name) for name in defaults}
    return {name: _plain(one, defaults=False) for name, one in given.items() if one != defaults[name]}


def dotted(tables: Mapping[str, object]) -> dict[str, object]:
    """Return the values of nested tables by their dotted names, as TOML writes them; `[2]` is the third table of a list."""
    found: dict[str, object] = {}
    for key, value in tables.items():
        _add(found, quoted(key), value)
    return found


def quoted(key: str) -> str:
    """Return a key as TOML writes it."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else msgspec.json.encode(key).decode()


def _plain(value: object, *, defaults: bool) -> object:
    if isinstance(value, msgspec.Struct):
        if not defaults:
            return without_defaults(value)
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: _plain(one, defaults=True) for name, one in fields.items() if one is not None}
    if isinstance(value, dict):
        return {key: _plain(one, defaults=defaults) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, defaults=defaults) for one in value]
    return value


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _add(found: dict[str, object], name: str, value: object) -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            _add(found, f"{name}.{quoted(key)}", one)
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for index, one in enumerate(value):
            _add(found, f"{name}[{index}]", one)
    else:
        found[name] = value
