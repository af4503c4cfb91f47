"""Conditions: which calls meet them, and how they are told."""

from __future__ import annotations

import pytest

from pixvox.routing.candidates import CallFacts
from pixvox.routing.conditions import conditions_text, unmet
from pixvox.settings import ConditionSettings


@pytest.mark.parametrize(
    ("when", "facts", "met"),
    [
        ({"min_pixels": 100}, {"pixels": 100}, True),
        ({"min_pixels": 100}, {"pixels": 99}, False),
        ({"min_pixels": 100}, {}, False),
        ({"max_pixels": 100}, {"pixels": 100}, True),
        ({"max_pixels": 100}, {"pixels": 101}, False),
        ({"max_pixels": 100}, {}, False),
        ({"min_pixels": 100, "max_pixels": 100}, {"pixels": 100}, True),
        ({"voices": ("a", "b")}, {"voice": "b"}, True),
        ({"voices": ("a", "b")}, {"voice": "c"}, False),
        ({"voices": ("a", "b")}, {}, False),
        ({"languages": ("en",)}, {"language": "en"}, True),
        ({"languages": ("en",)}, {"language": "en-US"}, True),
        ({"languages": ("EN",)}, {"language": "en-us"}, True),
        ({"languages": ("en-us",)}, {"language": "EN-US"}, True),
        ({"languages": ("en",)}, {"language": "eng"}, False),
        ({"languages": ("en-US",)}, {"language": "en"}, False),
        ({"languages": ("de", "en")}, {"language": "en-GB"}, True),
        ({"languages": ("en",)}, {}, False),
        ({"labels": {"tier": ("gold", "silver")}}, {"labels": {"tier": "silver"}}, True),
        ({"labels": {"tier": ("gold", "silver")}}, {"labels": {"tier": "tin"}}, False),
        ({"labels": {"tier": ("gold",)}}, {"labels": {"team": "gold"}}, False),
        ({"labels": {"tier": ("*",)}}, {"labels": {"tier": "tin"}}, True),
        ({"labels": {"tier": ("*",)}}, {"labels": {"tier": ""}}, True),
        ({"labels": {"tier": ("*",)}}, {}, False),
        ({"labels": {"tier": ("gold",), "team": ("x",)}}, {"labels": {"tier": "gold"}}, False),
        ({"callers": ("shop",)}, {"caller": "shop"}, True),
        ({"callers": ("shop",)}, {"caller": "Shop"}, False),
        ({"callers": ("shop",), "languages": ("en",)}, {"caller": "shop"}, False),
        ({}, {}, True),
        ({"verbs": ("edit_image",)}, {}, True),
    ],
)
def test_a_call_has_to_meet_every_condition_that_is_there(when, facts, met):
    assert (unmet(ConditionSettings(**when), CallFacts("generate_image", **facts)) == []) is met


def test_everything_that_is_not_met_is_told_with_what_the_call_has():
    when = ConditionSettings(
        min_pixels=2, max_pixels=3, voices=("a",), languages=("en",), labels={"tier": ("x",)}, callers=("shop",)
    )
    assert unmet(when, CallFacts("generate_image", caller="me", pixels=1, language="de", labels={"tier": "y"})) == [
        "min_pixels=2 is not met: the call asks for 1 pixels",
        "voices=a is not met: the call has no voice",
        "languages=en is not met: the call's language is de",
        "callers=shop is not met: the call's caller is me",
        "labels.tier=x is not met: the call's label tier is y",
    ]
    assert unmet(ConditionSettings(max_pixels=3), CallFacts("generate_image")) == [
        "max_pixels=3 is not met: the call asks for no size"
    ]


def test_conditions_are_told_in_one_line():
    assert conditions_text(ConditionSettings()) == ""
    when = ConditionSettings(min_pixels=2_000_000, labels={"tier": ("gold", "silver"), "team": ("*",)})
    assert conditions_text(when) == "min_pixels=2000000, labels.tier=gold|silver, labels.team=*"
    when = ConditionSettings(
        verbs=("edit_image",), max_pixels=9, voices=("a", "b"), languages=("en",), callers=("shop",)
    )
    assert conditions_text(when) == "verbs=edit_image, max_pixels=9, voices=a|b, languages=en, callers=shop"
