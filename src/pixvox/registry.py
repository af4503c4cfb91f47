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

from pixvox.provider import ImageEditor, ImageGenerator, Located, SpeechStreamer, Unready, VoiceCloner, VoiceDesigner
from pixvox.settings import PROVIDER_ENVIRONMENT, SettingsError
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from pixvox.provider import Provider
    from pixvox.upstream import Upstream

ENTRY_POINTS = "pixvox.providers"
PACKAGE = "pixvox.providers"

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
        return self.provider.region if isinstance(self.provider, Located) else ""

    @property
    def unready(self) -> str:
        """Why calls to the provider fail at once, for the operator; empty if they do not."""
        return self.provider.unready() if isinstance(self.provider, Unready) else ""


def build(tables: Mapping[str, Mapping[str, Any]], upstream: Upstream) -> tuple[Entry, ...]:
    """Create every enabled provider, in the order of the tables.

    Args:
        tables: Of the settings, by name.
        upstream: The door to the network, which outlives the providers.

    Raises:
        SettingsError: A kind is unknown, its configuration is wrong, or a provider promises what it lacks.
    """
    return tuple(_entry(name, table, upstream) for name, table in tables.items() if table.get("enabled", True))


def has_capability(model: model_service_pb2.Model, capability: str) -> bool:
    """Tell whether a model has a verb; `capability` is one of `VERBS`."""
    return any(field.name == capability for field, _ in model.ListFields())


def _entry(name: str, table: Mapping[str, Any], upstream: Upstream) -> Entry:
    kind = table["kind"]
    module = _module(name, kind)
    own = {key: value for key, value in table.items() if key not in {"kind", "enabled"}}
    try:
        # Not strict, because what comes from the environment is text.
        config = msgspec.convert(own, type=module.Config, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"providers.{name}: {error}{_origin(kind, str(error))}") from error
    provider = module.create(config, upstream)
    models = []
    for model in provider.models():
        copy = model_service_pb2.Model()
        copy.CopyFrom(model)
        copy.provider = name
        models.append(copy)
    entry = Entry(name, kind, provider, tuple(models))
    _check_promises(entry)
    return entry


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
