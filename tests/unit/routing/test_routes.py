"""Routes: which targets a call has, in which order, and what is said of each."""

from __future__ import annotations

from collections import Counter

import pytest

from pixvox.errors import NoProviderError, UnsupportedError
from pixvox.routing.candidates import CallFacts
from pixvox.routing.routes import compiled, group_of
from pixvox.v1 import model_service_pb2
from routed import PROVIDERS, SPLIT, configured, picture, read, route, speech, tried

QWEN_SPEECH = "qwen/qwen3-tts-flash-realtime"


def test_targets_without_weights_are_tried_in_the_order_of_the_file():
    made = route(
        '[routes.r]\nverbs = ["edit_image"]\ntargets = [{ to = "second" }, { to = "qwen" }, { to = "sandbox" }]'
    )
    assert tried(made, CallFacts("edit_image")) == [
        "second/sandbox-image",
        "qwen/qwen-image-edit-max",
        "sandbox/sandbox-image",
    ]


def test_a_bare_provider_is_its_first_model_for_each_verb():
    made = route('[routes.r]\nverbs = ["generate_image", "design_voice"]\ntargets = [{ to = "qwen" }]')
    assert tried(made, picture()) == ["qwen/qwen-image-max"]
    assert tried(made, CallFacts("design_voice")) == ["qwen/qwen3-tts-vd-realtime-2026-01-15"]
    assert [str(target.key) for target in made.listed] == [
        "qwen/qwen-image-max",
        "qwen/qwen3-tts-vd-realtime-2026-01-15",
    ]


def test_a_target_may_leave_out_a_verb_that_its_model_lacks():
    made = route(
        """
        [routes.r]
        verbs = ["generate_image", "edit_image"]
        targets = [{ to = "qwen/qwen-image", when.verbs = ["generate_image"] }, { to = "sandbox" }]
        """
    )
    assert tried(made, picture()) == ["qwen/qwen-image", "sandbox/sandbox-image"]
    assert tried(made, CallFacts("edit_image")) == ["sandbox/sandbox-image"]
    assert [target.place for target in made.listed] == [0, 1]


def test_a_verb_that_the_route_lacks_has_no_candidates():
    assert route(SPLIT).candidates(picture(), configured) == []


@pytest.mark.parametrize(
    ("point", "order"),
    [
        (0.1, [QWEN_SPEECH, "sandbox/sandbox-speech", "second/sandbox-speech"]),
        (0.3, ["sandbox/sandbox-speech", QWEN_SPEECH, "second/sandbox-speech"]),
        (0.8, ["second/sandbox-speech", QWEN_SPEECH, "sandbox/sandbox-speech"]),
    ],
)
def test_the_drawn_target_goes_first_and_the_others_follow_in_the_order_of_the_file(point, order):
    assert tried(route(SPLIT), speech(), draw=lambda: point) == order


def test_weights_draw_among_those_directly_beside_each_other_alone():
    made = route(
        """
        [routes.r]
        verbs = ["stream_speech"]
        targets = [
            { to = "qwen/qwen3-tts-flash" },
            { to = "sandbox", weight = 1 },
            { to = "second", weight = 1 },
            { to = "qwen" },
            { to = "qwen/qwen3-tts-instruct-flash", weight = 1 },
        ]
        """
    )
    assert tried(made, speech(), draw=lambda: 0.9) == [
        "qwen/qwen3-tts-flash",
        "second/sandbox-speech",
        "sandbox/sandbox-speech",
        QWEN_SPEECH,
        "qwen/qwen3-tts-instruct-flash",
    ]


def test_who_cannot_take_the_call_leaves_its_share_to_the_others_by_their_weights():
    made = route(SPLIT.replace('"sandbox", weight = 2', '"sandbox", weight = 2, when.languages = ["de"]'))
    firsts = Counter(tried(made, speech(), draw=lambda n=n: n / 100)[0] for n in range(100))
    assert firsts == {QWEN_SPEECH: 50, "second/sandbox-speech": 50}


def test_who_is_switched_off_leaves_its_share_to_the_others_by_their_weights():
    made = route(SPLIT, PROVIDERS.replace("[providers.second]", "enabled = false\n[providers.second]"))
    firsts = Counter(tried(made, speech(), draw=lambda n=n: n / 100)[0] for n in range(100))
    assert firsts == {QWEN_SPEECH: 50, "second/sandbox-speech": 50}


def test_a_weight_of_0_takes_no_calls_not_even_as_a_fallback():
    made = route(SPLIT.replace("weight = 2", "weight = 0"))
    for point in (0.0, 0.4, 0.6, 0.99):
        assert "sandbox/sandbox-speech" not in tried(made, speech(), draw=lambda point=point: point)


def test_the_weight_in_force_counts_and_not_the_configured_one():
    made = route(SPLIT)

    def rolled_back(target):
        return 0.0 if target.key.provider == "sandbox" else target.weight

    firsts = Counter(tried(made, speech(), rolled_back, lambda n=n: n / 100)[0] for n in range(100))
    assert firsts == {QWEN_SPEECH: 50, "second/sandbox-speech": 50}


def test_a_run_of_which_nobody_takes_the_call_is_passed_over():
    made = route(SPLIT.replace("\n]", '\n    { to = "qwen/qwen3-tts-flash" },\n]'))
    assert tried(made, speech(), lambda _: 0.0) == ["qwen/qwen3-tts-flash"]


