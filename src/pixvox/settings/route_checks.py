"""Which routes make sense, as far as that is known before any provider is there."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from pixvox.settings.bounds import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, SHARE, check_bounds
from pixvox.settings.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixvox.settings.tables import (
        ConditionSettings,
        GuardSettings,
        RouteSettings,
        RouteTargetSettings,
        Settings,
        Verb,
    )

_CONDITIONS = {"min_pixels": NOT_NEGATIVE, "max_pixels": NOT_NEGATIVE}
_GUARD = {
    "calls": AT_LEAST_ONE,
    "min_calls": AT_LEAST_ONE,
    "error_rate": SHARE,
    "p95_ratio": POSITIVE,
    "first_audio_ratio": POSITIVE,
}
# The verbs whose calls have what a condition or a guard looks at.
_BEARERS: dict[str, frozenset[Verb]] = {
    "min_pixels": frozenset({"generate_image", "edit_image"}),
    "max_pixels": frozenset({"generate_image", "edit_image"}),
    "voices": frozenset({"stream_speech"}),
    "languages": frozenset({"stream_speech", "clone_voice", "design_voice"}),
    "first_audio_ratio": frozenset({"stream_speech"}),
}


def check_routes(settings: Settings) -> None:
    """Check every route but for what its targets name.

    Raises:
        SettingsError: A route cannot be used; the text says where and what is allowed.
    """
    for name, route in settings.routes.items():
        place = f"routes.{name}"
        if not name or "/" in name:
            raise SettingsError(f"{place}: {name!r} cannot be a route's name: it has to have characters, but no '/'")
        if name in settings.providers:
            raise SettingsError(f"{place}: {name!r} is a provider's name; a route needs one of its own")
        _check_route(place, route)


def verbs_of(route: RouteSettings, target: RouteTargetSettings) -> tuple[Verb, ...]:
    """Return the verbs of the route for which a target is there."""
    return tuple(verb for verb in route.verbs if not target.when.verbs or verb in target.when.verbs)


def runs(route: RouteSettings) -> Iterator[range]:
    """Return the places of targets with weights that stand directly beside each other, a range for each run."""
    places = range(len(route.targets))
    for weighted, run in itertools.groupby(places, key=lambda place: route.targets[place].weight is not None):
        if weighted:
            first, *others = run
            yield range(first, first + 1 + len(others))


def _check_route(place: str, route: RouteSettings) -> None:
    if not route.verbs:
        raise SettingsError(f"{place}.verbs: is empty; name at least one verb")
    if not route.targets:
        raise SettingsError(f"{place}.targets: is empty; name at least one target")
    kind, colon, key = route.sticky.partition(":")
    if route.sticky not in {"", "caller"} and not (kind == "label" and colon and key):
        raise SettingsError(f'{place}.sticky: {route.sticky!r} is not "caller", "label:KEY" or ""')
    for number, target in enumerate(route.targets):
        _check_target(f"{place}.targets[{number}]", route, target)
    for verb in route.verbs:
        if not any(verb in verbs_of(route, target) for target in route.targets):
            raise SettingsError(f"{place}.verbs: {verb!r} has no target; every target's when.verbs leaves it out")
    for run in runs(route):
        _check_run(place, route, run)


def _check_target(place: str, route: RouteSettings, target: RouteTargetSettings) -> None:
    check_bounds(place, target, {"weight": NOT_NEGATIVE})
    _check_conditions(f"{place}.when", route, target)
    if target.guard is not None:
        if target.weight is None:
            raise SettingsError(f"{place}.guard: takes a weight away, and the target has none; give it a weight")
        _check_guard(f"{place}.guard", target.guard)
        _check_bearers(f"{place}.guard", target.guard, verbs_of(route, target))


def _check_conditions(place: str, route: RouteSettings, target: RouteTargetSettings) -> None:
    when = target.when
    check_bounds(place, when, _CONDITIONS)
    for verb in when.verbs:
        if verb not in route.verbs:
            raise SettingsError(f"{place}.verbs: {verb!r} is no verb of the route; allowed: {', '.join(route.verbs)}")
    if 0 < when.max_pixels < when.min_pixels:
        raise SettingsError(f"{place}.max_pixels: {when.max_pixels} is less than min_pixels, {when.min_pixels}")
    for key, values in when.labels.items():
        if not values:
            raise SettingsError(f'{place}.labels.{key}: is empty; name at least one value, or "*" for any')
    _check_bearers(place, when, verbs_of(route, target))


def _check_bearers(place: str, table: ConditionSettings | GuardSettings, verbs: tuple[Verb, ...]) -> None:
    """Refuse what looks at something that no call of the target's verbs has."""
    for field, bearers in _BEARERS.items():
        if getattr(table, field, None) and not bearers.intersection(verbs):
            raise SettingsError(
                f"{place}.{field}: no call has it here: the target takes {', '.join(verbs)}; only calls of "
                f"{', '.join(sorted(bearers))} have it"
            )


def _check_guard(place: str, guard: GuardSettings) -> None:
    check_bounds(place, guard, _GUARD)
    if guard.min_calls > guard.calls:
        raise SettingsError(f"{place}.min_calls: {guard.min_calls} is more than calls, {guard.calls}")


def _check_run(place: str, route: RouteSettings, run: range) -> None:
    for verb in route.verbs:
        there = [number for number in run if verb in verbs_of(route, route.targets[number])]
        if there and not any(route.targets[number].weight for number in there):
            raise SettingsError(
                f"{place}.targets[{there[0]}].weight: the weights beside each other are all 0 for {verb}; give one of "
                "them more than 0, or take the targets out"
            )
        if len(there) == 1 and route.targets[there[0]].guard is not None:
            raise SettingsError(
                f"{place}.targets[{there[0]}].guard: there is no other target with a weight directly beside it for {verb}, "
                "with which it could be compared; add one, or take the guard out"
            )
