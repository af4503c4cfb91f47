"""Which values of the settings are secrets, and what is shown in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MASK = "***"

_WORDS = frozenset(
    {
        "apikey",
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "credential",
        "credentials",
        "key",
        "keys",
        "passphrase",
        "passwd",
        "password",
        "pat",
        "secret",
        "secrets",
        "sig",
        "signature",
        "token",
        "tokens",
    }
)
_ENDINGS = ("apikey", "password", "passwd", "secret", "token")
# Such a name is that of the place where the secret is.
_PLACES = frozenset({"env", "file", "path"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
# A password with a slash in it ends the host for a strict reader, and begins like a port that is no number.
_LOOSE_USER = re.compile(r"(?<=://)[^/?#\s:@]*:(?!\d+(?:[/?#]|$)).*@")
_QUERY = re.compile(r"([?&;])([^=&;#]+)=([^&;#]*)")


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that is not to be seen; two are equal if the values are.

    Attributes:
        value: Itself.
        shown: In its place.
    """

    value: object
    shown: str = MASK

    def __repr__(self) -> str:
        """Return what is shown."""
        return self.shown


def veiled(tree: Mapping[str, object]) -> dict[str, object]:
    """Return settings as nested tables, with each secret in a `Secret`.

    Secrets are recognised by the names of keys in the providers' tables, and anywhere by the user in an address.

    Args:
        tree: The tables of the settings by name.
    """
    found = {name: _without_users(table) for name, table in tree.items() if name != "providers"}
    providers = tree.get("providers")
    if isinstance(providers, Mapping):
        found["providers"] = {name: _veiled(table) for name, table in providers.items()}
    database = found.get("database")
    if isinstance(database, dict) and isinstance(url := tree["database"], Mapping):
        database |= {key: _database(value) for key, value in url.items() if key == "url"}
    return {name: found[name] for name in tree}


def shown(tree: object) -> object:
    """Return nested tables with what is shown in place of every secret."""
    if isinstance(tree, Secret):
        return tree.shown
    if isinstance(tree, Mapping):
        return {key: shown(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [shown(value) for value in tree]
    return tree


def is_secret(name: str) -> bool:
    """Tell whether a key, header or parameter of that name holds a secret."""
    words = re.split(r"[^a-z0-9]+", _CAMEL.sub("_", name).lower())
    if words[-1] in _PLACES:
        return False
    return not _WORDS.isdisjoint(words) or name.lower().endswith(_ENDINGS)


def _veiled(value: object) -> object:
    """Veil by names, too."""
    if isinstance(value, Mapping):
        return {key: Secret(one) if is_secret(key) and _is_text(one) else _veiled(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_veiled(one) for one in value]
    return _without_users(value)


def _is_text(value: object) -> bool:
    """Tell whether a value is, or holds, a text: a key is never a number, and an empty one is none."""
    if isinstance(value, Mapping):
        return any(_is_text(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(_is_text(one) for one in value)
    return isinstance(value, str) and bool(value)


def _without_users(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_users(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_users(one) for one in value]
    if isinstance(value, str) and "://" in value:
        pattern = _USER if _USER.search(value) else _LOOSE_USER
        text = _QUERY.sub(_parameter, pattern.sub(f"{MASK}@", value))
        return Secret(value, text) if text != value else value
    return value


def _parameter(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    return f"{mark}{name}={MASK if value and is_secret(name) else value}"


def _database(value: object) -> object:
    """Veil the user and the options of a database's address, whatever is in them."""
    if not isinstance(value, str) or value.startswith("sqlite"):
        return value
    scheme, _, rest = value.partition("://")
    user, at, place = rest.rpartition("@")
    place = place.partition("?")[0]
    text = f"{scheme}://{MASK if user else ''}{at}{place}"
    return Secret(value, text) if text != value else value
