"""`pixvox explain`: what it asks the service, and what it shows of the answer."""

from __future__ import annotations

import json

import pytest

from pixvox.cli.output import Report
from pixvox.v1 import error_reason_pb2, media_pb2, model_service_pb2, voice_service_pb2
from pixvox.v1.model_service_pb2 import ExplainRouteRequest, ExplainRouteResponse


def candidate(provider, model, *findings, **fields):
    """A candidate with findings of (check, message, passed)."""
    return model_service_pb2.RouteCandidate(
        provider=provider,
        model=model,
        findings=[
            model_service_pb2.RouteFinding(
                check=model_service_pb2.RouteCheck.Value(f"ROUTE_CHECK_{check}"), message=message, passed=passed
            )
            for check, message, passed in findings
        ],
        **fields,
    )


PRICE = media_pb2.Cost(state=media_pb2.COST_STATE_PRICED, amount="0.075", currency="USD")
FULL = candidate("box", "best", ("CONDITION", "the call meets labels.tier=gold", True), ("QUOTA", "is full.", False))
GOOD = candidate("far", "plain", ("CAPABILITY", "plain can do it", True), eligible=True, estimated_cost=PRICE)


def asked(service):
    """The request that the service got."""
    (request,) = (one for one in service.requests if isinstance(one, ExplainRouteRequest))
    return request


def test_candidates_are_shown_in_order_with_every_finding_and_who_would_serve(pixvox, service):
    service.explanation = ExplainRouteResponse(
        route="fast", candidates=[FULL, GOOD], config_digest="0123456789abcdef", caller="svc-a"
    )
    done = pixvox("explain", "image", "a lighthouse", "--model", "fast")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "route fast  caller svc-a  config 0123456789abcdef",
        "1. box/best  not eligible  cost unpriced",
        "   pass condition  the call meets labels.tier=gold",
        "   fail quota      is full.",
        "2. far/plain  eligible  cost 0.075 USD",
        "   pass capability plain can do it",
        "The call would be served by far/plain.",
    ]


def test_a_call_that_nobody_would_serve_is_shown_with_its_error(pixvox, service):
    service.explanation = ExplainRouteResponse(
        candidates=[FULL, candidate("off", "", ("SWITCH", "Provider off is switched off", False))],
        error_reason=error_reason_pb2.ERROR_REASON_OVERLOADED,
        error_message="box/best is full.",
    )
    done = pixvox("explain", "speech", "Hello")
    assert done.code == 0
    assert "2. off  not eligible" in done.out
    assert done.out.splitlines()[-1] == "The call would fail with OVERLOADED: box/best is full."


def test_a_call_without_candidates_is_shown_with_its_error_alone(pixvox, service):
    service.explanation = ExplainRouteResponse(
        error_reason=error_reason_pb2.ERROR_REASON_MODEL_NOT_FOUND, error_message="There is no such model."
    )
    assert pixvox("explain", "image", "x", "--model", "nope").out.splitlines() == [
        "route none",
        "The call would fail with MODEL_NOT_FOUND: There is no such model.",
    ]


def test_json_is_the_message(pixvox, service):
    service.explanation = ExplainRouteResponse(route="fast", candidates=[GOOD], caller="svc-a")
    answer = json.loads(pixvox("explain", "image", "x", "--json").out)
    assert (answer["route"], answer["caller"]) == ("fast", "svc-a")
    (only,) = answer["candidates"]
    assert (only["provider"], only["model"], only["eligible"]) == ("far", "plain", True)
    assert only["findings"] == [{"check": "ROUTE_CHECK_CAPABILITY", "passed": True, "message": "plain can do it"}]
    assert only["estimated_cost"]["amount"] == "0.075"


def test_signs_are_for_terminals_alone(monkeypatch):
    report = Report(False)
    assert report.marks == ("pass", "fail")
    monkeypatch.setattr(report._out, "_force_terminal", True)
    assert report.marks == ("✓", "✗")


def test_a_picture_is_explained_with_all_that_it_asks_for(pixvox, service):
    options = ["--model", "fast", "--provider", "box", "--size", "2048x2048", "-n", "2", "--negative", "fog"]
    pixvox("explain", "image", "a lighthouse", *options, "--label", "tier=gold", "--caller", "svc-a")
    request = asked(service)
    assert request.caller == "svc-a"
    picture = request.generate_image
    assert (picture.prompt, picture.model, picture.provider, picture.n) == ("a lighthouse", "fast", "box", 2)
    assert (picture.size.width, picture.size.height, picture.negative_prompt) == (2048, 2048, "fog")
    assert dict(picture.labels) == {"tier": "gold"}
    # Whose format is not asked for has the model's own.
    assert picture.format == media_pb2.IMAGE_FORMAT_UNSPECIFIED


