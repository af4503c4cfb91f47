"""A guard finds the canary that is worse than the targets beside it, and no other."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import pytest

from pixvox.routing.guards import MOST_KEPT, Breach, Guard, Observed, fingerprint
from pixvox.settings.tables import ConditionSettings, GuardSettings, RouteTargetSettings

RUNS = 200
GOOD = Observed(failed=False, seconds=1.0)
BAD = Observed(failed=True, seconds=1.0)

Draw = Callable[[random.Random, int], Observed]


class Found(NamedTuple):
    canary_calls: int
    breach: Breach


def trial(
    seed: int, weight: float, canary: Draw, baseline: Draw, *, calls: int = 10**9, canary_calls: int = 10**9, guard=None
) -> Found | None:
    """Send calls to both sides as their weights say, until a breach or the end."""
    drawn = random.Random(seed)
    judge = Guard(guard or GuardSettings())
    sent = 0
    for number in range(calls):
        if drawn.random() < weight:
            sent += 1
            if (breach := judge.canary(canary(drawn, number))) is not None:
                return Found(sent, breach)
            if sent == canary_calls:
                return None
        else:
            judge.baseline(baseline(drawn, number))
    return None


def failing(share: float) -> Draw:
    return lambda drawn, _: BAD if drawn.random() < share else GOOD


def lasting(median: float, share: float = 0.01) -> Draw:
    """Draw log-normal durations, the 95th percentile 2.3 times the median, with a first audio after a tenth."""

    def draw(drawn: random.Random, _: int) -> Observed:
        seconds = median * drawn.lognormvariate(0, 0.5)
        return Observed(drawn.random() < share, seconds, seconds / 10)

    return draw


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_canary_with_a_fifth_of_its_calls_made_to_fail_is_rolled_back_within_its_window_in_every_run(share):
    canary, baseline = failing(0.2 + 0.8 * share), failing(share)
    found = [trial(seed, 0.1, canary, baseline, canary_calls=100) for seed in range(RUNS)]
    assert all(one is not None and one.breach.measure == "error_rate" for one in found)


def test_a_canary_with_a_failure_in_five_against_one_in_a_hundred_escapes_its_window_in_fewer_than_one_run_in_200():
    found = [trial(seed, 0.1, failing(0.2), failing(0.01), canary_calls=100) for seed in range(2000)]
    assert found.count(None) < 10


@pytest.mark.parametrize("weight", [0.3, 0.5, 0.7])
def test_a_canary_with_a_greater_weight_is_found_as_well_once_the_others_have_had_enough_calls(weight):
    found = [trial(seed, weight, failing(0.2), failing(0.01), canary_calls=600) for seed in range(RUNS)]
    assert None not in found


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_a_canary_that_fails_no_more_than_the_others_keeps_its_weight_in_every_run(share, weight):
    found = [trial(seed, weight, failing(share), failing(share), calls=2000) for seed in range(RUNS)]
    assert found == [None] * RUNS


def test_a_canary_that_takes_as_long_as_the_others_keeps_its_weight_in_every_run():
    guard = GuardSettings(p95_ratio=1.5, first_audio_ratio=1.5)
    found = [trial(seed, 0.3, lasting(2.0), lasting(2.0), calls=2000, guard=guard) for seed in range(RUNS)]
    assert found == [None] * RUNS


@pytest.mark.parametrize("measure", ["p95", "first_audio"])
def test_a_canary_that_is_three_times_as_slow_is_rolled_back_within_its_window_in_every_run(measure):
    guard = GuardSettings(error_rate=None, **{"p95_ratio" if measure == "p95" else "first_audio_ratio": 1.5})
    found = [trial(seed, 0.1, lasting(6.0), lasting(2.0), canary_calls=100, guard=guard) for seed in range(RUNS)]
    assert all(one is not None and one.breach.measure == measure for one in found)


def test_a_canary_that_is_slower_by_less_than_is_allowed_keeps_its_weight_in_every_run():
    guard = GuardSettings(p95_ratio=1.5)
    found = [trial(seed, 0.1, lasting(2.6), lasting(2.0), calls=1000, guard=guard) for seed in range(RUNS)]
    assert found == [None] * RUNS


def test_a_canary_is_not_blamed_for_what_fails_everywhere():
    found = [trial(seed, 0.1, failing(0.5), failing(0.5), calls=2000) for seed in range(RUNS)]
    assert found == [None] * RUNS


@pytest.mark.parametrize("weight", [0.02, 0.1, 0.5, 0.9])
def test_a_fault_of_all_that_comes_and_goes_is_not_put_down_to_the_side_that_remembers_it_longer(weight):
    def draw(drawn: random.Random, number: int) -> Observed:
        return BAD if number // 300 % 4 == 1 or drawn.random() < 0.01 else GOOD

    found = [trial(seed, weight, draw, draw, calls=4800) for seed in range(50)]
    assert found == [None] * 50


def test_a_canary_that_turns_bad_after_a_long_good_time_is_found_within_its_window():
    def turning(drawn: random.Random, number: int) -> Observed:
        return BAD if number > 5000 and drawn.random() < 0.4 else GOOD

    for seed in range(50):
        found = trial(seed, 0.1, turning, failing(0.0))
        # About 500 of the canary's calls come before.
        assert found is not None
        assert 450 < found.canary_calls < 650


def test_nothing_is_said_of_a_canary_before_it_has_had_its_least_number_of_calls_and_the_breach_is_told_once():
    guard = Guard(GuardSettings(min_calls=20))
    for _ in range(200):
        guard.baseline(GOOD)
    assert [guard.canary(BAD) for _ in range(19)] == [None] * 19
    breach = guard.canary(BAD)
    assert breach == Breach(
        "error_rate",
        "20 of 20 (100 %) calls failed, and 0 of 200 (0 %) of the targets beside it; 5 % more are allowed.",
    )
    assert [guard.canary(BAD) for _ in range(50)] == [None] * 50


def test_a_canary_with_nobody_to_be_compared_with_keeps_its_weight():
    guard = Guard(GuardSettings(p95_ratio=1.0, first_audio_ratio=1.0))
    assert [guard.canary(BAD) for _ in range(500)] == [None] * 500


def test_a_handful_of_calls_of_the_others_is_enough_against_a_canary_that_does_nothing_right():
    guard = Guard(GuardSettings())
    for _ in range(60):
        assert guard.canary(BAD) is None
    for _ in range(2):
        guard.baseline(GOOD)
    assert guard.canary(BAD) is None
    guard.baseline(GOOD)
    assert guard.canary(BAD) is not None


@pytest.mark.parametrize(("failures", "breached"), [(4, False), (12, True)])
def test_the_margin_is_allowed_however_certain_the_difference_is(failures, breached):
    guard = Guard(GuardSettings(calls=2000, error_rate=0.05))
    for _ in range(2000):
        guard.baseline(GOOD)
    # The failures are spread, so that no beginning looks worse than the whole.
    told = [guard.canary(BAD if number * failures % 100 < failures else GOOD) for number in range(1, 2001)]
    assert any(told) is breached


def test_a_measure_that_is_not_asked_for_is_not_looked_at():
    found = trial(1, 0.1, failing(0.9), failing(0.0), calls=2000, guard=GuardSettings(error_rate=None, p95_ratio=2.0))
    assert found is None
    assert trial(1, 0.1, lasting(60.0), lasting(2.0), calls=2000) is None


def test_calls_that_fail_at_once_do_not_make_the_others_quick():
    guard = Guard(GuardSettings(error_rate=None, p95_ratio=1.5))
    for number in range(1600):
        guard.baseline(
            Observed(failed=False, seconds=2.0) if number % 32 == 0 else Observed(failed=True, seconds=0.001)
        )
    assert [guard.canary(Observed(failed=False, seconds=2.5)) for _ in range(100)] == [None] * 100


def test_calls_without_audio_say_nothing_about_the_time_to_it():
    guard = Guard(GuardSettings(error_rate=None, first_audio_ratio=1.5))
    for _ in range(100):
        guard.baseline(Observed(failed=False, seconds=2.0, first_audio=0.2))
        assert guard.canary(Observed(failed=False, seconds=60.0)) is None
    told = [guard.canary(Observed(failed=False, seconds=2.0, first_audio=0.5)) for _ in range(20)]
    (breach,) = [breach for breach in told if breach is not None]
    assert breach.message == (
        "The 95th percentile of its time to first audio is 0.5 s over 20 calls, and 0.2 s over 100 of the targets beside"
        " it; 1.5 times as much is allowed."
    )


def test_a_guard_keeps_no_more_calls_however_many_come():
    guard = Guard(GuardSettings(p95_ratio=1.5))
    drawn = random.Random(1)
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for _ in range(MOST_KEPT + 100):
                guard.baseline(Observed(failed=False, seconds=drawn.random()))
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[0] < sizes[0] / 10


def target(**fields) -> RouteTargetSettings:
    return RouteTargetSettings(**{"to": "qwen/vc-1", "weight": 10.0, "guard": GuardSettings()} | fields)


def test_a_fingerprint_is_that_of_weight_and_guard_alone_and_the_same_in_every_version():
    # Kept in databases: it may not change while its fields mean the same.
    assert fingerprint(target()) == "0274d48f10489a8a"
    assert fingerprint(target(weight=10)) == fingerprint(target())
    assert fingerprint(target(when=ConditionSettings(callers=("ann",)))) == fingerprint(target())


@pytest.mark.parametrize(
    "fields",
    [
        {"weight": 20.0},
        {"weight": None},
        {"guard": None},
        {"guard": GuardSettings(trial=2)},
        {"guard": GuardSettings(error_rate=None)},
        {"guard": GuardSettings(error_rate=0.1)},
        {"guard": GuardSettings(calls=200)},
    ],
)
def test_a_changed_weight_or_guard_has_another_fingerprint(fields):
    assert fingerprint(target(**fields)) != fingerprint(target())
