"""Routes: names for requests' `model`, and the targets behind them in the order in which a call tries them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pixvox.errors import NoProviderError, SwitchedOffError, UnsupportedError, Violation
from pixvox.routing.candidates import Candidate, Finding, TargetKey
from pixvox.routing.conditions import conditions_text, unmet
from pixvox.routing.draws import drawn, stuck
from pixvox.routing.names import Names
from pixvox.settings import SettingsError
from pixvox.settings.route_checks import check_routes, runs, verbs_of
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pixvox.registry import Entry
    from pixvox.routing.candidates import CallFacts
    from pixvox.settings import (
        ConditionSettings,
        GuardSettings,
        RouteSettings,
        RouteTargetSettings,
        Settings,
        Verb,
    )
    from pixvox.v1.model_service_pb2 import RouteCheck

__all__ = ["Route", "RouteTarget", "compiled", "conditions_text", "default_of", "group_of", "switched_off"]

# Says of a default that another provider may take the verb if this one lacks it.
WHERE_IT_CAN = "?"


@dataclass(frozen=True, slots=True, eq=False)
class RouteTarget:
    """One target of a route, for one of its verbs. Equal to itself alone.

    Attributes:
        key: Its name. Of a provider that is switched off the model is not known if the settings do not say it.
        entry: The provider.
        model: One of its models.
        when: Which calls it takes.
        weight: As configured, None if it has none.
        guard: May take the weight away, None if nothing does.
        settings: As configured.
        off: Why it is switched off, empty if it is not.
        place: In the route's targets, from 0.
        run: Which targets have weights directly beside it: those with the same number; None without a weight.
        mark: By which a sticky draw knows it. It says nothing of the model if the settings do not, so that a caller is
            drawn to the same provider for every verb.
    """

    key: TargetKey
    entry: Entry
    model: model_service_pb2.Model
    when: ConditionSettings
    weight: float | None
    guard: GuardSettings | None
    settings: RouteTargetSettings
    off: str
    place: int = 0
    run: int | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A name for requests' `model`.

    Attributes:
        name: In the settings.
        verbs: That it serves.
        targets: By verb, in the configuration's order, without those whose `when.verbs` leaves the verb out.
        sticky: What a draw by weight follows: `caller`, `label:KEY`, or empty.
        cold: Whether warm targets come before cold ones.
        overflow: Whether a call goes on to the next target when one could not begin it at once.
        single_flight: Whether identical calls that are in flight together share one.
    """

    name: str
    verbs: tuple[Verb, ...]
    targets: Mapping[Verb, tuple[RouteTarget, ...]]
    sticky: str = ""
    cold: Literal["ALLOW_COLD", "PREFER_WARM"] = "ALLOW_COLD"
    overflow: bool = True
    single_flight: bool = False

    @property
    def listed(self) -> tuple[RouteTarget, ...]:
        """Each target once, in the configuration's order: one that has another model for another verb, once for each."""
        once = {(target.place, target.key): target for targets in self.targets.values() for target in targets}
        return tuple(sorted(once.values(), key=lambda target: target.place))

    def candidates(
        self,
        facts: CallFacts,
        weight_of: Callable[[RouteTarget], float],
        draw: Callable[[], float] = random.random,
    ) -> list[Candidate]:
        """Return every target of the call's verb in the order in which the call would try them, the unfit ones included.

        Of targets with weights that stand directly beside each other one is drawn to go first. Those that are switched off,
        have no weight now or do not take the call are not drawn.

        Args:
            facts: Of the call.
            weight_of: Gives the weight of a target that is in force; is asked for those alone that have one.
            draw: Gives a number from 0 to below 1.
        """
        ordered: list[Candidate] = []
        key = self._sticky_key(facts)
        for run, targets in itertools.groupby(self.targets.get(facts.verb, ()), key=lambda target: target.run):
            if run is None:
                ordered += [self._considered(target, facts) for target in targets]
            else:
                weighed = [(self._considered(target, facts), target, weight_of(target)) for target in targets]
                ordered += self._drawn(weighed, key, draw)
        return ordered

    def _sticky_key(self, facts: CallFacts) -> str:
        if self.sticky == "caller":
            return facts.caller
        return facts.labels.get(self.sticky.removeprefix("label:"), "") if self.sticky else ""

    def _considered(self, target: RouteTarget, facts: CallFacts) -> Candidate:
        return Candidate(target.entry, target.model, target, [self._condition(target, facts), _switch(target, facts)])

    def _condition(self, target: RouteTarget, facts: CallFacts) -> Finding:
        check = model_service_pb2.ROUTE_CHECK_CONDITION
        failed = unmet(target.when, facts)
        if not failed:
            text = conditions_text(target.when)
            return Finding(check, f"the call meets {text}" if text else "the target takes every call")
        error = UnsupportedError(
            f"No target of route {self.name} takes this call; ExplainRoute tells why.",
            Violation("model", f"route {self.name}: {target.key} {failed[0]}"),
            metadata={"route": self.name},
        )
        return Finding(check, "; ".join(failed), error)

    def _drawn(
        self, weighed: list[tuple[Candidate, RouteTarget, float]], key: str, draw: Callable[[], float]
    ) -> list[Candidate]:
        """Return the candidates of a run, the drawn one first."""
        fit = [
            (candidate, target, weight) for candidate, target, weight in weighed if weight > 0 and not candidate.error
        ]
        first = None
        if key and fit:
            mark = stuck({target.mark: weight for _, target, weight in fit}, f"{self.name}\0{key}")
            first = next(candidate for candidate, target, _ in fit if target.mark == mark)
        elif fit:
            first = fit[drawn([weight for _, _, weight in fit], draw)][0]
        total = sum(weight for _, _, weight in fit)
        for candidate, target, weight in weighed:
            candidate.findings.append(self._weight(target, weight, total, first=candidate is first))
        others = (candidate for candidate, _, _ in weighed if candidate is not first)
        return [*others] if first is None else [first, *others]

    def _weight(self, target: RouteTarget, weight: float, total: float, *, first: bool) -> Finding:
        check = model_service_pb2.ROUTE_CHECK_WEIGHT
        if weight > 0:
            way = f"drawn to be tried first, by weight {weight:g} of {total:g}" if first else f"has weight {weight:g}"
            return Finding(check, way)
        text = "has weight 0"
        if target.weight:
            text = f"has weight 0 instead of its configured {target.weight:g}: it was rolled back"
        error = NoProviderError(
            f"No target of route {self.name} has a weight that lets it take calls; ExplainRoute tells why.",
            metadata={"route": self.name, "provider": target.key.provider, "model": target.key.model},
        )
        return Finding(check, text, error)


