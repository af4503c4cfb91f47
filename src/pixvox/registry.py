"""From the settings' provider tables to running providers.

A kind is a module: `pixvox.providers.<kind>`, or whatever an installed package offers under that name in the entry-point
group `pixvox.providers`. The module has `Config`, a msgspec struct, and `create(config, upstream)`,
which returns the provider.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from pixvox.configuration import without_defaults
from pixvox.provider import ImageEditor, ImageGenerator, SpeechStreamer, VoiceCloner, VoiceDesigner
from pixvox.settings import PROVIDER_ENVIRONMENT, SettingsError
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from pixvox.provider import Provider
    from pixvox.settings import Settings
    from pixvox.upstream import Upstream

ENTRY_POINTS = "pixvox.providers"
PACKAGE = "pixvox.providers"
# Keys of a provider's table that are the service's, not the kind's.
_NOT_OWN = ("kind", "enabled", "switched_off")

VERBS = {
    "generate_image": (model_service_pb2.VERB_GENERATE_IMAGE, ImageGenerator),
    "edit_image": (model_service_pb2.VERB_EDIT_IMAGE, ImageEditor),
    "stream_speech": (model_service_pb2.VERB_STREAM_SPEECH, SpeechStreamer),
    "clone_voice": (model_service_pb2.VERB_CLONE_VOICE, VoiceCloner),
    "design_voice": (model_service_pb2.VERB_DESIGN_VOICE, VoiceDesigner),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One configured provider.

    Attributes:
        name: In the settings.
        kind: The implementation.
        provider: The running object.
        models: Its capability table with `provider` filled in.
    """

    name: str
    kind: str
    provider: Provider
    models: tuple[model_service_pb2.Model, ...]

    @property
    def region(self) -> str:
        """The provider's region, empty if it has none."""
        return getattr(self.provider, "region", "")

    @property
    def unready(self) -> str:
        """Why calls to the provider fail at once, for the operator; empty if they do not."""
        # Asked for every call: a runtime-checkable protocol takes a hundred times as long to look the same up.
        unready = getattr(self.provider, "unready", None)
        return unready() if unready is not None else ""


def build(
    tables: Mapping[str, Mapping[str, Any]],
    upstream: Upstream,
    running: Mapping[str, Provider] | None = None,
) -> tuple[Entry, ...]:
    """Create every enabled provider, in the order of the tables.

    Args:
        tables: Of the settings, by name.
        upstream: The door to the network, which outlives the providers.
        running: Providers by name that are taken as they are instead of being created.

    Raises:
        SettingsError: A kind is unknown, its configuration is wrong, or a provider promises what it lacks.
    """
    enabled = {name: table for name, table in tables.items() if table.get("enabled", True)}
    return tuple(_entry(name, table, upstream, (running or {}).get(name)) for name, table in enabled.items())


def understood(settings: Settings) -> Settings:
    """Return the settings with the enabled providers' tables as their kinds understand them, without defaults.

    Raises:
        SettingsError: A kind is unknown, or its configuration is wrong.
    """
    tables = {
        name: table
        if not table.get("enabled", True)
        else {key: table[key] for key in _NOT_OWN if key in table} | without_defaults(_config(name, table))
        for name, table in settings.providers.items()
    }
    return msgspec.structs.replace(settings, providers=tables)


def same(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether one provider object can serve both tables, which are right.

    Raises:
        SettingsError: One is not.
    """
    return old["kind"] == new["kind"] and (_own(old) == _own(new) or bool(_config(name, old) == _config(name, new)))


def aligned(old: Settings, new: Settings) -> Settings:
    """Return `new` in the words of `old` where providers' tables mean the same, so that only real differences are left.

    Raises:
        SettingsError: A kind is unknown, or its configuration is wrong.
    """
    tables = dict(new.providers)
    for name, table in new.providers.items():
        before = old.providers.get(name, {"enabled": False})
        on = before.get("enabled", True) and table.get("enabled", True)
        if on and before.get("switched_off", []) == table.get("switched_off", []) and same(name, before, table):
            tables[name] = before
    return msgspec.structs.replace(new, providers=tables)


def has_capability(model: model_service_pb2.Model, capability: str) -> bool:
    """Tell whether a model has a verb; `capability` is one of `VERBS`."""
    return any(field.name == capability for field, _ in model.ListFields())


def _entry(name: str, table: Mapping[str, Any], upstream: Upstream, running: Provider | None) -> Entry:
    kind = table["kind"]
    config = _config(name, table)
    provider: Provider = _module(name, kind).create(config, upstream) if running is None else running
    models = []
    for model in provider.models():
        copy = model_service_pb2.Model()
        copy.CopyFrom(model)
        copy.provider = name
        models.append(copy)
    entry = Entry(name, kind, provider, tuple(models))
    _check_promises(entry)
    return entry


def _config(name: str, table: Mapping[str, Any]) -> msgspec.Struct:
    kind = table["kind"]
    try:
        # Not strict, because what comes from the environment is text.
        config: msgspec.Struct = msgspec.convert(_own(table), type=_module(name, kind).Config, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"providers.{name}: {error}{_origin(kind, str(error))}") from error
    return config


def _own(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in _NOT_OWN}


def _module(name: str, kind: str) -> ModuleType:
    if kind.isidentifier() and importlib.util.find_spec(f"{PACKAGE}.{kind}") is not None:
        return importlib.import_module(f"{PACKAGE}.{kind}")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=kind):
        module = point.load()
        if inspect.ismodule(module):
            return module
        raise SettingsError(f"providers.{name}: the entry point {kind!r} of {ENTRY_POINTS} is not a module")
    raise SettingsError(
        f"providers.{name}: there is no provider kind {kind!r}; there are: {', '.join(sorted(kinds()))}"
    )


def kinds() -> set[str]:
    """Return every kind that can be configured here."""
    package = importlib.import_module(PACKAGE)
    own = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return own | {point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _origin(kind: str, message: str) -> str:
    """Return which names of the environment a refused field may have come from."""
    fields = PROVIDER_ENVIRONMENT.get(kind, {})
    names = [variable for variable, field in fields.items() if message.endswith(f"`$.{field}`")]
    return f" (may come from {' or '.join(names)})" if names else ""


def _check_promises(entry: Entry) -> None:
    for model in entry.models:
        for capability, (_, protocol) in VERBS.items():
            if has_capability(model, capability) and not isinstance(entry.provider, protocol):
                raise SettingsError(
                    f"providers.{entry.name}: model {model.id} lists {capability}, which kind {entry.kind} lacks"
                )
