"""The catalogue is what requests are really checked against."""

from __future__ import annotations

from calling import settings_for_tests, stubs_of
from pixvox import server, settings
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
    assert [provider.name for provider in listed] == ["first", "second"]
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
