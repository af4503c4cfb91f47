"""Draws by weight: each gets its share, and what is drawn for somebody stays with them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.routing.draws import drawn, stuck

CALLERS = [f"caller-{number}" for number in range(10_000)]

names = st.sampled_from(["modal", "qwen", "sandbox", "worker", "other"])
weights = st.floats(min_value=0.01, max_value=1000)
tables = st.dictionaries(names, weights, min_size=1)


def shares(table: dict[str, float]) -> dict[str, float]:
    counts = Counter(stuck(table, caller) for caller in CALLERS)
    return {name: counts[name] / len(CALLERS) for name in table}


@pytest.mark.parametrize(
    ("point", "place"), [(0.0, 0), (0.099, 0), (0.1, 1), (0.399, 1), (0.4, 2), (0.9999999999999999, 2)]
)
def test_a_draw_takes_the_weight_in_whose_stretch_it_falls(point, place):
    assert drawn([1, 3, 6], lambda: point) == place


def test_draws_follow_the_weights():
    numbers = random.Random(7)
    counts = Counter(drawn([95, 5], numbers.random) for _ in range(10_000))
    assert counts[1] == pytest.approx(500, abs=80)


@given(st.lists(st.floats(min_value=1e-9, max_value=1e9), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_draw_is_always_one_of_the_weights(listed, point):
    assert 0 <= drawn(listed, lambda: point) < len(listed)


@pytest.mark.parametrize("table", [{"qwen": 95.0, "modal": 5.0}, {"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 0.2, "b": 0.6}])
def test_over_many_callers_each_name_gets_its_share(table):
    total = sum(table.values())
    # Four times the spread that chance gives the counts.
    for name, share in shares(table).items():
        part = table[name] / total
        assert share == pytest.approx(part, abs=4 * (part * (1 - part) / len(CALLERS)) ** 0.5)


def test_raising_a_canary_keeps_every_caller_that_was_on_it():
    before = {caller for caller in CALLERS if stuck({"base": 95, "canary": 5}, caller) == "canary"}
    after = {caller for caller in CALLERS if stuck({"base": 90, "canary": 10}, caller) == "canary"}
    assert before < after


@given(tables, names, st.floats(min_value=1.01, max_value=100), st.text(max_size=20))
def test_raising_a_weight_moves_a_caller_to_that_name_or_not_at_all(table, name, factor, key):
    table.setdefault(name, 1.0)
    before = stuck(table, key)
    assert stuck(table | {name: table[name] * factor}, key) in {before, name}


@given(tables, names, st.text(max_size=20))
def test_taking_a_name_out_moves_its_own_callers_alone(table, name, key):
    table.setdefault(name, 1.0)
    table["stays"] = 1.0
    before = stuck(table, key)
    after = stuck({one: weight for one, weight in table.items() if one != name}, key)
    assert before in {after, name}


@given(tables, st.text(max_size=20))
def test_only_the_proportion_of_the_weights_counts(table, key):
    # A power of two, so that the products are exact.
    scaled = {name: weight * 8 for name, weight in table.items()}
    assert stuck(scaled, key) == stuck(table, key)


def test_another_process_draws_the_same():
    code = (
        "from pixvox.routing.draws import stuck\n"
        "print(*(stuck({'qwen': 50, 'modal': 50}, f'caller-{n}') for n in range(40)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == [stuck({"qwen": 50, "modal": 50}, caller) for caller in CALLERS[:40]]
