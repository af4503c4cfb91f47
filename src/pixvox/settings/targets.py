"""What each target is given to do: the defaults, and what one provider or model has otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pixvox.settings.bounds import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, check_bounds
from pixvox.settings.errors import SettingsError
from pixvox.settings.tables import TargetSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pixvox.settings.tables import Settings

_BOUNDS = {
    "requests_per_minute": NOT_NEGATIVE,
    "burst": NOT_NEGATIVE,
    "max_in_flight": NOT_NEGATIVE,
    "max_queued": NOT_NEGATIVE,
    "failures": NOT_NEGATIVE,
    "error_rate": SHARE,
    "min_calls": AT_LEAST_ONE,
    "window_seconds": POSITIVE,
    "open_seconds": POSITIVE,
    "probes": AT_LEAST_ONE,
}


def target_settings(settings: Settings, provider: str, model: str) -> TargetSettings:
    """Return what holds for one model: the defaults, over them the provider's table, over both the model's own.

    Args:
        settings: That were loaded, so that their tables are known to be right.
        provider: Its configured name.
        model: Its id.
    """
    tables = (settings.targets.get(name, {}) for name in (provider, f"{provider}/{model}"))
    return msgspec.convert(_merged(settings.target_defaults, *tables), type=TargetSettings)


def check_targets(settings: Settings) -> None:
    """Check the tables of targets, but not whether there is what they are named after.

    Raises:
        SettingsError: A field is unknown or has a bad value.
    """
    check_bounds("target_defaults", settings.target_defaults, _BOUNDS)
    for name, table in settings.targets.items():
        place = f'targets."{name}"'
        try:
            converted = msgspec.convert(_merged(settings.target_defaults, table), type=TargetSettings)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{place}: {error}; allowed: {', '.join(TargetSettings.__struct_fields__)}") from error
        check_bounds(place, converted, _BOUNDS)


def _merged(defaults: TargetSettings, *tables: Mapping[str, Any]) -> dict[str, Any]:
    merged = msgspec.structs.asdict(defaults)
    for table in tables:
        merged.update(table)
    return merged
