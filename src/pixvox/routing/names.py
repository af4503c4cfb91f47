"""What PROVIDER and PROVIDER/MODEL of the settings name, when the service starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.registry import Entry, has_capability
from pixvox.settings import SettingsError
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pixvox.settings import Settings, Verb

MAX_NAMED = 20


class Names:
    """Providers and models by their names in the settings.

    A provider that is switched off is known by its table alone: it passes for having every model and every verb.
    """

    def __init__(self, settings: Settings, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self._by_name = {entry.name: entry for entry in entries}
        self._off = {
            name: Entry(name, table["kind"], _SwitchedOff(), ())
            for name, table in settings.providers.items()
            if name not in self._by_name and not table.get("enabled", True)
        }

    def knows(self, provider: str) -> bool:
        """Tell whether there is a provider of that name, switched on or off."""
        return provider in self._by_name or provider in self._off

    def able(self, text: str, verb: Verb, place: str) -> tuple[Entry, model_service_pb2.Model]:
        """Return what a target or a default names, which has the verb.

        Args:
            text: PROVIDER/MODEL, where MODEL is an id or an alias, or PROVIDER for its first model that has the verb.
            verb: That it has to have.
            place: Where in the settings the text stands, for the error.

        Raises:
            SettingsError: There is no such provider or model, or it lacks the verb.
        """
        provider, slash, model = text.partition("/")
        entry = self.entry(provider, f"{place}: {text!r}")
        if provider in self._off:
            return entry, model_service_pb2.Model(id=model, provider=provider)
        if not slash:
            found = self.first(verb, (entry,))
        else:
            named = self.model(entry, model, f"{place}: {text!r}")
            found = (entry, named) if has_capability(named, verb) else None
        if found is None:
            raise SettingsError(f"{place}: {text!r} cannot do {verb}; {self._those_that_can(verb)}")
        return found

    def preferred(self, provider: str, verb: Verb, place: str) -> tuple[Entry, model_service_pb2.Model] | None:
        """Return a provider's first model that has the verb, else the first one of all, None if there is none.

        A provider that is switched off is preferred all the same, so that it is missed where it would have served.

        Raises:
            SettingsError: There is no such provider.
        """
        entry = self.entry(provider, place)
        if provider in self._off:
            return entry, model_service_pb2.Model(provider=provider)
        return self.first(verb, (entry,)) or self.first(verb)

    def entry(self, provider: str, place: str) -> Entry:
        """Return the provider of that name; one that is switched off has no models.

        Raises:
            SettingsError: There is none.
        """
        found = self._by_name.get(provider) or self._off.get(provider)
        if found is None:
            names = [*self._by_name, *self._off]
            raise SettingsError(f"{place}: there is no provider {provider!r}; there are: {_joined(names)}")
        return found

    def model(self, entry: Entry, name: str, place: str) -> model_service_pb2.Model:
        """Return the model of that id or alias.

        Raises:
            SettingsError: There is none.
        """
        for model in entry.models:
            if name == model.id or name in model.aliases:
                return model
        ids = _joined(model.id for model in entry.models)
        raise SettingsError(f"{place}: {entry.name} has no model {name!r}; it has: {ids}")

    def first(self, verb: Verb, entries: Iterable[Entry] | None = None) -> tuple[Entry, model_service_pb2.Model] | None:
        """Return the first model that has the verb, None if none has."""
        for entry in self.entries if entries is None else entries:
            for model in entry.models:
                if has_capability(model, verb):
                    return entry, model
        return None

    def _those_that_can(self, verb: Verb) -> str:
        able = [
            f"{entry.name}/{model.id}"
            for entry in self.entries
            for model in entry.models
            if has_capability(model, verb)
        ]
        return f"these can: {_joined(able)}" if able else "nothing that is configured can"


class _SwitchedOff:
    """Stands for a provider that was not made."""

    def models(self) -> Sequence[model_service_pb2.Model]:
        return ()

    async def aclose(self) -> None: ...


def _joined(names: Iterable[str]) -> str:
    listed = list(names)
    return (", ".join(listed[:MAX_NAMED]) or "none") + (", …" if len(listed) > MAX_NAMED else "")
