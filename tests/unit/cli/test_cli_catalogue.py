"""`pixvox models`, `providers`, `health`, and reading the catalogue page by page."""

from __future__ import annotations

import json
import threading

import grpc
import grpc_testing
import pytest

from pixvox.cli.catalogue import health_status, list_models
from pixvox.v1 import model_service_pb2


def test_models_shows_each_model_with_what_it_can(pixvox):
    done = pixvox("models")
    assert done.code == 0
    for fact in ("box-image", "= picture", "generate-image", "edit-image", "n to 4", "sides 64..2048", "png/jpeg/webp"):
        assert fact in done.out
    for fact in ("box-speech", "1 voices", "pcm_s16le/wav", "24 kHz", "text to 300"):
        assert fact in done.out


def test_models_of_one_verb_only(pixvox):
    found = json.loads(pixvox("models", "--verb", "stream-speech", "--json").out)["models"]
    assert [model["id"] for model in found] == ["box-speech"]
    assert found[0]["stream_speech"]["voices"] == [{"id": "anna"}]


def test_providers_shows_defaults_and_why_one_is_not_ready(pixvox):
    done = pixvox("providers")
    assert done.code == 0
    assert "generate-image*, edit-image, stream-speech" in done.out
    assert "no: its key is missing" in done.out


def test_health_is_0_when_everything_serves(pixvox):
    done = pixvox("health", "--json")
    assert done.code == 0
    assert {one["service"]: one["status"] for one in json.loads(done.out)["services"]} == dict.fromkeys(
        ["", *(f"pixvox.v1.{name}Service" for name in ("Image", "Speech", "Voice", "Model"))], "SERVING"
    )


def test_health_is_4_when_one_service_is_down(pixvox, service):
    service.bad.add("down")
    done = pixvox("health")
    assert done.code == 4
    assert "NOT_SERVING" in done.out


def test_health_of_one_service_asks_for_that_one_only(pixvox, service):
    service.bad.add("down")
    assert pixvox("health", "--service", "pixvox.v1.ImageService").code == 0
    assert pixvox("health", "--service", "pixvox.v1.SpeechService").code == 4


def test_health_of_an_unknown_service_is_4_and_says_so(pixvox):
    done = pixvox("health", "--service", "no.such.Service")
    assert done.code == 4
    assert "SERVICE_UNKNOWN" in done.out


def test_health_where_nobody_listens_is_4(pixvox):
    assert pixvox("health", "--target", "127.0.0.1:1").code == 4


@pytest.fixture
def played():
    """A channel without a server: the test plays the service. Gives the channel and a function that starts the caller."""
    services = [model_service_pb2.DESCRIPTOR.services_by_name["ModelService"]]
    channel = grpc_testing.channel(services, grpc_testing.strict_real_time())
    callers = []

    def call(function, *arguments):
        results = []
        caller = threading.Thread(target=lambda: results.append(function(channel, *arguments)), daemon=True)
        caller.start()
        callers.append(caller)
        return lambda: (caller.join(5), results)[1]

    yield channel, call
    for caller in callers:
        caller.join(5)


def test_all_pages_of_models_are_read_in_order(played):
    channel, call = played
    method = services_method("ListModels")
    results = call(list_models, "box")
    for token, identifier, following in (("", "a", "page-2"), ("page-2", "b", "")):
        _, request, rpc = channel.take_unary_unary(method)
        assert (request.page_token, request.provider, request.page_size) == (token, "box", 1000)
        page = model_service_pb2.ListModelsResponse(
            models=[model_service_pb2.Model(id=identifier)], next_page_token=following
        )
        rpc.terminate(page, (), grpc.StatusCode.OK, "")
    ((models,),) = (results(),)
    assert [model.id for model in models] == ["a", "b"]


def services_method(name):
    return model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].methods_by_name[name]


def test_a_status_of_the_health_service_is_given_by_its_name(service):
    with grpc.insecure_channel(service.target) as channel:
        assert health_status(channel, "pixvox.v1.ImageService") == "SERVING"


def test_what_looks_like_markup_is_shown_as_it_is(pixvox, service):
    service.models[0].aliases[0] = "[bold]x[/bold] :smile:"
    assert "[bold]x[/bold] :smile:" in pixvox("models").out
