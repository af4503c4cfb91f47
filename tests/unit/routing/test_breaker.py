"""When a circuit opens, and what it takes to close it again."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pixvox import errors
from pixvox.routing.breaker import (
    ANSWERS,
    FAILURES,
    BreakerRules,
    CircuitBreaker,
    Outcome,
    cause_of,
    outcome_of,
)
from pixvox.v1.model_service_pb2 import BREAKER_STATE_CLOSED, BREAKER_STATE_HALF_OPEN, BREAKER_STATE_OPEN


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Circuit:
    """A breaker with its clock and its history."""

    def __init__(self, **rules) -> None:
        self.clock = Clock()
        self.history: list[tuple[int, str]] = []
        self.rules = BreakerRules(**rules)
        self.breaker = CircuitBreaker(
            self.rules, changed=lambda state, reason: self.history.append((state, reason)), clock=self.clock
        )

    def end(self, outcome: Outcome, times: int = 1) -> None:
        for _ in range(times):
            assert self.breaker.passes()
            self.breaker.settle(self.breaker.enter(), outcome, "PROVIDER_UNAVAILABLE")

    def opened(self) -> Circuit:
        self.end(Outcome.FAILURE, self.rules.failures)
        assert self.breaker.state == BREAKER_STATE_OPEN
        return self

    def half_open(self) -> Circuit:
        self.opened()
        self.clock.now += self.rules.open_seconds
        assert self.breaker.state == BREAKER_STATE_HALF_OPEN
        return self


def test_so_many_failures_in_a_row_open_it():
    circuit = Circuit(failures=3, error_rate=0)
    circuit.end(Outcome.FAILURE, 2)
    assert circuit.breaker.passes()
    circuit.end(Outcome.FAILURE)
    assert not circuit.breaker.passes()
    assert circuit.breaker.reason == "3 calls in a row failed, the last with PROVIDER_UNAVAILABLE"


def test_a_success_breaks_the_row():
    circuit = Circuit(failures=3, error_rate=0)
    for _ in range(10):
        circuit.end(Outcome.FAILURE, 2)
        circuit.end(Outcome.SUCCESS)
    assert circuit.breaker.passes()


def test_what_says_nothing_neither_breaks_the_row_nor_adds_to_it():
    circuit = Circuit(failures=3, error_rate=0)
    circuit.end(Outcome.FAILURE, 2)
    circuit.end(Outcome.NEUTRAL, 20)
    assert circuit.breaker.passes()
    circuit.end(Outcome.FAILURE)
    assert not circuit.breaker.passes()


def test_such_a_share_of_failures_in_the_window_opens_it():
    circuit = Circuit(failures=0, error_rate=0.5, min_calls=10)
    for _ in range(9):
        circuit.end(Outcome.SUCCESS)
        circuit.clock.now += 1
    for _ in range(8):
        circuit.end(Outcome.FAILURE)
        circuit.clock.now += 1
    assert circuit.breaker.passes()
    circuit.end(Outcome.FAILURE)
    assert not circuit.breaker.passes()
    assert circuit.breaker.reason.startswith("9 of 18 calls in 30 s failed")


def test_a_share_of_too_few_calls_says_nothing():
    circuit = Circuit(failures=0, error_rate=0.5, min_calls=10)
    circuit.end(Outcome.FAILURE, 9)
    assert circuit.breaker.passes()
    circuit.end(Outcome.FAILURE)
    assert not circuit.breaker.passes()


def test_failures_fall_out_of_the_window():
    circuit = Circuit(failures=0, error_rate=0.5, min_calls=10, window_seconds=30)
    circuit.end(Outcome.FAILURE, 9)
    circuit.clock.now += 30
    circuit.end(Outcome.FAILURE, 9)
    assert circuit.breaker.passes()


def test_calls_without_a_gap_fall_out_of_the_window_as_well():
    circuit = Circuit(failures=0, error_rate=0.45, min_calls=10, window_seconds=30)
    circuit.end(Outcome.SUCCESS, 100)
    begin = circuit.clock.now
    while circuit.breaker.passes():
        circuit.end(Outcome.SUCCESS)
        circuit.end(Outcome.FAILURE)
        circuit.clock.now += 0.2
        assert circuit.clock.now < begin + 31
    assert circuit.clock.now > begin + 27


def test_failures_stay_in_the_window_for_nearly_all_of_its_time():
    circuit = Circuit(failures=0, error_rate=0.5, min_calls=10, window_seconds=30)
    circuit.end(Outcome.FAILURE, 9)
    circuit.clock.now += 26
    circuit.end(Outcome.FAILURE)
    assert not circuit.breaker.passes()


def test_with_both_limits_at_zero_it_never_opens():
    circuit = Circuit(failures=0, error_rate=0)
    circuit.end(Outcome.FAILURE, 1000)
    assert circuit.breaker.passes()


def test_it_tells_how_long_it_stays_open():
    circuit = Circuit(open_seconds=10).opened()
    circuit.clock.now += 4
    assert circuit.breaker.rest() == pytest.approx(6)
    assert not circuit.breaker.passes()
    circuit.clock.now += 6
    assert circuit.breaker.rest() == 0
    assert circuit.breaker.passes()


def test_half_open_lets_through_no_more_at_once_than_its_probes():
    circuit = Circuit(probes=2).half_open()
    circuit.breaker.enter()
    assert circuit.breaker.passes()
    circuit.breaker.enter()
    assert not circuit.breaker.passes()


def test_it_closes_when_all_probes_have_succeeded():
    circuit = Circuit(probes=2).half_open()
    circuit.end(Outcome.SUCCESS)
    assert circuit.breaker.state == BREAKER_STATE_HALF_OPEN
    circuit.end(Outcome.SUCCESS)
    assert circuit.breaker.state == BREAKER_STATE_CLOSED
    assert circuit.breaker.reason == ""
    assert [state for state, _ in circuit.history] == [
        BREAKER_STATE_OPEN,
        BREAKER_STATE_HALF_OPEN,
        BREAKER_STATE_CLOSED,
    ]


def test_probes_that_run_and_have_succeeded_are_together_no_more_than_it_needs():
    circuit = Circuit(probes=3).half_open()
    circuit.breaker.enter()
    circuit.end(Outcome.SUCCESS, 1)
    circuit.breaker.enter()
    assert not circuit.breaker.passes()


def test_the_first_probe_that_fails_opens_it_for_another_time():
    circuit = Circuit(probes=3, open_seconds=10).half_open()
    circuit.end(Outcome.SUCCESS, 2)
    circuit.end(Outcome.FAILURE)
    assert circuit.breaker.rest() == pytest.approx(10)
    assert circuit.breaker.reason == "a probe failed with PROVIDER_UNAVAILABLE"


def test_a_probe_that_says_nothing_gives_its_place_back():
    circuit = Circuit(probes=1).half_open()
    era = circuit.breaker.enter()
    assert not circuit.breaker.passes()
    circuit.breaker.settle(era, Outcome.NEUTRAL)
    assert circuit.breaker.passes()
    assert circuit.breaker.state == BREAKER_STATE_HALF_OPEN


def test_probes_that_still_run_when_it_opens_again_take_no_place_of_the_next_ones():
    circuit = Circuit(probes=2, open_seconds=10).half_open()
    slow = circuit.breaker.enter()
    circuit.end(Outcome.FAILURE)
    circuit.clock.now += 10
    circuit.breaker.enter()
    assert circuit.breaker.passes()
    circuit.breaker.enter()
    circuit.breaker.settle(slow, Outcome.NEUTRAL)
    assert not circuit.breaker.passes()


def test_a_call_from_before_it_opened_says_nothing_in_a_later_state():
    circuit = Circuit(failures=2, probes=1)
    old = [circuit.breaker.enter() for _ in range(4)]
    circuit.opened()
    circuit.breaker.settle(old[0], Outcome.SUCCESS)
    assert not circuit.breaker.passes()
    circuit.clock.now += 10
    circuit.breaker.enter()
    circuit.breaker.settle(old[1], Outcome.SUCCESS)
    assert circuit.breaker.state == BREAKER_STATE_HALF_OPEN
    assert not circuit.breaker.passes()
    circuit.breaker.settle(old[2], Outcome.NEUTRAL)
    assert not circuit.breaker.passes()
    circuit.breaker.settle(old[3], Outcome.FAILURE, "X")
    assert circuit.breaker.state == BREAKER_STATE_HALF_OPEN


def test_what_was_counted_before_it_opened_is_forgotten_when_it_closes():
    circuit = Circuit(failures=3, error_rate=0.5, min_calls=5, probes=1).half_open()
    circuit.end(Outcome.SUCCESS)
    circuit.end(Outcome.FAILURE, 2)
    assert circuit.breaker.passes()


def test_a_stream_that_breaks_after_it_was_counted_is_a_failure_as_well():
    circuit = Circuit(failures=2, error_rate=0)
    circuit.end(Outcome.SUCCESS)
    circuit.breaker.fail("PROVIDER_DISCONNECTED")
    circuit.breaker.fail("PROVIDER_DISCONNECTED")
    assert circuit.breaker.state == BREAKER_STATE_OPEN


def test_other_rules_keep_what_was_counted():
    circuit = Circuit(failures=5, error_rate=0)
    circuit.end(Outcome.FAILURE, 2)
    circuit.breaker.reconfigure(BreakerRules(failures=3, error_rate=0))
    assert circuit.breaker.passes()
    circuit.end(Outcome.FAILURE)
    assert not circuit.breaker.passes()


def test_other_rules_change_how_long_it_is_open():
    circuit = Circuit(open_seconds=10).opened()
    circuit.breaker.reconfigure(BreakerRules(open_seconds=60))
    assert circuit.breaker.rest() == pytest.approx(60)


def test_rules_that_never_open_it_close_it():
    circuit = Circuit().opened()
    circuit.breaker.reconfigure(BreakerRules(failures=0, error_rate=0))
    assert circuit.breaker.state == BREAKER_STATE_CLOSED


def test_fewer_probes_than_have_succeeded_close_it():
    circuit = Circuit(probes=5).half_open()
    circuit.end(Outcome.SUCCESS, 3)
    circuit.breaker.reconfigure(BreakerRules(probes=3))
    assert circuit.breaker.state == BREAKER_STATE_CLOSED


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.SUCCESS),
        (errors.ProviderUnavailableError("x"), Outcome.FAILURE),
        (errors.ProviderDisconnectedError("x"), Outcome.FAILURE),
        (errors.ProviderInternalError("x"), Outcome.FAILURE),
        (errors.ProviderTimeoutError("x"), Outcome.FAILURE),
        (errors.OutcomeUnknownError("x"), Outcome.FAILURE),
        (errors.ProviderCredentialsError("x"), Outcome.FAILURE),
        (errors.ProviderBillingError("x"), Outcome.FAILURE),
        (errors.ProviderConfigError("x"), Outcome.FAILURE),
        (errors.ProviderNotConfiguredError("x"), Outcome.FAILURE),
        (errors.ModelEndpointMismatchError("x"), Outcome.FAILURE),
        (errors.ContentBlockedError("x"), Outcome.SUCCESS),
        (errors.InputBlockedError("x"), Outcome.SUCCESS),
        (errors.InvalidParameterError("x"), Outcome.SUCCESS),
        (errors.ConflictError("x"), Outcome.SUCCESS),
        (errors.VoiceNotFoundError("x", metadata={"provider_code": "Voice.NotFound"}), Outcome.SUCCESS),
        (errors.VoiceNotFoundError("x"), Outcome.NEUTRAL),
        (errors.UnsupportedError("x"), Outcome.NEUTRAL),
        (errors.InvalidMediaError("x"), Outcome.NEUTRAL),
        (errors.RateLimitedError("x", metadata={"provider_code": "Throttling"}), Outcome.NEUTRAL),
        (errors.QuotaExceededError("x", metadata={"provider_code": "Throttling"}), Outcome.NEUTRAL),
        (errors.OverloadedError("x"), Outcome.NEUTRAL),
        (errors.ShuttingDownError("x"), Outcome.NEUTRAL),
        (asyncio.CancelledError(), Outcome.NEUTRAL),
        (ValueError("x"), Outcome.NEUTRAL),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, Outcome) else value.name,
)
def test_an_error_counts_by_what_it_says_about_the_target(error, outcome):
    assert outcome_of(error) is outcome


def test_no_reason_is_both_a_failure_and_an_answer():
    assert not FAILURES & ANSWERS


def test_the_cause_of_a_foreign_error_stays_unsaid():
    assert cause_of(ValueError("x")) == ""
    assert cause_of(errors.ProviderTimeoutError("x")) == "PROVIDER_TIMEOUT"


class Breakers(RuleBasedStateMachine):
    """Calls begin and end in any order, while time passes and rules change."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit(failures=3, min_calls=4, open_seconds=5, probes=2)
        self.probes = 2
        self.running: list[tuple[int, int]] = []

    @property
    def breaker(self) -> CircuitBreaker:
        return self.circuit.breaker

    @rule()
    def begin(self) -> None:
        if self.breaker.passes():
            self.running.append((self.breaker.enter(), len(self.circuit.history)))

    @precondition(lambda self: self.running)
    @rule(number=st.integers(0, 99), outcome=st.sampled_from(Outcome))
    def end(self, number: int, outcome: Outcome) -> None:
        era, _ = self.running.pop(number % len(self.running))
        self.breaker.settle(era, outcome, "X")

    @rule(seconds=st.floats(0, 6))
    def pass_time(self, seconds: float) -> None:
        self.circuit.clock.now += seconds

    @rule(probes=st.integers(1, 3))
    def change(self, probes: int) -> None:
        self.probes = max(probes, self.probes)
        self.breaker.reconfigure(BreakerRules(failures=3, min_calls=4, open_seconds=5, probes=probes))

    @invariant()
    def lets_through_no_more_probes_than_it_may(self) -> None:
        if self.circuit.history and self.circuit.history[-1][0] == BREAKER_STATE_HALF_OPEN:
            probes = [1 for _, when in self.running if when == len(self.circuit.history)]
            assert len(probes) <= self.probes

    @invariant()
    def changes_only_as_it_may(self) -> None:
        states = [BREAKER_STATE_CLOSED, *(state for state, _ in self.circuit.history)]
        allowed = {
            (BREAKER_STATE_CLOSED, BREAKER_STATE_OPEN),
            (BREAKER_STATE_OPEN, BREAKER_STATE_HALF_OPEN),
            (BREAKER_STATE_HALF_OPEN, BREAKER_STATE_OPEN),
            (BREAKER_STATE_HALF_OPEN, BREAKER_STATE_CLOSED),
        }
        assert set(itertools.pairwise(states)) <= allowed

    def teardown(self) -> None:
        """Whatever happened, successes close it: no probe was lost."""
        while self.running:
            self.breaker.settle(self.running.pop()[0], Outcome.NEUTRAL)
        self.circuit.clock.now += 5
        for _ in range(3):
            assert self.breaker.passes()
            self.breaker.settle(self.breaker.enter(), Outcome.SUCCESS)
        assert self.breaker.state == BREAKER_STATE_CLOSED


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
