"""Which values the settings may have, as far as that is known before any provider is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

from pixvox.settings.bounds import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, check_bounds
from pixvox.settings.errors import SettingsError
from pixvox.settings.route_checks import check_routes
from pixvox.settings.tables import Verb
from pixvox.settings.targets import check_targets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pixvox.settings.tables import ServerSettings, Settings

_SERVER = {"workers": AT_LEAST_ONE, "grace_seconds": NOT_NEGATIVE, "watch_seconds": NOT_NEGATIVE}
_IDEMPOTENCY = {
    "retention_seconds": POSITIVE,
    "max_answer_bytes": NOT_NEGATIVE,
    "lease_seconds": POSITIVE,
    "linger_seconds": NOT_NEGATIVE,
}
_TELEMETRY = {"sampler_ratio": SHARE, "slow_seconds": NOT_NEGATIVE}
# What gRPC takes for a key of metadata; one that ends in -bin would have a value that is no text.
# Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_METADATA_KEY = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")


def check(settings: Settings) -> None:
    """Check everything that the types do not say.

    Raises:
        SettingsError: A value cannot be used.
    """
    _check_server(settings.server)
    for key in settings.deadlines.__struct_fields__:
        if getattr(settings.deadlines, key) <= 0:
            raise SettingsError(f"deadlines.{key}: has to be more than 0 seconds")
    check_bounds("log", settings.log, {"sample": SHARE})
    check_bounds("telemetry", settings.telemetry, _TELEMETRY)
    check_bounds("idempotency", settings.idempotency, _IDEMPOTENCY)
    for name, table in settings.providers.items():
        _check_provider(name, table)
    check_targets(settings)
    check_routes(settings)


def address(text: str, name: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        SettingsError: It is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{name}: {text!r} is not HOST:PORT, for example 127.0.0.1:50051")
    return host.strip("[]"), int(port)


def _check_server(server: ServerSettings) -> None:
    address(server.listen, "server.listen")
    for name in ("http", "admin"):
        if text := getattr(server, name):
            address(text, f"server.{name}")
    check_bounds("server", server, _SERVER)
    key = server.caller_metadata
    if key and not _METADATA_KEY.fullmatch(key):
        raise SettingsError(
            f"server.caller_metadata: {key!r} is no key of gRPC metadata; allowed are lower-case letters, digits, '_', '-' "
            "and '.', and neither 'grpc-' at its beginning nor '-bin' at its end"
        )


def _check_provider(name: str, table: Mapping[str, Any]) -> None:
    place = f"providers.{name}"
    if not name or "/" in name:
        raise SettingsError(f"{place}: {name!r} cannot be a provider's name: it has to have characters, but no '/'")
    if not isinstance(table.get("kind"), str):
        raise SettingsError(f'{place}: kind is missing, for example kind = "sandbox"')
    if not isinstance(table.get("enabled", True), bool):
        raise SettingsError(f"{place}.enabled: {table['enabled']!r} is not true or false")
    verbs = table.get("switched_off", [])
    if not isinstance(verbs, list | tuple):
        raise SettingsError(f"{place}.switched_off: {verbs!r} is not a list of verbs")
    for verb in verbs:
        if verb not in get_args(Verb):
            raise SettingsError(f"{place}.switched_off: {verb!r} is no verb; allowed: {', '.join(get_args(Verb))}")
