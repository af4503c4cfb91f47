"""What routing would do with a call, and how its targets are, as messages for `ModelService`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox import telemetry
from pixvox.errors import CircuitOpenError, OverloadedError
from pixvox.provider import Warmable, Warmth
from pixvox.registry import VERBS
from pixvox.routing.candidates import Finding, TargetKey
from pixvox.routing.plans import warmth
from pixvox.routing.routes import conditions_text
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixvox.errors import NotSentError, PixvoxError
    from pixvox.prices import PriceTable
    from pixvox.registry import Entry
    from pixvox.routing.candidates import Candidate
    from pixvox.routing.plans import Plan
    from pixvox.routing.router import Router
    from pixvox.routing.routes import Route, RouteTarget
    from pixvox.routing.states import TargetStates

_WARMTH = {
    Warmth.WARM: model_service_pb2.WARMTH_WARM,
    Warmth.STARTING: model_service_pb2.WARMTH_STARTING,
    Warmth.COLD: model_service_pb2.WARMTH_COLD,
}


def explained(plan: Plan, usage: media_pb2.Usage, deadline: float) -> model_service_pb2.ExplainRouteResponse:
    """Return what would become of a call of the current call's caller.

    The first eligible candidate is the one that would serve it, as far as the service can know without asking anybody.

    Args:
        plan: Of the call, checked or not.
        usage: That the call is expected to have, for its cost.
        deadline: Of the call by `time.monotonic`, infinite if it has none.
    """
    answer = model_service_pb2.ExplainRouteResponse(route=plan.route.name if plan.route is not None else "")
    moments = {one.key: _moment(one, plan, deadline) for one in plan.candidates}
    turns = iter(_turns(plan, moments))
    for place in plan.candidates:
        candidate = next(turns) if place.error is None else place
        answer.candidates.append(_candidate(candidate, moments[candidate.key], plan, usage))
    if not any(one.eligible for one in answer.candidates):
        error = _error(plan, moments)
        answer.error_reason, answer.error_message = error.reason, error.message
    return answer


def health_of(entry: Entry, model: str, states: TargetStates) -> model_service_pb2.TargetHealth:
    """Return how a target is."""
    health = states.health(TargetKey(entry.name, model)).status()
    if isinstance(entry.provider, Warmable):
        health.warmth = _WARMTH[entry.provider.warmth()]
    return health


def route_message(route: Route, router: Router) -> model_service_pb2.Route:
    """Return a route with the weights that are in force and the health of its targets."""
    return model_service_pb2.Route(
        name=route.name,
        verbs=[VERBS[verb][0] for verb in route.verbs],
        default_verbs=[VERBS[verb][0] for verb in route.verbs if router.default(verb) is route],
        targets=[_target(route, target, router.states) for target in route.listed],
    )


@dataclass(frozen=True, slots=True)
class _Moment:
    """How a target is towards one call, which may be otherwise in a moment.

    Attributes:
        breaker: State of its circuit.
        refusal: What the call would get from it, None if it would begin or wait.
        at_once: Whether the call would begin at once.
        wait: Seconds until it could begin, 0 if nobody knows.
    """

    breaker: model_service_pb2.BreakerState.ValueType
    refusal: NotSentError | None
    at_once: bool
    wait: float


def _moment(candidate: Candidate, plan: Plan, deadline: float) -> _Moment:
    caller = telemetry.current_call().caller
    health = plan.states.health(candidate.key)
    return _Moment(
        breaker=health.status().breaker,
        refusal=health.refusal(caller, deadline=deadline, cost=plan.cost),
        at_once=health.begins_at_once(),
        wait=health.expected_wait(caller),
    )


def _turns(plan: Plan, moments: Mapping[TargetKey, _Moment]) -> list[Candidate]:
    """Return the candidates that may be tried in the order in which the call would come to wait for them.

    Where a call of the route waits for nobody while another target could begin it, those that could come first. Those that
    would refuse it stay where they stand.
    """
    ordered = plan.ordered()
    if plan.route is None or not plan.route.overflow:
        return ordered
    willing = (one for one in ordered if moments[one.key].refusal is None)
    turns = iter(sorted(willing, key=lambda one: not moments[one.key].at_once))
    return [one if moments[one.key].refusal is not None else next(turns) for one in ordered]


def _error(plan: Plan, moments: Mapping[TargetKey, _Moment]) -> PixvoxError:
    """Return what a call gets that no target takes: of those that could, what the last one says that is asked."""
    ordered = plan.ordered()
    refusals = [error for one in ordered if (error := moments[one.key].refusal) is not None]
    if not refusals:
        return plan.refusal()
    # Those that had no place are asked again at the end.
    full = [error for error in refusals if isinstance(error, OverloadedError)]
    again = plan.route is not None and plan.route.overflow and bool(full)
    return full[-1] if again else refusals[-1]


def _target(route: Route, target: RouteTarget, states: TargetStates) -> model_service_pb2.RouteTarget:
    message = model_service_pb2.RouteTarget(
        provider=target.key.provider, model=target.key.model, conditions=conditions_text(target.when)
    )
    if target.weight is not None:
        message.configured_weight = target.weight
        message.weight = states.weight(route.name, target)
    if (rollback := states.rollback(route.name, target)) is not None:
        message.rolled_back_reason = rollback.message
        message.rolled_back_time.FromDatetime(rollback.time)
    if _is_there(target.entry):
        message.health.CopyFrom(health_of(target.entry, target.key.model, states))
    return message


def _candidate(
    candidate: Candidate, moment: _Moment, plan: Plan, usage: media_pb2.Usage
) -> model_service_pb2.RouteCandidate:
    there = _is_there(candidate.entry)
    findings = [*candidate.findings, *(_momentary(candidate, moment, plan) if there else ())]
    message = model_service_pb2.RouteCandidate(
        provider=candidate.entry.name,
        model=candidate.model.id,
        eligible=all(finding.passed for finding in findings),
        findings=[
            model_service_pb2.RouteFinding(check=one.check, passed=one.passed, message=one.message) for one in findings
        ],
        estimated_cost=_cost(candidate, plan.prices, usage),
    )
    if there:
        message.health.CopyFrom(health_of(candidate.entry, candidate.model.id, plan.states))
    return message


def _is_there(entry: Entry) -> bool:
    """Tell whether a provider was made at all; one that is switched off as a whole was not, and has no models."""
    return bool(entry.models)


def _momentary(candidate: Candidate, moment: _Moment, plan: Plan) -> list[Finding]:
    found = [_breaker(moment)]
    if not isinstance(moment.refusal, CircuitOpenError):
        found.append(_quota(moment, plan))
    if plan.route is not None and plan.route.cold == "PREFER_WARM":
        how = f"is {warmth(candidate.entry).name.lower()}; those that are warm go first"
        found.append(Finding(model_service_pb2.ROUTE_CHECK_WARMTH, how))
    return found


def _breaker(moment: _Moment) -> Finding:
    check = model_service_pb2.ROUTE_CHECK_BREAKER
    if isinstance(moment.refusal, CircuitOpenError):
        return Finding(check, moment.refusal.message, moment.refusal)
    if moment.breaker == model_service_pb2.BREAKER_STATE_CLOSED:
        return Finding(check, "the circuit is closed")
    return Finding(check, "the circuit is half-open: the call would show whether the target works again")


def _quota(moment: _Moment, plan: Plan) -> Finding:
    check = model_service_pb2.ROUTE_CHECK_QUOTA
    if moment.refusal is not None:
        return Finding(check, moment.refusal.message, moment.refusal)
    if moment.at_once:
        return Finding(check, "the call would begin at once")
    wait = f"for about {moment.wait:.1f} s" if moment.wait >= 0.05 else "until another one has ended"
    elsewhere = ", unless another target can begin it" if plan.route is not None and plan.route.overflow else ""
    return Finding(check, f"the call would wait {wait}{elsewhere}")


def _cost(candidate: Candidate, prices: PriceTable, usage: media_pb2.Usage) -> media_pb2.Cost:
    return prices.cost(candidate.entry.kind, candidate.entry.region, candidate.model.id, usage)
