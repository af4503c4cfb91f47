"""ExplainRoute tells what a call would meet, in the words of each check, and asks no provider."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import pytest

import serving
from emulated import failure_of, provider_table
from pixvox.database import Database
from pixvox.routing.guards import fingerprint
from pixvox.routing.rollbacks import Rollback, Rollbacks
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Refused, Stalled
from pixvox.v1 import error_reason_pb2, image_service_pb2, media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from pixvox.v1.model_service_pb2 import ExplainRouteRequest
from pixvox.v1.speech_service_pb2 import SpeechConfig
from pixvox.v1.voice_service_pb2_grpc import VoiceServiceStub
from recording import cloning, designing

MAX = "qwen-image-max"
IMAGE = "qwen-image-2.0"
SPEECH = "qwen3-tts-flash-realtime"
SMALL = media_pb2.Size(width=64, height=64)
SANDBOX = {"kind": "sandbox"}


@pytest.fixture
async def vendor():
    """A vendor that nobody may ask."""
    async with DashScopeEmulator() as emulator:
        yield emulator
    assert not emulator.requests


@pytest.fixture
async def asked_vendor():
    async with DashScopeEmulator() as emulator:
        yield emulator


def pictures(*targets, verbs=("generate_image",), **fields):
    """Settings of one route, `r`, for pictures."""
    return {"r": {"verbs": list(verbs), "targets": list(targets), **fields}}


def speeches(*targets, **fields):
    return pictures(*targets, verbs=("stream_speech",), **fields)


@contextlib.asynccontextmanager
async def explaining(emulator, routes, providers=None, **tables):
    """Stubs of a service with the vendor and two sandboxes."""
    known = {**serving.vendors(qwen=emulator), "a": SANDBOX, "b": SANDBOX} | (providers or {})
    async with serving.serving(serving.settings_with(known, routes, **tables)) as stubs:
        yield stubs


def picture(**fields):
    return GenerateImageRequest(**({"prompt": "a lighthouse", "model": "r"} | fields))


async def explain(stubs, caller="", characters=0, **call):
    return await stubs.models.ExplainRoute(
        ExplainRouteRequest(caller=caller, text_characters=characters, **call), timeout=5
    )


def check_name(finding):
    return model_service_pb2.RouteCheck.Name(finding.check).removeprefix("ROUTE_CHECK_")


def told(answer):
    """Each candidate with what speaks against it, in order."""
    return [
        (
            f"{one.provider}/{one.model}",
            [f"{check_name(found)}: {found.message}" for found in one.findings if not found.passed],
        )
        for one in answer.candidates
    ]


def found(candidate, check):
    """What one check says of a candidate."""
    return next(one.message for one in candidate.findings if check_name(one) == check)


def error_of(answer):
    return error_reason_pb2.ErrorReason.Name(answer.error_reason).removeprefix("ERROR_REASON_")


async def test_an_eligible_candidate_has_passed_every_check_and_has_its_price(vendor):
    async with explaining(vendor, pictures({"to": f"qwen/{IMAGE}"})) as stubs:
        answer = await explain(stubs, generate_image=picture(n=3), caller="ann")
        digest = (await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())).config_digest
    (only,) = answer.candidates
    assert (answer.route, answer.caller, answer.config_digest) == ("r", "ann", digest)
    assert (only.provider, only.model, only.eligible) == ("qwen", IMAGE, True)
    assert [(check_name(one), one.passed, one.message) for one in only.findings] == [
        ("CONDITION", True, "the target takes every call"),
        ("SWITCH", True, "is switched on"),
        ("CAPABILITY", True, "qwen-image-2.0 can do what is asked"),
        ("READY", True, "is configured"),
        ("BREAKER", True, "the circuit is closed"),
        ("QUOTA", True, "the call would begin at once"),
    ]
    assert (only.estimated_cost.amount, only.estimated_cost.currency) == ("0.105", "USD")
    assert only.health.breaker == model_service_pb2.BREAKER_STATE_CLOSED
    assert (answer.error_reason, answer.error_message) == (0, "")


async def test_a_condition_that_is_not_met_is_told_with_what_the_call_has_instead(vendor):
    routes = pictures(
        {"to": f"qwen/{MAX}", "when": {"labels": {"tier": ["gold"]}}},
        {"to": f"qwen/{IMAGE}", "when": {"min_pixels": 2_000_000, "callers": ["svc-a"]}},
        {"to": "a"},
    )
    async with explaining(vendor, routes) as stubs:
        answer = await explain(stubs, generate_image=picture(labels={"tier": "free"}, size=SMALL), caller="svc-b")
        gold = await explain(stubs, generate_image=picture(labels={"tier": "gold"}))
    unmet = [
        "min_pixels=2000000 is not met: the call asks for 4096 pixels",
        "callers=svc-a is not met: the call's caller is svc-b",
    ]
    assert told(answer) == [
        (f"qwen/{MAX}", ["CONDITION: labels.tier=gold is not met: the call's label tier is free"]),
        (
            f"qwen/{IMAGE}",
            [f"CONDITION: {'; '.join(unmet)}"],
        ),
        ("a/sandbox-image", []),
    ]
    assert gold.candidates[0].eligible
    assert found(gold.candidates[0], "CONDITION") == "the call meets labels.tier=gold"


async def test_a_call_that_no_target_takes_is_told_to_be_refused(vendor):
    async with explaining(vendor, pictures({"to": "a", "when": {"callers": ["svc-a"]}})) as stubs:
        answer = await explain(stubs, generate_image=picture(), caller="svc-b")
    assert error_of(answer) == "UNSUPPORTED"
    assert answer.error_message == "No target of route r takes this call; ExplainRoute tells why."


async def test_a_verb_that_is_switched_off_is_told_wherever_it_is(vendor):
    routes = pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"})
    async with explaining(vendor, routes, {"a": SANDBOX | {"switched_off": ["generate_image"]}}) as stubs:
        one = await explain(stubs, generate_image=picture())
        direct = await explain(stubs, generate_image=picture(model="", provider="a"))
    assert told(one) == [
        (f"qwen/{IMAGE}", []),
        ("a/sandbox-image", ["SWITCH: Provider a is switched off for generate_image"]),
    ]
    assert (error_of(direct), direct.route) == ("SWITCHED_OFF", "")
    async with explaining(vendor, routes, switches={"generate_image": False}) as stubs:
        whole = await explain(stubs, generate_image=picture())
    assert [reasons for _, reasons in told(whole)] == [["SWITCH: generate_image is switched off"]] * 2
    assert (error_of(whole), whole.error_message) == ("SWITCHED_OFF", "generate_image is switched off.")


async def test_a_provider_that_is_switched_off_stays_in_its_routes_without_any_health(vendor):
    routes = pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"})
    off = {"qwen": provider_table(vendor) | {"enabled": False}}
    async with explaining(vendor, routes, off) as stubs:
        answer = await explain(stubs, generate_image=picture())
        direct = await explain(stubs, generate_image=picture(model="", provider="qwen"))
    assert told(answer) == [
        (f"qwen/{IMAGE}", ["SWITCH: Provider qwen is switched off"]),
        ("a/sandbox-image", []),
    ]
    assert [check_name(one) for one in answer.candidates[0].findings] == ["CONDITION", "SWITCH"]
    assert [one.HasField("health") for one in answer.candidates] == [False, True]
    assert (error_of(direct), list(direct.candidates)) == ("SWITCHED_OFF", [])


LACKING = [
    (picture(size={"width": 8, "height": 8}), "size: is 8x8; allowed: "),
    (picture(n=7), "n: is 7; allowed: 1..6"),
    (picture(negative_prompt="x" * 501), "negative_prompt: has 501 characters; allowed: 0..500"),
]


@pytest.mark.parametrize(("request_", "why"), LACKING, ids=[row[1].split(":")[0] for row in LACKING])
async def test_what_a_model_lacks_for_a_picture_is_told(vendor, request_, why):
    async with explaining(vendor, pictures({"to": f"qwen/{IMAGE}"})) as stubs:
        answer = await explain(stubs, generate_image=request_)
    ((_, (against,)),) = told(answer)
    assert against.startswith(f"CAPABILITY: {why}")
    assert error_of(answer) == "UNSUPPORTED"
    assert answer.error_message == against.removeprefix("CAPABILITY: ")


async def test_what_a_model_lacks_for_speech_is_told_and_another_one_serves(vendor):
    async with explaining(vendor, speeches({"to": f"qwen/{SPEECH}"}, {"to": "a"})) as stubs:
        language = await explain(stubs, stream_speech=SpeechConfig(model="r", language_code="sw"))
        voice = await explain(stubs, stream_speech=SpeechConfig(model="r", voice="Cherry"), characters=2_000)
        nobody = await explain(stubs, stream_speech=SpeechConfig(model="r", voice="Nobody"))
    assert [reasons[0].split(": ")[:2] for _, reasons in told(language)] == [["CAPABILITY", "config.language_code"]] * 2
    assert error_of(language) == "UNSUPPORTED"
    assert [bool(reasons) for _, reasons in told(voice)] == [False, True]
    assert told(voice)[1][1][0].startswith("CAPABILITY: sandbox-speech has no voice of that name")
    assert (voice.candidates[0].estimated_cost.amount, voice.candidates[0].estimated_cost.currency) == ("0.026", "USD")
    assert error_of(nobody) == "VOICE_NOT_FOUND"


async def test_a_cost_that_depends_on_an_unknown_length_is_not_told(vendor):
    async with explaining(vendor, {}) as stubs:
        answer = await explain(stubs, stream_speech=SpeechConfig(model=SPEECH))
    assert answer.candidates[0].estimated_cost == media_pb2.Cost(state=media_pb2.COST_STATE_UNPRICED)


async def test_an_invalid_request_is_told_to_be_refused_by_every_candidate(vendor):
    async with explaining(vendor, pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"})) as stubs:
        answer = await explain(stubs, generate_image=picture(prompt=""))
    assert [reasons for _, reasons in told(answer)] == [["CAPABILITY: prompt: is empty"]] * 2
    assert error_of(answer) == "INVALID_REQUEST"


async def test_a_weight_of_0_takes_no_calls_and_the_drawn_one_is_first(vendor):
    routes = pictures({"to": f"qwen/{IMAGE}", "weight": 0}, {"to": "a", "weight": 1}, {"to": "b", "weight": 3})
    async with explaining(vendor, routes) as stubs:
        answers = [await explain(stubs, generate_image=picture()) for _ in range(40)]
    for answer in answers:
        first, *others = answer.candidates
        weight = 1 if first.provider == "a" else 3
        assert found(first, "WEIGHT") == f"drawn to be tried first, by weight {weight} of 4"
        assert [one.eligible for one in others] == [False, True]
        assert found(others[0], "WEIGHT") == "has weight 0"
        assert found(others[1], "WEIGHT") == f"has weight {4 - weight}"
    assert {answer.candidates[0].provider for answer in answers} == {"a", "b"}


async def test_a_canary_that_was_rolled_back_is_told_with_its_configured_weight(vendor):
    canary = {"to": f"qwen/{IMAGE}", "weight": 9, "guard": {}}
    routes = pictures(canary, {"to": "a", "weight": 1})
    settings = serving.settings_with({**serving.vendors(qwen=vendor), "a": SANDBOX}, routes)
    database = await Database.open(settings.database.url)
    rollbacks = Rollbacks(database)
    await rollbacks.start()
    mark = fingerprint(settings.routes["r"].targets[0])
    rollbacks.add(Rollback("r", f"qwen/{IMAGE}", mark, "error_rate", "20 of 100 calls failed."))
    await rollbacks.aclose()
    await database.aclose()
    async with serving.serving(settings) as stubs:
        answer = await explain(stubs, generate_image=picture())
        alone = await explain(stubs, generate_image=picture(provider="qwen"))
        ((route,),) = ((await stubs.models.ListProviders(model_service_pb2.ListProvidersRequest())).routes,)
    assert told(answer) == [
        ("a/sandbox-image", []),
        (f"qwen/{IMAGE}", ["WEIGHT: has weight 0 instead of its configured 9: it was rolled back"]),
    ]
    assert error_of(alone) == "NO_PROVIDER"
    rolled_back = route.targets[0]
    assert (rolled_back.configured_weight, rolled_back.weight) == (9, 0)
    assert rolled_back.rolled_back_reason == "20 of 100 calls failed."


async def test_a_provider_without_a_key_is_told_to_be_unready(vendor):
    keyless = {"qwen": provider_table(vendor) | {"api_key": ""}}
    async with explaining(vendor, pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"}), keyless) as stubs:
        answer = await explain(stubs, generate_image=picture())
        alone = await explain(stubs, generate_image=picture(provider="qwen"))
    ((_, (against,)), (_, nothing)) = told(answer)
    assert against.startswith("READY: ")
    assert nothing == []
    assert error_of(alone) == "PROVIDER_NOT_CONFIGURED"


async def test_an_open_circuit_is_told_with_why_and_for_how_long(asked_vendor):
    routes = pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"})
    defaults = serving.UNLIMITED | {"failures": 2, "open_seconds": 60}
    asked_vendor.faults.add(Fault("generate", Refused(401, "InvalidApiKey"), times=None))
    async with explaining(asked_vendor, routes, target_defaults=defaults) as stubs:
        for _ in range(2):
            assert (await stubs.images.GenerateImage(picture())).receipt.provider == "a"
        answer = await explain(stubs, generate_image=picture())
        alone = await explain(stubs, generate_image=picture(provider="qwen"))
        failure = await failure_of(stubs.images.GenerateImage(picture(provider="qwen")))
    why = f"Nothing is sent to qwen/{IMAGE} for a while: 2 calls in a row failed, the last with PROVIDER_CREDENTIALS."
    assert told(answer) == [(f"qwen/{IMAGE}", [f"BREAKER: {why}"]), ("a/sandbox-image", [])]
    assert 50 < answer.candidates[0].health.retry_delay.ToTimedelta().total_seconds() <= 60
    assert (error_of(alone), alone.error_message) == ("CIRCUIT_OPEN", why)
    assert (failure.reason, failure.message) == ("CIRCUIT_OPEN", why)
    assert asked_vendor.count("generate") == 2


async def test_a_half_open_circuit_is_told_and_the_call_would_be_its_probe(asked_vendor):
    defaults = serving.UNLIMITED | {"failures": 1, "open_seconds": 0.1}
    asked_vendor.faults.add(Fault("generate", Refused(401, "InvalidApiKey")))
    async with explaining(asked_vendor, pictures({"to": f"qwen/{IMAGE}"}), target_defaults=defaults) as stubs:
        await failure_of(stubs.images.GenerateImage(picture()))
        await asyncio.sleep(0.15)
        answer = await explain(stubs, generate_image=picture())
    (only,) = answer.candidates
    assert only.eligible
    assert found(only, "BREAKER").startswith("the circuit is half-open")
    assert only.health.breaker == model_service_pb2.BREAKER_STATE_HALF_OPEN


async def test_a_rate_that_is_used_up_is_told_with_the_wait_and_the_next_target_goes_first(asked_vendor):
    routes = pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"})
    limits = {f"qwen/{IMAGE}": {"requests_per_minute": 2, "burst": 1}}
    async with explaining(asked_vendor, routes, targets=limits) as stubs:
        await stubs.images.GenerateImage(picture(provider="qwen"))
        answer = await explain(stubs, generate_image=picture())
        served = await stubs.images.GenerateImage(picture())
    assert [one.provider for one in answer.candidates] == ["a", "qwen"]
    assert [one.eligible for one in answer.candidates] == [True, True]
    assert found(answer.candidates[1], "QUOTA").startswith("the call would wait for about ")
    assert found(answer.candidates[1], "QUOTA").endswith(" s, unless another target can begin it")
    assert served.receipt.provider == "a"


async def test_a_route_without_overflow_waits_for_its_first_target(asked_vendor):
    routes = pictures({"to": f"qwen/{IMAGE}"}, {"to": "a"}, overflow=False)
    limits = {f"qwen/{IMAGE}": {"requests_per_minute": 60, "burst": 1}}
    async with explaining(asked_vendor, routes, targets=limits) as stubs:
        await stubs.images.GenerateImage(picture(provider="qwen"))
        answer = await explain(stubs, generate_image=picture())
        served = await stubs.images.GenerateImage(picture())
    assert [one.provider for one in answer.candidates] == ["qwen", "a"]
    assert served.receipt.provider == "qwen"


async def test_a_wait_beyond_the_deadline_that_the_service_sets_is_told_as_a_refusal(asked_vendor):
    limits = {f"qwen/{IMAGE}": {"requests_per_minute": 2, "burst": 1}}
    routes = pictures({"to": f"qwen/{IMAGE}"})
    async with explaining(asked_vendor, routes, targets=limits, deadlines={"generate_image": 20.0}) as stubs:
        await stubs.images.GenerateImage(picture())
        answer = await explain(stubs, generate_image=picture())
        failure = await failure_of(stubs.images.GenerateImage(picture()))
    ((_, (against,)),) = told(answer)
    assert against.startswith(f"QUOTA: qwen/{IMAGE} could begin the call in about ")
    assert against.endswith(" s, which is after its deadline.")
    assert error_of(answer) == failure.reason == "OVERLOADED"
    assert asked_vendor.count("generate") == 1


async def test_a_full_queue_is_told_and_an_open_circuit_beside_it_is_not_the_error(asked_vendor):
    async with DashScopeEmulator() as broken:
        routes = pictures({"to": f"qwen/{IMAGE}"}, {"to": f"broken/{IMAGE}"})
        limits = {f"qwen/{IMAGE}": {"max_in_flight": 1, "max_queued": 1}, f"broken/{IMAGE}": {"failures": 1}}
        asked_vendor.faults.add(Fault("generate", Stalled(5)))
        broken.faults.add(Fault("generate", Refused(401, "InvalidApiKey")))
        async with explaining(asked_vendor, routes, serving.vendors(broken=broken), targets=limits) as stubs:
            await failure_of(stubs.images.GenerateImage(picture(provider="broken")))
            running = [stubs.images.GenerateImage(picture(provider="qwen")) for _ in range(2)]
            async with asyncio.timeout(5):
                while (answer := await explain(stubs, generate_image=picture())).candidates[0].health.queued < 1:  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.01)
            failure = await failure_of(stubs.images.GenerateImage(picture()))
            for call in running:
                call.cancel()
    assert told(answer)[0][1] == [f"QUOTA: qwen/{IMAGE} has as many calls waiting as it may."]
    assert told(answer)[1][1][0].startswith("BREAKER: Nothing is sent to broken/")
    # The full one is asked again when all others have refused, so it has the last word.
    assert (error_of(answer), answer.error_message) == (failure.reason, failure.message)
    assert failure.reason == "OVERLOADED"


async def test_warm_targets_come_first_where_the_route_prefers_them(vendor):
    cold = {"cold": SANDBOX | {"cold_start_seconds": 0.2}}
    targets = [{"to": "cold"}, {"to": f"qwen/{MAX}", "when": {"callers": ["x"]}}, {"to": "a"}]
    routes = pictures(*targets, cold="PREFER_WARM") | {"allow": pictures(*targets)["r"]}
    async with explaining(vendor, routes, cold) as stubs:
        prefer = await explain(stubs, generate_image=picture())
        allow = await explain(stubs, generate_image=picture(model="allow"))
        again = await explain(stubs, generate_image=picture())
    # The one that is not eligible keeps its place.
    assert [one.provider for one in prefer.candidates] == ["a", "qwen", "cold"]
    assert [one.provider for one in allow.candidates] == ["cold", "qwen", "a"]
    assert found(prefer.candidates[0], "WARMTH") == "is warm; those that are warm go first"
    assert found(prefer.candidates[2], "WARMTH") == "is cold; those that are warm go first"
    assert [check_name(one) for one in allow.candidates[0].findings].count("WARMTH") == 0
    # Nothing is woken by asking.
    assert again.candidates[2].health.warmth == model_service_pb2.WARMTH_COLD


async def test_a_made_voice_has_one_candidate_and_speaks_with_no_other_model(asked_vendor):
    routes = speeches({"to": "a"}, {"to": f"qwen/{SPEECH}"})
    async with explaining(asked_vendor, routes) as stubs:
        made = (await VoiceServiceStub(stubs.channel).DesignVoice(designing())).voice
        asked = len(asked_vendor.requests)
        answer = await explain(stubs, stream_speech=SpeechConfig(voice=made.id), characters=10)
        other = await explain(stubs, stream_speech=SpeechConfig(voice=made.id, model=SPEECH))
        elsewhere = await explain(stubs, stream_speech=SpeechConfig(voice=made.id, provider="a"))
        through = await explain(stubs, stream_speech=SpeechConfig(voice=made.id, model="r"))
        without = await explain(stubs, stream_speech=SpeechConfig(model=made.model, voice="Cherry"))
        unknown = await explain(stubs, stream_speech=SpeechConfig(voice=f"voices/{'0' * 32}"))
    (only,) = answer.candidates
    assert (only.provider, only.model, only.eligible) == ("qwen", made.model, True)
    assert found(only, "VOICE") == f"{made.id} was made for it, and speaks with no other"
    assert answer.route == ""
    assert (error_of(other), list(other.candidates)) == ("VOICE_MODEL_MISMATCH", [])
    assert error_of(elsewhere) == "VOICE_PROVIDER_MISMATCH"
    assert error_of(through) == "VOICE_MODEL_MISMATCH"
    assert [reasons[0].split(":")[0] for _, reasons in told(without)] == ["VOICE"]
    assert error_of(without) == "VOICE_MODEL_MISMATCH"
    assert error_of(unknown) == "VOICE_NOT_FOUND"
    assert len(asked_vendor.requests) == asked


async def test_a_made_voice_stays_with_its_model_although_a_route_has_the_models_name(asked_vendor):
    model = "qwen3-tts-vd-realtime-2026-01-15"
    routes = {model: {"verbs": ["stream_speech"], "targets": [{"to": f"qwen/{SPEECH}"}]}}
    async with explaining(asked_vendor, routes) as stubs:
        made = (await VoiceServiceStub(stubs.channel).DesignVoice(designing())).voice
        answer = await explain(stubs, stream_speech=SpeechConfig(voice=made.id))
    assert made.model == model
    assert [one.model for one in answer.candidates] == [model]


async def test_voices_and_edits_are_explained_with_their_prices_too(vendor):
    async with explaining(vendor, {}) as stubs:
        cloned = await explain(stubs, clone_voice=cloning())
        designed = await explain(stubs, design_voice=designing(provider="qwen"))
        incapable = await explain(stubs, design_voice=designing(provider="a"))
        edited = await explain(
            stubs,
            edit_image=image_service_pb2.EditImageRequest(
                prompt="blue", images=[media_pb2.MediaInput(uri="http://127.0.0.1:1/never-fetched.png")]
            ),
        )
    assert [one.eligible for answer in (cloned, designed, edited) for one in answer.candidates] == [True] * 3
    amounts = [answer.candidates[0].estimated_cost.amount for answer in (cloned, designed, edited)]
    assert amounts == ["0.01", "0.2", "0.075"]
    assert error_of(incapable) == "UNSUPPORTED"


async def test_names_that_are_not_there_are_told_as_the_call_would_be_told(vendor):
    async with explaining(vendor, pictures({"to": "a"})) as stubs:
        model = await explain(stubs, generate_image=picture(model="no-such-model"))
        provider = await explain(stubs, generate_image=picture(provider="no-such-provider"))
        verb = await explain(stubs, stream_speech=SpeechConfig(model="r"))
    assert [error_of(one) for one in (model, provider, verb)] == [
        "MODEL_NOT_FOUND",
        "PROVIDER_NOT_FOUND",
        "MODEL_NOT_FOUND",
    ]
    assert model.error_message == "There is no such model; ListModels lists them."


async def test_an_explanation_of_nothing_is_refused(stubs):
    failure = await failure_of(explain(stubs))
    assert (failure.reason, failure.violations[0].field) == ("INVALID_REQUEST", "call")


def drawn(rng):
    """A call of the route `split` for a picture, of any kind."""
    request = picture(model="split", labels={"team": rng.choice("abcdefgh")})
    if rng.random() < 0.3:
        request.labels["tier"] = "gold"
    if rng.random() < 0.8:
        side = rng.choice([16, 64, 512, 768])
        request.size.CopyFrom(media_pb2.Size(width=side, height=side))
    if rng.random() < 0.5:
        request.n = rng.choice([1, 2, 5, 9])
    if rng.random() < 0.2:
        request.provider = rng.choice(["a", "b", "qwen"])
    return request


async def test_the_first_eligible_candidate_is_the_one_that_serves(asked_vendor):
    routes = {
        "split": {
            "verbs": ["generate_image"],
            "sticky": "label:team",
            "targets": [
                {"to": f"qwen/{IMAGE}", "when": {"labels": {"tier": ["gold"]}}},
                {"to": "a", "weight": 2},
                {"to": "b", "weight": 1},
                {"to": f"qwen/{IMAGE}"},
            ],
        }
    }
    rng = random.Random(7)
    seen = Counter()
    async with explaining(asked_vendor, routes, target_defaults=serving.UNLIMITED) as stubs:
        for _ in range(30):
            request = drawn(rng)
            before = len(asked_vendor.requests)
            answer = await explain(stubs, generate_image=request)
            assert len(asked_vendor.requests) == before
            expected = next((f"{one.provider}/{one.model}" for one in answer.candidates if one.eligible), None)
            if expected is None:
                failure = await failure_of(stubs.images.GenerateImage(request))
                assert (failure.reason, failure.message) == (error_of(answer), answer.error_message), request
            else:
                receipt = (await stubs.images.GenerateImage(request)).receipt
                assert f"{receipt.provider}/{receipt.model}" == expected, request
                assert len(receipt.attempts) == 1
            seen[expected] += 1
    assert set(seen) == {"a/sandbox-image", "b/sandbox-image", f"qwen/{IMAGE}", None}