def test_an_edit_is_explained_by_the_number_of_its_files_and_none_is_read(pixvox, service):
    assert pixvox("explain", "edit", "no-such-file.png", "-", "make it blue", "--mask", "mask.png").code == 0
    edit = asked(service).edit_image
    assert edit.prompt == "make it blue"
    assert [one.uri for one in edit.images] == ["no-such-file.png", "-"]
    assert edit.mask.uri == "mask.png"


def test_speech_is_explained_with_its_length_and_without_an_output(pixvox, service):
    pixvox("explain", "speech", "Grüß dich", "--voice", "anna", "--language", "de", "--rate-hertz", "24000")
    request = asked(service)
    assert request.text_characters == 9
    config = request.stream_speech
    assert (config.voice, config.language_code) == ("anna", "de")
    assert config.format == media_pb2.AudioFormat(sample_rate_hertz=24000)


@pytest.mark.parametrize("words", [["clone"], ["clone", "me.wav"], ["design", "a warm voice"]], ids=" ".join)
def test_the_making_of_a_voice_is_explained_without_what_nobody_routes_by(pixvox, service, words):
    pixvox("explain", *words, "--provider", "qwen", "--language", "en")
    request = asked(service)
    made = request.clone_voice if words[0] == "clone" else request.design_voice
    assert (made.provider, made.language_code) == ("qwen", "en")
    assert made.display_name
    if isinstance(made, voice_service_pb2.CloneVoiceRequest):
        assert made.audio.uri
        assert made.consent.speaker
        assert made.consent.statement
    else:
        assert (made.description, bool(made.preview_text)) == ("a warm voice", True)


def test_where_nobody_listens_nothing_is_explained(pixvox):
    assert pixvox("explain", "image", "x", "--target", "127.0.0.1:1").code == 4


@pytest.mark.parametrize("command", ["image", "edit", "speech", "clone", "design"])
def test_an_explanation_has_the_options_of_the_call_but_no_output(pixvox, command):
    shown = pixvox("explain", command, "--help").out
    for option in ("--model", "--provider", "--label", "--caller", "--target", "--json", "--timeout"):
        assert option in shown
    assert "--output" not in shown


ROUTE = model_service_pb2.Route(
    name="fast",
    verbs=[model_service_pb2.VERB_GENERATE_IMAGE, model_service_pb2.VERB_EDIT_IMAGE],
    default_verbs=[model_service_pb2.VERB_GENERATE_IMAGE],
    targets=[
        {
            "provider": "box",
            "model": "best",
            "conditions": "labels.tier=gold",
            "configured_weight": 5,
            "weight": 0,
            "rolled_back_reason": "20 of 100 calls failed.",
            "rolled_back_time": {"seconds": 1_800_000_000},
            "health": {
                "breaker": model_service_pb2.BREAKER_STATE_OPEN,
                "breaker_reason": "5 calls in a row failed",
                "retry_delay": {"seconds": 8, "nanos": 250_000_000},
                "in_flight": 1,
                "max_in_flight": 2,
                "queued": 3,
                "max_queued": 100,
                "requests_per_minute": 120,
                "warmth": model_service_pb2.WARMTH_COLD,
            },
        },
        {"provider": "off", "configured_weight": 95, "weight": 95},
    ],
)


def test_providers_shows_routes_with_the_state_of_each_target(pixvox, service):
    service.routes.append(ROUTE)
    service.digest = "0123456789abcdef"
    lines = [" ".join(line.split()) for line in pixvox("providers").out.splitlines()]
    assert (
        "fast generate-image*, edit-image box/best labels.tier=gold 0 instead of 5 "
        "rolled back 2027-01-15 08:00 UTC: 20 of 100 calls failed.; circuit open (5 calls in a row failed); "
        "again in 8.2 s; 1 of 2 in flight; 3 of 100 waiting; 120 per minute; cold"
    ) in lines
    assert "fast generate-image*, edit-image off 95 switched off" in lines
    assert lines[-1] == "config 0123456789abcdef"


def test_providers_as_json_has_the_routes_and_the_digest(pixvox, service):
    service.routes.append(ROUTE)
    service.digest = "0123456789abcdef"
    answer = json.loads(pixvox("providers", "--json").out)
    assert answer["config_digest"] == "0123456789abcdef"
    assert answer["routes"][0]["targets"][0]["health"]["queued"] == 3
    assert [one["name"] for one in answer["providers"]] == ["box", "far"]


def test_providers_shows_what_is_switched_off(pixvox, service):
    service.more_providers.append(
        model_service_pb2.ProviderInfo(name="closed", kind="sandbox", verbs=[2], switched_off=[2], enabled=False)
    )
    lines = [" ".join(line.split()) for line in pixvox("providers").out.splitlines()]
    assert "closed sandbox 0 edit-image (off) no: it is switched off" in lines
