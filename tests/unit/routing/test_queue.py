"""Whose turn it is, and who has to make room."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pixvox.routing.queue import FairQueue

COSTS = st.sampled_from([0.25, 0.5, 1.0, 1.0, 2.0, 4.0, 16.0])


def served(queue: FairQueue) -> list:
    order = []
    while (entry := queue.pop()) is not None:
        order.append(entry.item)
    return order


def test_calls_of_one_caller_keep_their_order():
    queue = FairQueue()
    for number in range(20):
        queue.push("a", number)
    assert served(queue) == list(range(20))


def test_a_caller_with_a_thousand_calls_does_not_delay_another():
    queue = FairQueue()
    for number in range(1000):
        queue.push("flood", ("flood", number))
    for _ in range(100):
        queue.pop()
    queue.push("quiet", "quiet")
    order = served(queue)
    assert order.index("quiet") == 0
    assert len(order) == 901


def test_a_caller_that_comes_again_and_again_gets_no_more_than_its_share():
    queue = FairQueue()
    for number in range(1000):
        queue.push("flood", number)
    turns = Counter()
    queue.push("returns", 0)
    for _ in range(200):
        entry = queue.pop()
        turns[entry.caller] += 1
        if entry.caller == "returns":
            queue.push("returns", 0)
    assert turns["returns"] == pytest.approx(100, abs=1)


def test_a_dear_call_waits_for_as_much_as_it_costs():
    queue = FairQueue()
    for number in range(100):
        queue.push("cheap", number, cost=1)
    queue.push("dear", "dear", cost=16)
    assert served(queue).index("dear") == pytest.approx(16, abs=1)


def test_who_leaves_takes_no_credit_along():
    queue = FairQueue()
    for number in range(50):
        queue.push("stays", number)
    gone = queue.push("leaves", "gone", cost=16)
    for _ in range(15):
        queue.pop()
    queue.remove(gone)
    queue.push("leaves", "back", cost=16)
    assert served(queue).index("back") == pytest.approx(16, abs=1)


def test_what_was_removed_is_never_served_wherever_it_stood():
    queue = FairQueue()
    entries = [queue.push("a", number) for number in range(5)]
    for number in (0, 2, 4):
        queue.remove(entries[number])
        queue.remove(entries[number])
    assert len(queue) == 2
    assert served(queue) == [1, 3]


def test_a_queue_that_was_emptied_is_as_new():
    queue = FairQueue()
    for number in range(10):
        queue.push("a", number)
    served(queue)
    queue.push("a", "old caller")
    queue.push("b", "new caller")
    assert served(queue) == ["old caller", "new caller"]


def test_callers_who_come_and_go_while_nothing_is_served_leave_nothing_behind():
    queue = FairQueue()
    queue.push("first", "first", cost=1e-3)
    for number in range(5000):
        queue.remove(queue.push(f"caller {number}", number))
    assert len(queue._ranks) < 50
    assert served(queue) == ["first"]


@pytest.mark.parametrize("cost", [0.0, -1.0, float("inf")])
def test_a_senseless_cost_neither_wins_every_turn_nor_blocks_the_queue(cost):
    queue = FairQueue()
    for number in range(3000):
        queue.push("odd", ("odd", number), cost=cost)
    queue.push("plain", "plain")
    order = served(queue)
    assert len(order) == 3001
    assert order.index("plain") <= 1001


def test_the_newest_call_of_the_caller_with_most_makes_room():
    queue = FairQueue()
    for number in range(5):
        queue.push("flood", number)
    queue.push("other", "other")
    assert queue.crowding("quiet").item == 4
    assert queue.crowding("other").item == 4


def test_nobody_makes_room_for_one_who_would_then_have_as_many():
    queue = FairQueue()
    assert queue.crowding("a") is None
    queue.push("a", 0)
    queue.push("b", 0)
    assert queue.crowding("c") is None
    queue.push("a", 1)
    assert queue.crowding("a") is None
    assert queue.crowding("b") is None
    assert queue.crowding("c").caller == "a"


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    pops=st.integers(0, 30),
    caller=st.integers(0, 6),
    cost=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_it_tells_how_many_are_ahead_within_one_of_each_other_caller(counts, pops, caller, cost):
    queue = FairQueue()
    for name, count in enumerate(counts):
        for number in range(count):
            queue.push(str(name), number, cost=cost)
    for _ in range(pops):
        queue.pop()
    told = queue.ahead(str(caller), cost)
    others = len({entry.caller for entry in queue} - {str(caller)})
    queue.push(str(caller), "me", cost=cost)
    assert abs(served(queue).index("me") - told) <= others


@given(calls=st.lists(st.tuples(st.sampled_from("abcd"), COSTS), min_size=2, max_size=120))
@settings(max_examples=200)
def test_callers_who_wait_together_are_served_alike(calls):
    """Between any two, the cost that was served differs by no more than a call of each, at every moment."""
    queue = FairQueue()
    dearest = Counter()
    for caller, cost in calls:
        queue.push(caller, cost, cost=cost)
        dearest[caller] = max(dearest[caller], cost)
    got = Counter()
    while len(callers := {entry.caller for entry in queue}) > 1:
        for one in callers:
            for other in callers:
                assert abs(got[one] - got[other]) <= dearest[one] + dearest[other] + 1e-9
        entry = queue.pop()
        got[entry.caller] += entry.cost


class Queues(RuleBasedStateMachine):
    """Callers come, leave and are served in any order; the queue agrees with plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.waiting: dict[str, list] = {}

    @rule(caller=st.sampled_from("abcdef"), cost=COSTS)
    def come(self, caller: str, cost: float) -> None:
        self.waiting.setdefault(caller, []).append(self.queue.push(caller, None, cost))

    @precondition(lambda self: any(self.waiting.values()))
    @rule(number=st.integers(0, 999))
    def leave(self, number: int) -> None:
        entries = [entry for line in self.waiting.values() for entry in line]
        entry = entries[number % len(entries)]
        self.queue.remove(entry)
        self.waiting[entry.caller].remove(entry)

    @rule()
    def serve(self) -> None:
        entry = self.queue.pop()
        if entry is None:
            assert not any(self.waiting.values())
        else:
            assert self.waiting[entry.caller].pop(0) is entry

    @invariant()
    def it_holds_what_waits(self) -> None:
        assert len(self.queue) == sum(map(len, self.waiting.values()))
        assert set(self.queue) == {entry for line in self.waiting.values() for entry in line}

    @rule(caller=st.sampled_from("abcdefg"))
    def ask(self, caller: str) -> None:
        assert 0 <= self.queue.ahead(caller) <= len(self.queue)


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
