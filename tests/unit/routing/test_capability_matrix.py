"""No call is ever tried at a target that lacks what it asks for: every model, every limit, in whatever route (N17)."""

from __future__ import annotations

import functools
import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pixvox import limits, registry, telemetry
from pixvox.errors import PixvoxError
from pixvox.prices import PriceTable
from pixvox.registry import has_capability
from pixvox.routing import Router, TargetStates
from pixvox.routing.explain import explained
from pixvox.routing.rollbacks import Rollbacks
from pixvox.settings import RouteSettings, Settings
from pixvox.upstream import Upstream
from pixvox.v1 import image_service_pb2, media_pb2, model_service_pb2, speech_service_pb2

PROVIDERS = {
    "qwen": {"kind": "dashscope", "api_key": "sk-test"},
    "mainland": {"kind": "dashscope", "api_key": "sk-test", "region": "cn"},
    "sandbox": {"kind": "sandbox"},
}
CHECKS = {
    "generate_image": limits.check_generate_image,
    "edit_image": limits.check_edit_image,
    "stream_speech": limits.check_speech,
}
LABELS = {"labels": {"tier": ["gold"]}}


@functools.cache
def entries():
    return registry.build(PROVIDERS, Upstream())


@functools.cache
def surroundings():
    signals = telemetry.Telemetry()
    return signals, PriceTable.load(), TargetStates(Rollbacks(None), signals.instruments)


def able(verb):
    return [(entry, model) for entry in entries() for model in entry.models if has_capability(model, verb)]


def some(choices):
    """One of these, or None for a field that is left away, as most are: else hardly any call could be served."""
    return st.sampled_from([*[None] * 3 * len(choices), *choices])


def told(kind, **fields):
    """A message with those of the fields that are drawn."""
    return st.fixed_dictionaries(fields).map(
        lambda drawn: kind(**{name: value for name, value in drawn.items() if value is not None})
    )


SIZES = [
    media_pb2.Size(width=width, height=height)
    for width, height in [
        (1, 1),
        (64, 64),
        (512, 512),
        (928, 1664),
        (1328, 1328),
        (2048, 2048),
        (2688, 1536),
        (4097, 9),
    ]
]
PICTURE = {
    "prompt": st.sampled_from([*["a lighthouse"] * 6, "x" * 801, "x" * 5001, ""]),
    "negative_prompt": some(["fog", "x" * 600]),
    "size": some(SIZES),
    "n": some([0, 1, 4, 6, 7]),
    "seed": some([0, 2**31 - 1, -1]),
    "format": some([*media_pb2.ImageFormat.values(), 99]),
    "delivery": some(media_pb2.Delivery.values()),
    "labels": some([{"tier": "gold"}, {"tier": "free"}, {"": "no key"}]),
}
INPUTS = st.sampled_from([1, 1, 1, 1, 0, 2, 3, 4, 17]).map(
    lambda count: [media_pb2.MediaInput(uri="https://example.com/a.png")] * count
)
AUDIO = told(
    media_pb2.AudioFormat,
    encoding=some([*media_pb2.AudioEncoding.values(), 99]),
    sample_rate_hertz=some([8000, 24000, 48000, 12345]),
)


def voices():
    return [voice.id for _, model in able("stream_speech") for voice in model.stream_speech.voices[:3]]


CALLS = {
    "generate_image": told(image_service_pb2.GenerateImageRequest, **PICTURE),
    "edit_image": told(
        image_service_pb2.EditImageRequest, **PICTURE, images=INPUTS, mask=some([media_pb2.MediaInput(data=b"m")])
    ),
    "stream_speech": st.deferred(
        lambda: told(
            speech_service_pb2.SpeechConfig,
            voice=some([*voices(), "Nobody"]),
            language_code=some(["en", "de-AT", "sw", "ZH"]),
            format=AUDIO,
            speaking_rate=some([0.1, 1.0, 2.0, math.nan]),
            pitch=some([1.0, 9.0]),
            volume=some([50.0, 101.0]),
            instructions=some(["slowly"]),
            labels=some([{"tier": "gold"}]),
        )
    ),
}


@st.composite
def routed_calls(draw):
    """A verb, a route for it over any models that have it, and a call."""
    verb = draw(st.sampled_from(sorted(CHECKS)))
    choices = [f"{entry.name}/{model.id}" for entry, model in able(verb)]
    names = draw(st.lists(st.sampled_from(choices), min_size=1, max_size=6))
    targets = [{"to": name, "when": LABELS if draw(st.booleans()) else {}} for name in names]
    return verb, targets, draw(CALLS[verb])


def plan_of(verb, targets, request):
    route = msgspec.convert({"verbs": [verb], "targets": targets}, RouteSettings)
    settings = Settings(providers=PROVIDERS, routes={"r": route})
    router = Router(settings, entries(), *surroundings())
    request.model = "r"
    return getattr(router, verb)(request)


def refused(verb, request, model):
    """What the limits say of a call to a model."""
    try:
        CHECKS[verb](request, model)
    except PixvoxError as error:
        return error
    return None


@given(routed_calls())
def test_a_candidate_is_eligible_if_and_only_if_its_model_can_do_what_is_asked(routed):
    verb, targets, request = routed
    with telemetry.calling(telemetry.Call("test")):
        plan = plan_of(verb, targets, request)
        answer = explained(plan, media_pb2.Usage(), math.inf)
    # Without weights the order is that of the route, whoever is eligible.
    assert [f"{one.provider}/{one.model}" for one in answer.candidates] == [target["to"] for target in targets]
    for candidate, message, target in zip(plan.candidates, answer.candidates, targets, strict=True):
        assert has_capability(candidate.model, verb)
        error = refused(verb, request, candidate.model)
        met = not target["when"] or request.labels.get("tier") == "gold"
        assert message.eligible == (met and error is None)
        capability = [one for one in message.findings if one.check == model_service_pb2.ROUTE_CHECK_CAPABILITY]
        # What the conditions keep away is not looked at any further.
        assert [one.passed for one in capability] == ([error is None] if met else [])
        if met and error is not None:
            assert capability[0].message == error.message


@given(routed_calls())
def test_what_is_tried_can_do_what_is_asked_and_what_is_refused_says_why(routed):
    verb, targets, request = routed
    with telemetry.calling(telemetry.Call("test")):
        plan = plan_of(verb, targets, request)
        tried = [one.model for one in plan.ordered()]
        answer = explained(plan, media_pb2.Usage(), math.inf)
    assert [refused(verb, request, model) for model in tried] == [None] * len(tried)
    assert bool(tried) == (answer.error_reason == 0)
    if not tried:
        reasons = {one.error.reason for one in plan.candidates if one.error is not None}
        assert answer.error_reason in reasons
