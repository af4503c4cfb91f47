"""How routes, their targets and the state of these are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pixvox.v1.model_service_pb2 import Verb

_BREAKERS = {
    model_service_pb2.BREAKER_STATE_OPEN: "circuit open",
    model_service_pb2.BREAKER_STATE_HALF_OPEN: "circuit half-open",
}
_WARMTHS = {
    model_service_pb2.WARMTH_WARM: "warm",
    model_service_pb2.WARMTH_STARTING: "starting",
    model_service_pb2.WARMTH_COLD: "cold",
}


def routes_table(routes: Iterable[model_service_pb2.Route], names: Mapping[str, Verb.ValueType]) -> Table:
    """Return a row for each target of each route.

    Args:
        routes: Of ListProviders.
        names: Of the verbs.
    """
    table = Table("Route", "Can (* by default)", "Target", "When", "Weight", "State", box=None, pad_edge=False)
    for route in routes:
        can = verbs_text(route.verbs, names, default=route.default_verbs)
        for target in route.targets:
            table.add_row(
                route.name,
                can,
                f"{target.provider}/{target.model}" if target.model else target.provider,
                target.conditions,
                _weight(target),
                "; ".join(_states(target)),
            )
    return table


def verbs_text(
    verbs: Iterable[Verb.ValueType],
    names: Mapping[str, Verb.ValueType],
    *,
    default: Iterable[Verb.ValueType] = (),
    off: Iterable[Verb.ValueType] = (),
) -> str:
    """Return the names of verbs, with `*` at those that are served by default, and `(off)` at those that are switched off."""
    defaults, offs = set(default), set(off)
    named = {number: name for name, number in names.items()}
    return ", ".join(
        f"{named.get(verb, str(verb))}{'*' if verb in defaults else ''}{' (off)' if verb in offs else ''}"
        for verb in verbs
    )


def _weight(target: model_service_pb2.RouteTarget) -> str:
    if not target.HasField("weight"):
        return ""
    now, configured = target.weight, target.configured_weight
    return f"{now:g}" if now == configured else f"{now:g} instead of {configured:g}"


def _states(target: model_service_pb2.RouteTarget) -> Iterator[str]:
    if target.rolled_back_reason:
        yield f"rolled back {target.rolled_back_time.ToDatetime():%Y-%m-%d %H:%M} UTC: {target.rolled_back_reason}"
    if not target.HasField("health"):
        yield "switched off"
        return
    health = target.health
    if health.breaker in _BREAKERS:
        why = f" ({health.breaker_reason})" if health.breaker_reason else ""
        yield f"{_BREAKERS[health.breaker]}{why}"
    if health.HasField("retry_delay"):
        yield f"again in {health.retry_delay.ToTimedelta().total_seconds():.1f} s"
    most = f" of {health.max_in_flight}" if health.max_in_flight else ""
    yield f"{health.in_flight}{most} in flight"
    if health.queued:
        yield f"{health.queued} of {health.max_queued} waiting"
    if health.requests_per_minute:
        yield f"{health.requests_per_minute:g} per minute"
    if health.warmth in _WARMTHS:
        yield _WARMTHS[health.warmth]
