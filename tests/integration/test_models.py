"""The catalogue is what requests are really checked against."""

from __future__ import annotations

import grpc

import serving
from calling import settings_for_tests, stubs_of
from emulated import failure_of
from pixvox import server, settings
from pixvox.health import DIGEST_KEY
from pixvox.v1 import media_pb2, model_service_pb2
from pixvox.v1.image_service_pb2 import GenerateImageRequest
from pixvox.v1.model_service_pb2 import GetModelRequest, ListModelsRequest, ListProvidersRequest

LANGUAGES = {"zh", "en", "de", "it", "pt", "es", "ja", "ko", "fr", "ru"}


async def test_models_list_their_capabilities(stubs):
    models = {model.id: model for model in (await stubs.models.ListModels(ListModelsRequest())).models}
    image = models["sandbox-image"]
    assert image.provider == "sandbox"
    assert image.generate_image.output.max_n == 4
    assert image.generate_image.output.size.max_side == 4096
    assert image.edit_image.max_images == 16
    assert image.edit_image.takes_mask
    assert not image.HasField("stream_speech")
    speech = models["sandbox-speech"].stream_speech
    assert {code.split("-")[0] for code in speech.language_codes} == LANGUAGES
    assert set(speech.sample_rates_hertz) == {8000, 16000, 24000, 48000}
    assert len(speech.encodings) == 6
    assert speech.voices


async def test_models_can_be_filtered_by_verb_and_paged(stubs):
    speaking = await stubs.models.ListModels(ListModelsRequest(verb=model_service_pb2.VERB_STREAM_SPEECH))
    assert [model.id for model in speaking.models] == ["sandbox-speech"]
    whole = await stubs.models.ListModels(ListModelsRequest())
    paged, token = [], ""
    while True:
        page = await stubs.models.ListModels(ListModelsRequest(page_size=1, page_token=token))
        assert len(page.models) == 1
        paged += page.models
        token = page.next_page_token
        if not token:
            break
    assert paged == list(whole.models)


async def test_one_model_is_found_by_its_id(stubs):
    answer = await stubs.models.GetModel(GetModelRequest(model="sandbox-image", provider="sandbox"))
    assert answer.model.id == "sandbox-image"


async def test_providers_tell_their_kind_and_what_they_are_the_default_for(stubs):
    (provider,) = (await stubs.models.ListProviders(ListProvidersRequest())).providers
    assert (provider.name, provider.kind, provider.ready) == ("sandbox", "sandbox", True)
    verbs = {
        model_service_pb2.VERB_GENERATE_IMAGE,
        model_service_pb2.VERB_EDIT_IMAGE,
        model_service_pb2.VERB_STREAM_SPEECH,
    }
    assert set(provider.verbs) == set(provider.default_verbs) == verbs


async def test_the_settings_decide_which_provider_serves(tmp_path):
    file = tmp_path / "pixvox.toml"
    file.write_text(
        """
        [server]
        listen = "127.0.0.1:0"
        http = ""
        [providers.first]
        kind = "sandbox"
        [providers.second]
        kind = "sandbox"
        [providers.off]
        kind = "sandbox"
        enabled = false
        [defaults]
        generate_image = "second/sandbox-image"
        """
    )
    request = GenerateImageRequest(prompt="x", size=media_pb2.Size(width=8, height=8))
    async with server.running(settings.load(file, environment={})) as service, stubs_of(service.target) as stubs:
        assert (await stubs.images.GenerateImage(request)).receipt.provider == "second"
        request.provider = "first"
        assert (await stubs.images.GenerateImage(request)).receipt.provider == "first"
        listed = (await stubs.models.ListProviders(ListProvidersRequest())).providers
    assert [(provider.name, provider.enabled) for provider in listed] == [
        ("first", True),
        ("second", True),
        ("off", False),
    ]
    assert model_service_pb2.VERB_GENERATE_IMAGE in listed[1].default_verbs
    assert model_service_pb2.VERB_GENERATE_IMAGE not in listed[0].default_verbs