def compiled(settings: Settings, entries: Sequence[Entry]) -> dict[str, Route]:
    """Return the routes of the settings by their names, and check them and the names in `targets`.

    Args:
        settings: With routes, and with the tables of all providers, also of those that are switched off.
        entries: The providers that are switched on.

    Raises:
        SettingsError: A route cannot be used, or names a provider, model or capability that is not there.
    """
    check_routes(settings)
    names = Names(settings, entries)
    _check_target_names(settings, names)
    return {name: _route(name, route, settings, names) for name, route in settings.routes.items()}


def default_of(
    verb: Verb, settings: Settings, routes: Mapping[str, Route], entries: Sequence[Entry]
) -> Route | tuple[Entry, model_service_pb2.Model] | None:
    """Return what `settings.defaults` names for a verb: a route, or a provider and its model; None if nothing can.

    ROUTE, PROVIDER/MODEL, or PROVIDER for its first model that has the verb. ``PROVIDER?`` means that provider where it has
    the verb, else the first one that has.

    Args:
        verb: Has a default.
        settings: With that default.
        routes: As of `compiled`.
        entries: The providers that are switched on.

    Raises:
        SettingsError: The default names nothing, or what lacks the verb.
    """
    text, place = settings.defaults[verb], f"defaults.{verb}"
    names = Names(settings, entries)
    if (route := routes.get(text)) is not None:
        if verb not in route.verbs:
            raise SettingsError(f"{place}: route {text!r} serves {', '.join(route.verbs)} alone")
        return route
    provider, wish, rest = text.partition(WHERE_IT_CAN)
    if wish and not rest and not names.knows(text):
        return names.preferred(provider, verb, f"{place}: {text!r}")
    if "/" not in text and not names.knows(text):
        known = ", ".join([*routes, *(entry.name for entry in entries)])
        raise SettingsError(f"{place}: there is no route or provider {text!r}; there are: {known or 'none'}")
    return names.able(text, verb, place)


def switched_off(settings: Settings, provider: str, verb: Verb) -> str:
    """Return why a provider may not serve a verb, empty if it may."""
    table = settings.providers.get(provider, {})
    if not settings.switches.get(verb, True):
        return f"{verb} is switched off"
    if not table.get("enabled", True):
        return f"Provider {provider} is switched off"
    if verb in table.get("switched_off", ()):
        return f"Provider {provider} is switched off for {verb}"
    return ""


def group_of(route: Route, target: RouteTarget) -> tuple[RouteTarget, ...]:
    """Return the targets with which one shares its calls by weight, itself included; none if it has no weight."""
    for targets in route.targets.values():
        if target.run is not None and target in targets:
            return tuple(one for one in targets if one.run == target.run)
    return ()


def _switch(target: RouteTarget, facts: CallFacts) -> Finding:
    check: RouteCheck.ValueType = model_service_pb2.ROUTE_CHECK_SWITCH
    if not target.off:
        return Finding(check, "is switched on")
    error = SwitchedOffError(f"{target.off}.", metadata={"provider": target.key.provider, "capability": facts.verb})
    return Finding(check, target.off, error)


def _route(name: str, route: RouteSettings, settings: Settings, names: Names) -> Route:
    targets = {verb: tuple(_targets(name, route, verb, settings, names)) for verb in route.verbs}
    return Route(name, tuple(targets), targets, route.sticky, route.cold, route.overflow, route.single_flight)


def _targets(name: str, route: RouteSettings, verb: Verb, settings: Settings, names: Names) -> Iterator[RouteTarget]:
    run_of = {place: number for number, run in enumerate(runs(route)) for place in run}
    same: Counter[tuple[int | None, str]] = Counter()
    for place, target in enumerate(route.targets):
        if verb not in verbs_of(route, target):
            continue
        run = run_of.get(place)
        same[run, target.to] += 1
        entry, model = names.able(target.to, verb, f"routes.{name}.targets[{place}].to")
        yield RouteTarget(
            key=TargetKey(entry.name, model.id),
            entry=entry,
            model=model,
            when=target.when,
            weight=target.weight,
            guard=target.guard,
            settings=target,
            off=switched_off(settings, entry.name, verb),
            place=place,
            run=run,
            mark=f"{target.to}#{same[run, target.to]}",
        )


def _check_target_names(settings: Settings, names: Names) -> None:
    for name in settings.targets:
        provider, slash, model = name.partition("/")
        place = f'targets."{name}"'
        entry = names.entry(provider, place)
        if slash and entry.models:
            found = names.model(entry, model, place)
            if found.id != model:
                raise SettingsError(f"{place}: {model!r} is an alias; name the model by its id, {found.id!r}")
