"""The service's settings: a TOML file, the environment and the command line, read here and nowhere else.

Later sources win: defaults, then the file, then the environment, then what the command line gives.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pixvox.settings.checks import address, check
from pixvox.settings.environment import ENVIRONMENT, PROVIDER_ENVIRONMENT, with_environment, with_value
from pixvox.settings.errors import SettingsError
from pixvox.settings.open_telemetry import with_open_telemetry
from pixvox.settings.tables import (
    ConditionSettings,
    DatabaseSettings,
    DeadlineSettings,
    FetchSettings,
    GuardSettings,
    IdempotencySettings,
    InputSettings,
    LogSettings,
    PriceSettings,
    RouteSettings,
    RouteTargetSettings,
    ServerSettings,
    Settings,
    TargetSettings,
    TelemetrySettings,
    Verb,
)
from pixvox.settings.targets import target_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENVIRONMENT",
    "PROVIDER_ENVIRONMENT",
    "ConditionSettings",
    "DatabaseSettings",
    "DeadlineSettings",
    "FetchSettings",
    "GuardSettings",
    "IdempotencySettings",
    "InputSettings",
    "LogSettings",
    "PriceSettings",
    "RouteSettings",
    "RouteTargetSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "TargetSettings",
    "TelemetrySettings",
    "Verb",
    "address",
    "file_of",
    "load",
    "target_settings",
]

DEFAULT_FILE = Path("pixvox.toml")


def load(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings.

    Args:
        path: The file. None takes `$PIXVOX_CONFIG`, else `pixvox.toml` of the working directory if there is one.
        overrides: Dotted names such as `server.listen` to values; None values are left out.
        environment: Instead of the process's own, for tests.

    Raises:
        SettingsError: A source cannot be read or holds a bad value.
    """
    environment = os.environ if environment is None else environment
    path = file_of(path, environment)
    settings = with_environment(_from_file(path), environment, appear=path is None)
    settings = with_open_telemetry(settings, environment)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            settings = with_value(settings, dotted, value, source=dotted)
    check(settings)
    return settings


def file_of(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file that `load` reads with the same arguments, None if it reads none."""
    environment = os.environ if environment is None else environment
    if path is None and (named := environment.get("PIXVOX_CONFIG")):
        return Path(named)
    if path is None and DEFAULT_FILE.is_file():
        return DEFAULT_FILE
    return path


def _from_file(path: Path | None) -> Settings:
    if path is None:
        return Settings()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