def test_a_caller_stays_with_what_was_drawn_for_it():
    made = route(SPLIT + 'sticky = "caller"')
    for caller in ("ann", "bob", "cem"):
        orders = {tuple(tried(made, speech(caller=caller), draw=lambda n=n: n / 7)) for n in range(7)}
        assert len(orders) == 1


def test_callers_are_shared_out_by_weight():
    made = route(SPLIT + 'sticky = "caller"')
    firsts = Counter(tried(made, speech(caller=f"caller-{n}"))[0] for n in range(2000))
    assert firsts["sandbox/sandbox-speech"] == pytest.approx(1000, abs=90)
    assert firsts[QWEN_SPEECH] == pytest.approx(500, abs=80)


def test_a_label_can_be_followed_instead():
    made = route(SPLIT + 'sticky = "label:team"')
    by_team = {
        team: {tried(made, speech(caller=f"c{n}", labels={"team": team}))[0] for n in range(20)}
        for team in map(str, range(30))
    }
    assert {len(firsts) for firsts in by_team.values()} == {1}
    assert len(set.union(*by_team.values())) == 3


def test_without_the_label_every_call_is_drawn_anew():
    made = route(SPLIT + 'sticky = "label:team"')
    firsts = {tried(made, speech(caller="ann"), draw=lambda n=n: n / 10)[0] for n in range(10)}
    assert len(firsts) == 3


def test_a_caller_keeps_its_provider_for_every_verb():
    made = route(
        """
        [routes.r]
        verbs = ["generate_image", "stream_speech"]
        sticky = "caller"
        targets = [{ to = "qwen", weight = 1 }, { to = "sandbox", weight = 1 }]
        """
    )
    callers = [f"caller-{n}" for n in range(50)]
    pictures = [tried(made, picture(caller=caller))[0].partition("/")[0] for caller in callers]
    assert pictures == [tried(made, speech(caller=caller))[0].partition("/")[0] for caller in callers]
    assert {*pictures} == {"qwen", "sandbox"}


def test_two_routes_draw_their_canaries_from_different_callers():
    settings, entries = read(
        SPLIT + 'sticky = "caller"\n' + SPLIT.replace("routes.r", "routes.s") + 'sticky = "caller"'
    )
    routes = compiled(settings, entries)
    first, second = ([tried(routes[name], speech(caller=f"caller-{n}"))[0] for n in range(100)] for name in ("r", "s"))
    assert first != second


def test_the_same_target_twice_has_two_shares():
    made = route(SPLIT.replace('"second"', '"qwen"') + 'sticky = "caller"')
    places = Counter(made.candidates(speech(caller=f"caller-{n}"), configured)[0].target.place for n in range(1000))
    assert places[0] == pytest.approx(250, abs=60)
    assert places[2] == pytest.approx(250, abs=60)


def findings(chosen, facts, weight_of=configured, place=0):
    candidate = next(one for one in chosen.candidates(facts, weight_of, lambda: 0.0) if one.target.place == place)
    return {model_service_pb2.RouteCheck.Name(one.check): one for one in candidate.findings}


def test_a_target_that_may_be_tried_says_so_of_every_check():
    found = findings(route(SPLIT), speech())
    assert {name: (one.passed, one.message) for name, one in found.items()} == {
        "ROUTE_CHECK_CONDITION": (True, "the target takes every call"),
        "ROUTE_CHECK_SWITCH": (True, "is switched on"),
        "ROUTE_CHECK_WEIGHT": (True, "drawn to be tried first, by weight 1 of 4"),
    }


def test_a_failed_condition_says_which_and_what_the_call_has():
    made = route('[routes.r]\nverbs = ["stream_speech"]\ntargets = [{ to = "qwen", when.languages = ["en", "de"] }]')
    (found,) = [one for one in findings(made, speech(language="fr")).values() if not one.passed]
    assert found.message == "languages=en|de is not met: the call's language is fr"
    assert isinstance(found.error, UnsupportedError)
    assert found.error.message == "No target of route r takes this call; ExplainRoute tells why."
    assert found.error.violations[0].field == "model"
    assert found.error.metadata == {"route": "r"}


def test_a_met_condition_says_which():
    made = route('[routes.r]\nverbs = ["stream_speech"]\ntargets = [{ to = "qwen", when.languages = ["en"] }]')
    found = findings(made, speech(language="en-GB"))["ROUTE_CHECK_CONDITION"]
    assert found.message == "the call meets languages=en"


def test_a_target_that_lost_its_weight_says_what_it_had():
    found = findings(route(SPLIT), speech(), lambda _: 0.0)["ROUTE_CHECK_WEIGHT"]
    assert found.message == "has weight 0 instead of its configured 1: it was rolled back"
    assert isinstance(found.error, NoProviderError)


def test_a_weight_of_0_in_the_file_is_no_rollback():
    found = findings(route(SPLIT.replace("weight = 2", "weight = 0")), speech(), place=1)
    assert found["ROUTE_CHECK_WEIGHT"].message == "has weight 0"


def test_those_that_may_not_be_tried_stay_where_they_would_have_stood():
    made = route(SPLIT.replace('weight = 1 },\n    { to = "sandbox"', 'weight = 0 },\n    { to = "sandbox"'))
    order = [one.target.place for one in made.candidates(speech(), configured, lambda: 0.99)]
    assert order == [2, 0, 1]


def test_a_group_is_the_targets_with_weights_that_a_call_may_be_drawn_to():
    made = route(SPLIT.replace("\n]", '\n    { to = "qwen/qwen3-tts-flash" },\n]'))
    targets = made.targets["stream_speech"]
    assert group_of(made, targets[1]) == targets[:3]
    assert group_of(made, targets[3]) == ()
