"""Providers and models by their names, and what the operator has switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.errors import ModelNotFoundError, ProviderNotFoundError, SwitchedOffError, UnsupportedError, Violation
from pixvox.registry import has_capability

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pixvox.registry import Entry
    from pixvox.settings import Settings, Verb
    from pixvox.v1 import model_service_pb2

MAX_NAMED = 20


class Catalogue:
    """Everything that is configured, by name."""

    def __init__(self, entries: Sequence[Entry], settings: Settings) -> None:
        self.entries = tuple(entries)
        self._by_name = {entry.name: entry for entry in entries}
        self._off = {name for name, table in settings.providers.items() if not table.get("enabled", True)}

    def entry(self, provider: str, prefix: str = "") -> Entry:
        """Return the provider of that name.

        Raises:
            ProviderNotFoundError: There is none.
            SwitchedOffError: The operator has switched it off.
        """
        found = self._by_name.get(provider)
        if found is not None:
            return found
        if provider in self._off:
            raise SwitchedOffError(f"Provider {provider} is switched off.", metadata={"provider": provider})
        raise ProviderNotFoundError(
            "No provider of that name is configured; ListProviders lists them.",
            Violation(f"{prefix}provider", f"allowed: {_joined(self._by_name)}"),
            metadata={"provider": provider},
        )

    def find(self, model: str, provider: str = "", prefix: str = "") -> tuple[Entry, model_service_pb2.Model]:
        """Return the model of that id or alias; without a provider, that of the first one that has it.

        Raises:
            ProviderNotFoundError: There is no such provider.
            ModelNotFoundError: There is no such model.
            SwitchedOffError: The provider is switched off.
        """
        entries = (self.entry(provider, prefix),) if provider else self.entries
        for entry, one in _pairs(entries):
            if model == one.id or model in one.aliases:
                return entry, one
        raise ModelNotFoundError(
            "There is no such model; ListModels lists them.",
            Violation(f"{prefix}model", f"allowed: {_joined(one.id for _, one in _pairs(entries))}"),
            metadata={"model": model, "provider": provider},
            resource=("pixvox.v1.Model", model),
        )

    def able(
        self, verb: Verb, model: str, provider: str = "", prefix: str = ""
    ) -> tuple[Entry, model_service_pb2.Model]:
        """Return the model of that id or alias, which has the verb.

        Raises:
            UnsupportedError: It lacks the verb.
            PixvoxError: As of `find`.
        """
        entry, found = self.find(model, provider, prefix)
        if not has_capability(found, verb):
            raise self._lacking(verb, f"{prefix}model", f"{found.id} of {entry.name}")
        return entry, found

    def first_of(self, verb: Verb, provider: str, prefix: str = "") -> tuple[Entry, model_service_pb2.Model]:
        """Return the first model of a provider that has the verb.

        Raises:
            UnsupportedError: None has.
            PixvoxError: As of `entry`.
        """
        entry = self.entry(provider, prefix)
        found = self.first(verb, (entry,))
        if found is None:
            raise self._lacking(verb, f"{prefix}provider", entry.name)
        return found

    def first(self, verb: Verb, entries: Iterable[Entry] | None = None) -> tuple[Entry, model_service_pb2.Model] | None:
        """Return the first model that has the verb, None if none has."""
        pairs = _pairs(self.entries if entries is None else entries)
        return next(((entry, model) for entry, model in pairs if has_capability(model, verb)), None)

    def _lacking(self, verb: Verb, path: str, what: str) -> UnsupportedError:
        able = (model.id for _, model in _pairs(self.entries) if has_capability(model, verb))
        return UnsupportedError(f"{what} cannot do {verb}.", Violation(path, f"allowed: {_joined(able) or 'none'}"))


def _pairs(entries: Iterable[Entry]) -> Iterator[tuple[Entry, model_service_pb2.Model]]:
    return ((entry, model) for entry in entries for model in entry.models)


def _joined(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:MAX_NAMED]) + (", …" if len(listed) > MAX_NAMED else "")
