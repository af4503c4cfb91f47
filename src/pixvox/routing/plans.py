"""The carrying out of one call: its candidates in order, admission to each, and the turn to the next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pixvox import telemetry
from pixvox.errors import PixvoxError, ProviderError, reason_name
from pixvox.provider import Warmable, Warmth
from pixvox.routing.candidates import Finding
from pixvox.routing.fallback import Tries
from pixvox.routing.guards import Observed
from pixvox.routing.speech import RoutedSpeech
from pixvox.routing.targets import Target
from pixvox.v1 import model_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from pixvox.prices import PriceTable
    from pixvox.provider import Reference, SpeechInput
    from pixvox.registry import Entry
    from pixvox.routing.candidates import Candidate
    from pixvox.routing.fallback import Try
    from pixvox.routing.health import Admission
    from pixvox.routing.routes import Route
    from pixvox.routing.states import TargetStates
    from pixvox.telemetry import Telemetry
    from pixvox.v1 import media_pb2, speech_service_pb2

T = TypeVar("T")

_WARMTH_ORDER = {Warmth.WARM: 0, Warmth.STARTING: 1, Warmth.COLD: 2}


@dataclass(slots=True)
class Plan:
    """How one call is going to be served.

    Attributes:
        candidates: Every target that was considered, in the order in which they would be tried.
        route: That names them, None if the request named a model or a provider.
        states: Of all targets.
        signals: Of the operations.
        prices: For receipts.
        cost: What the call weighs in the queue of a target, against 1.0 of an ordinary one.
        reference: What speech is spoken from, None if its voice is the provider's; every candidate is a `ReferenceSpeaker`.
    """

    candidates: list[Candidate]
    route: Route | None
    states: TargetStates
    signals: Telemetry
    prices: PriceTable
    cost: float = 1.0
    reference: Reference | None = None

    @property
    def eligible(self) -> list[Candidate]:
        """The candidates that may be tried."""
        return [one for one in self.candidates if one.error is None]

    @property
    def entry(self) -> Entry:
        """The provider that is tried first."""
        return self._first.entry

    @property
    def model(self) -> model_service_pb2.Model:
        """The model that is tried first."""
        return self._first.model

    def checked(self) -> Plan:
        """Return the plan itself, which has at least one candidate that may be tried.

        Raises:
            PixvoxError: It has none. The error is that of the candidate that passed the most checks.
        """
        if not self.eligible:
            raise self.refusal()
        return self

    def held_against(self, check: Callable[[model_service_pb2.Model], None]) -> Plan:
        """Return the plan itself, without the candidates whose models a further check refuses.

        Args:
            check: Raises a `PixvoxError` for a model that cannot do what is asked.
        """
        for candidate in self.eligible:
            candidate.findings.append(capability(candidate.model, check))
        return self

    def refusal(self) -> PixvoxError:
        """Return why no candidate may be tried."""
        furthest = max(self.candidates, key=lambda one: sum(1 for finding in one.findings if finding.passed))
        error = furthest.error
        assert error is not None  # noqa: S101  # for the type alone: is asked when none may be tried
        return error

    def ordered(self) -> list[Candidate]:
        """Return the candidates that may be tried: where the route prefers them, those that are warm before the others."""
        eligible = self.eligible
        if self.route is None or self.route.cold != "PREFER_WARM":
            return eligible
        return sorted(eligible, key=lambda one: _WARMTH_ORDER[warmth(one.entry)])

    async def run(self, work: Callable[[Target], Awaitable[T]]) -> T:
        """Have the work done by the first target that does not refuse it.

        Args:
            work: Is given a target, and may be called again with another one.

        Raises:
            PixvoxError: No target could do it, or it is not known whether one did.
        """
        tries = self.tries()
        while True:
            tried = tries.next()
            target = self.target(tried.candidate, tries.attempts)
            started = time.monotonic()
            try:
                async with self.admitted(tried, target):
                    return await work(target)
            except PixvoxError as error:
                self.failed(tries, tried, error, time.monotonic() - started, entered=target.entered)

    @contextlib.asynccontextmanager
    async def stream_speech(
        self, config: speech_service_pb2.SpeechConfig, text: AsyncIterator[SpeechInput]
    ) -> AsyncIterator[RoutedSpeech]:
        """Speak; see `RoutedSpeech`."""
        speech = RoutedSpeech(self, config, text)
        try:
            yield speech
        except BaseException as error:
            # Providers and admission learn how the block ended, as they would if they were entered here.
            await speech.leave(error)
            raise
        else:
            await speech.leave(None)

    def tries(self) -> Tries:
        """Return the candidates to be tried; those that sleep and are passed over for it are woken beside the call."""
        ordered = self.ordered()
        if self.route is not None and self.route.cold == "PREFER_WARM" and warmth(ordered[0].entry) is Warmth.WARM:
            for candidate in ordered:
                self.states.wake(candidate.entry)
        return Tries(ordered, overflow=self.route is None or self.route.overflow)

    def target(self, candidate: Candidate, earlier: Sequence[media_pb2.Attempt]) -> Target:
        """Return a candidate as a target that is ready to serve."""
        route = self.route.name if self.route is not None else ""
        return Target(candidate.entry, candidate.model, self.signals, self.prices, earlier, route)

    def failed(self, tries: Tries, tried: Try, error: PixvoxError, seconds: float, *, entered: bool) -> None:
        """Note a failure and return if the call goes on to another target; see `Tries.failed`.

        Raises:
            PixvoxError: It does not.
        """
        self._attempted(tried.candidate, reason_name(error.reason), error.metadata.get("replay", ""))
        tries.failed(tried, error, seconds, entered=entered)
        labels = {telemetry.ROUTE: self.route.name if self.route is not None else "", **tried.candidate.key._asdict()}
        self.signals.instruments.fallbacks.add(1, labels | {telemetry.REASON: reason_name(error.reason)})

    @contextlib.asynccontextmanager
    async def admitted(self, tried: Try, target: Target) -> AsyncIterator[Admission]:
        """Keep the block within the target's limits, and tell its breaker and the guard of its route how it went.

        Raises:
            NotSentError: The target is not to be asked now.
        """
        call = telemetry.current_call()
        call.may_repeat = not tried.more
        health = self.states.health(tried.candidate.key)
        asked = time.monotonic()
        async with health.admitted(call.caller, deadline=call.deadline, cost=self.cost, wait=tried.wait) as admission:
            started = time.monotonic()
            target.queued_seconds = started - asked
            try:
                yield admission
            except ProviderError:
                self._observed(tried.candidate, target, started, failed=True)
                raise
            except asyncio.CancelledError:
                # A caller who leaves says nothing about the target; one whose time is up does.
                if time.monotonic() >= call.deadline:
                    self._observed(tried.candidate, target, started, failed=True)
                raise
            self._observed(tried.candidate, target, started, failed=False)
            self._attempted(tried.candidate, "ok", "accepted")

    def _attempted(self, candidate: Candidate, outcome: str, replay: str) -> None:
        labels = {**candidate.key._asdict(), telemetry.OUTCOME: outcome, telemetry.REPLAY_CLASS: replay}
        self.signals.instruments.attempts.add(1, labels)

    def _observed(self, candidate: Candidate, target: Target, started: float, *, failed: bool) -> None:
        if self.route is not None and candidate.target is not None:
            observed = Observed(failed, time.monotonic() - started, target.first_audio_seconds)
            self.states.observed(self.route, candidate.target, observed)

    @property
    def _first(self) -> Candidate:
        return self.ordered()[0]


def capability(model: model_service_pb2.Model, check: Callable[[model_service_pb2.Model], None]) -> Finding:
    """Return whether a model can do what is asked, by a check that raises a `PixvoxError` if it cannot."""
    try:
        check(model)
    except PixvoxError as error:
        return Finding(model_service_pb2.ROUTE_CHECK_CAPABILITY, error.message, error)
    return Finding(model_service_pb2.ROUTE_CHECK_CAPABILITY, f"{model.id} can do what is asked")


def warmth(entry: Entry) -> Warmth:
    """Return whether a provider can begin at once; one that cannot tell is always warm."""
    return entry.provider.warmth() if isinstance(entry.provider, Warmable) else Warmth.WARM
