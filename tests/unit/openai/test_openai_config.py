"""What the settings may say of engines behind OpenAI's HTTP API."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pixvox.configuration import without_defaults
from pixvox.providers.openai import Config, create
from pixvox.providers.openai.dialects import DIALECTS
from pixvox.providers.openai.model_table import ModelTable
from pixvox.upstream import Upstream

HOST = "http://engine:8000/v1"


def config(**fields):
    return msgspec.convert({"base_url": HOST} | fields, Config, strict=False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dialect": "vllm_omni", "base_url": ""}, "base_url: is needed"),
        ({"urls": ["http://a/v1"]}, "urls: has its place without base_url"),
        ({"base_url": "ftp://a"}, "base_url: an address is"),
        ({"base_url": "http://user:pw@a"}, "without credentials"),
        ({"base_url": "http://a:99999"}, "base_url: an address is"),
        ({"api_key": "a b"}, "api_key"),
        ({"read_seconds": 0}, "read_seconds"),
        ({"result_hosts": ["com"]}, "result_hosts"),
        ({"dialect": "other"}, "dialect"),
        ({"models": [{"id": "mine"}]}, "needs verbs"),
        ({"dialect": "localai", "models": [{"id": "x", "verbs": ["edit_image"]}]}, "has no route"),
        ({"models": [{"id": "x", "verbs": ["generate_image"], "sizes": ["big"]}]}, "1024x1024"),
        ({"models": [{"id": "x", "verbs": ["generate_image"], "takes_seed": True}]}, "takes a seed"),
        ({"models": [{"id": "x", "verbs": ["generate_image"], "max_negative_prompt_characters": 5}]}, "negative"),
        ({"models": [{"id": "x", "verbs": ["generate_image"], "formats": ["gif"]}]}, "formats"),
        ({"models": [{"id": "x", "verbs": ["generate_image"], "max_n": 0}]}, "limit below 1"),
        ({"models": [{"id": "x", "verbs": ["stream_speech"], "sample_rate": 1}]}, "sample rate"),
        ({"models": [{"id": "tts-1"}, {"id": "tts-1"}]}, "twice"),
        ({"dialect": "kokoro", "models": [{"id": "kokoro", "sound": "events"}]}, "allowed for kokoro: samples, whole"),
        ({"models": [{"id": "x", "verbs": ["stream_speech"], "checkpoint": "base"}]}, "checkpoint"),
        ({"dialect": "vllm_omni", "models": [{"id": "qwen3-tts", "design_url": HOST}]}, "has to be base"),
        (
            {"dialect": "vllm_omni", "models": [{"id": "qwen3-tts-base", "design_url": "ftp://a"}]},
            "design_url: an address",
        ),
        ({"dialect": "vllm_omni", "models": [{"id": "qwen3-tts-base", "design_name": "x"}]}, "one checkpoint"),
        ({"dialect": "vllm_omni", "models": [{"id": "qwen3-tts-base", "voices": ["a"]}]}, "made for it"),
        ({"dialect": "xinference", "models": [{"id": "qwen-image-edit", "options": {"steps": 1}}]}, "for no edits"),
        ({"health_seconds": -1}, "health_seconds"),
        (
            {"dialect": "vllm_omni", "models": [{"id": "x", "verbs": ["stream_speech"], "languages": ["xx"]}]},
            "no name for",
        ),
    ],
)
def test_a_value_that_cannot_be_is_named(fields, words):
    with pytest.raises(msgspec.ValidationError) as caught:
        config(**fields)
    assert words in str(caught.value)


def test_openai_needs_no_address_and_the_key_is_never_shown():
    made = Config(api_key=" sk-secret ")
    assert (made.addresses, made.api_key) == (("https://api.openai.com/v1",), "sk-secret")
    assert "secret" not in repr(made) + str(made.__rich_repr__())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_config_says_of_itself_makes_it_again(dialect):
    made = config(dialect=dialect)
    assert msgspec.convert(without_defaults(made), Config) == made


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_models_without_an_operators_table(dialect):
    models = create(config(dialect=dialect), Upstream()).models()
    assert models
    for model in models:
        verbs = {field.name for field, _ in model.ListFields()} & {"generate_image", "edit_image", "stream_speech"}
        assert verbs
        assert verbs <= DIALECTS[dialect].verbs
        assert not model.stream_speech.speaks_while_text_arrives


def test_an_operators_table_completes_the_built_in_one_and_wins_over_it():
    table = {"id": "qwen-image", "max_n": 2, "options": {"num_inference_steps": 4}}
    [model] = config(dialect="vllm_omni", models=[table]).models
    assert (model.name, model.verbs, model.max_n, model.max_side) == ("Qwen/Qwen-Image", ("generate_image",), 2, 2048)
    assert model.options == {"num_inference_steps": 4}


def test_a_speed_is_offered_only_where_the_engine_takes_it():
    streaming = {"id": "a", "verbs": ["stream_speech"]}
    whole = {"id": "b", "verbs": ["stream_speech"], "sound": "whole"}
    models = create(config(dialect="vllm_omni", models=[streaming, whole]), Upstream()).models()
    assert [model.stream_speech.HasField("speaking_rate") for model in models] == [False, True]


def test_results_may_be_fetched_from_the_engines_and_from_what_the_operator_adds():
    made = Config(urls=("http://a/v1", "https://b/v1", "http://a/v2"), result_hosts=(".example.com",))
    assert made.hosts == ("a:80", "b:443", ".example.com")


PAGE = (Path(__file__).parents[3] / "docs" / "providers" / "openai.md").read_text()


def test_the_page_tells_every_setting_model_and_dialect():
    fields = {*Config.__struct_fields__, *ModelTable.__struct_fields__} - {"id", "description"}
    models = {table.id for dialect in DIALECTS for table in config(dialect=dialect).models}
    assert not [name for name in (*fields, *models, *DIALECTS) if f"`{name}`" not in PAGE]