async def test_every_answer_obeys_the_capabilities_it_was_checked_against():
    """A picture at each edge of the size rule is made, and one pixel beyond is refused; see test_bad_input."""
    async with server.running(settings_for_tests()) as service, stubs_of(service.target) as stubs:
        model = (await stubs.models.GetModel(GetModelRequest(model="sandbox-image"))).model
        rule = model.generate_image.output.size
        for width, height in ((rule.min_side, rule.min_side), (rule.max_side, 1), (1, rule.max_side)):
            request = GenerateImageRequest(prompt="edge", size=media_pb2.Size(width=width, height=height))
            (image,) = (await stubs.images.GenerateImage(request)).images
            assert (image.size.width, image.size.height) == (width, height)


SANDBOX = {"kind": "sandbox"}
GENERATE = model_service_pb2.VERB_GENERATE_IMAGE
EDIT = model_service_pb2.VERB_EDIT_IMAGE
SPEAK = model_service_pb2.VERB_STREAM_SPEECH


async def test_routes_are_listed_with_their_targets_conditions_and_weights():
    routes = {
        "fast": {
            "verbs": ["generate_image", "edit_image"],
            "targets": [
                {"to": "a", "when": {"min_pixels": 99, "labels": {"tier": ["gold"]}}},
                {"to": "a", "weight": 3},
                {"to": "b", "weight": 1, "guard": {}},
            ],
        },
        "voice": {"verbs": ["stream_speech"], "targets": [{"to": "b"}]},
    }
    tables = {"defaults": {"generate_image": "fast", "stream_speech": "a"}}
    async with serving.serving(serving.settings_with({"a": SANDBOX, "b": SANDBOX}, routes, **tables)) as stubs:
        call = stubs.models.ListProviders(ListProvidersRequest())
        answer = await call
        trailers = dict(await call.trailing_metadata())
    fast, voice = answer.routes
    assert (fast.name, list(fast.verbs), list(fast.default_verbs)) == ("fast", [GENERATE, EDIT], [GENERATE])
    assert [(one.provider, one.model) for one in fast.targets] == [(name, "sandbox-image") for name in ("a", "a", "b")]
    assert [one.conditions for one in fast.targets] == ["min_pixels=99, labels.tier=gold", "", ""]
    assert [one.HasField("weight") for one in fast.targets] == [False, True, True]
    assert [(one.configured_weight, one.weight) for one in fast.targets[1:]] == [(3, 3), (1, 1)]
    assert all(one.health.breaker == model_service_pb2.BREAKER_STATE_CLOSED for one in fast.targets)
    assert (voice.name, list(voice.verbs), list(voice.default_verbs)) == ("voice", [SPEAK], [])
    # A verb's default is a route or a provider, never both.
    assert [GENERATE in one.default_verbs for one in answer.providers] == [False, False]
    assert [SPEAK in one.default_verbs for one in answer.providers] == [True, False]
    assert answer.config_digest == trailers[DIGEST_KEY]


async def test_what_is_switched_off_is_listed_as_such():
    providers = {"a": SANDBOX | {"switched_off": ["edit_image"]}, "b": SANDBOX, "c": SANDBOX | {"enabled": False}}
    routes = {"r": {"verbs": ["generate_image"], "targets": [{"to": "c"}, {"to": "a"}]}}
    tables = {"switches": {"stream_speech": False}}
    async with serving.serving(serving.settings_with(providers, routes, **tables)) as stubs:
        answer = await stubs.models.ListProviders(ListProvidersRequest())
        failure = await failure_of(stubs.models.ListModels(ListModelsRequest(provider="c")))
    assert [list(one.switched_off) for one in answer.providers] == [[EDIT, SPEAK], [SPEAK], []]
    a, _, c = answer.providers
    assert (a.enabled, c.enabled, c.models, c.ready) == (True, False, 0, False)
    # Switched off is not gone: the model still says what it could.
    assert EDIT in a.verbs
    off, on = answer.routes[0].targets
    assert (off.provider, off.HasField("health"), on.HasField("health")) == ("c", False, True)
    assert (failure.reason, failure.code) == ("SWITCHED_OFF", grpc.StatusCode.FAILED_PRECONDITION)
