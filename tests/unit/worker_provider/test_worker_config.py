"""What the settings may say of workers."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from pixvox import registry
from pixvox.configuration import without_defaults
from pixvox.providers.worker import Config, create
from pixvox.providers.worker.models import BUILT_IN, ModelTable
from pixvox.settings import PROVIDER_ENVIRONMENT, load
from pixvox.upstream import Upstream

HOST = "http://gpu:8000"
BASE = "Qwen3-TTS-12Hz-1.7B-Base"
CUSTOM = "Qwen3-TTS-12Hz-1.7B-CustomVoice"
DOCUMENT = Path(__file__).parents[3] / "docs" / "providers" / "worker.md"


def config(**fields):
    return msgspec.convert({"url": HOST} | fields, Config, strict=False)


def provider(**fields):
    return create(config(**fields), Upstream())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"urls": [HOST]}, "urls: has its place without url"),
        ({"url": "ftp://a"}, "url: an address is"),
        ({"url": "http://user:pw@a"}, "without credentials"),
        ({"models": {"Qwen-Image": {"urls": ["gpu:8000"]}}}, "url: an address is"),
        ({"models": {BASE: {"design_name": "d", "design_urls": ["x"]}}}, "url: an address is"),
        ({"api_key": "a b"}, "api_key"),
        ({"read_seconds": -1}, "read_seconds"),
        ({"stall_seconds": -1}, "stall_seconds"),
        ({"timeout_ms": -1}, "timeout_ms"),
        ({"health_path": "health"}, "health_path"),
        ({"contract": "other"}, "contract"),
        ({"scheme": "ftp"}, "scheme"),
        ({"models": {"mine": {}}}, "needs tasks"),
        ({"models": {"mine": {"tasks": ["sing"]}}}, "tasks"),
        ({"models": {"mine": {"tasks": ["text-to-image", "custom-voice"]}}}, "which no worker does"),
        ({"models": {"mine": {"tasks": ["custom-voice", "voice-clone"]}}}, "two checkpoints"),
        ({"models": {"mine": {"tasks": ["custom-voice"]}}}, "needs voices"),
        ({"models": {BASE: {"voices": ["me"]}}}, "has voices"),
        ({"models": {CUSTOM: {"design_name": "d"}}}, "design_name"),
        ({"models": {BASE: {"design_urls": [HOST]}}}, "design_urls"),
        ({"models": {"Qwen-Image": {"default_size": "big"}}}, "1024x1024"),
        ({"models": {"Qwen-Image": {"max_pixels": 1000}}}, "max_pixels"),
        ({"models": {"Qwen-Image": {"formats": ["gif"]}}}, "formats"),
        ({"models": {"Qwen-Image": {"max_n": 0}}}, "too small"),
        ({"models": {CUSTOM: {"sample_rate": 16000}}}, "sample_rate"),
        ({"models": {CUSTOM: {"languages": ["xx"]}}}, "languages"),
        ({"models": {"Qwen-Image": {"aliases": ["x"]}, "Qwen-Image-Edit": {"aliases": ["x"]}}}, "twice"),
        ({"contract": "process", "models": {CUSTOM: {}}}, "pictures alone"),
        ({"modles": {}}, "modles"),
    ],
)
def test_a_value_that_cannot_be_is_named(fields, words):
    with pytest.raises(msgspec.ValidationError) as caught:
        config(**fields)
    assert words in str(caught.value)


def test_an_address_is_enough_for_the_model_that_a_worker_has_by_default():
    [model] = provider().models()
    assert model.id == "Qwen-Image-Edit"
    assert model.HasField("edit_image")
    assert not model.HasField("generate_image")
    assert "Qwen/Qwen-Image-Edit" in model.aliases


def test_models_are_described_as_far_as_they_differ_from_what_is_known():
    found = config(models={"Qwen-Image": {"max_n": 2}, "mine": {"tasks": ["image-editing"], "name": "org/mine"}}).models
    assert (found["Qwen-Image"].max_n, found["Qwen-Image"].default_size) == (2, "1328x1328")
    assert found["mine"].max_images == 1


def test_every_built_in_model_can_be_served():
    models = provider(models={name: {} for name in BUILT_IN}).models()
    assert [model.id for model in models] == list(BUILT_IN)
    assert all(one.stream_speech.needs_made_voice == one.id.endswith("Base") for one in models if "TTS" in one.id)


def test_voices_are_designed_only_where_there_are_workers_for_it():
    [plain] = provider(models={BASE: {}}).models()
    assert plain.HasField("clone_voice")
    assert not plain.HasField("design_voice")
    for fields in ({"design_name": "d"}, {"design_name": "d", "design_urls": ["http://designs"]}):
        [able] = provider(models={BASE: fields}).models()
        assert able.HasField("design_voice")
    assert config(models={BASE: {"design_name": "d"}}).designers_of(BASE) == (HOST,)


def test_addresses_of_a_model_win_over_those_of_the_provider_which_win_over_a_host():
    models = {"Qwen-Image": {"urls": ["http://own/"]}, "Qwen-Image-Edit": {}}
    found = config(models=models, host="elsewhere")
    assert found.addresses_of("Qwen-Image") == ("http://own",)
    assert found.addresses_of("Qwen-Image-Edit") == (HOST,)
    assert config(url="", host="gpu", port="9", scheme="https").addresses == ("https://gpu:9",)
    assert config(url="", host="::1").addresses == ("http://[::1]:8000",)


def test_without_any_address_the_provider_is_there_and_says_what_is_missing():
    assert "url" in provider(url="").unready()
    assert not provider().unready()
    assert not provider(url="", models={"Qwen-Image": {"urls": [HOST]}}).unready()


def test_the_plans_names_in_the_environment_are_enough_for_an_address(tmp_path):
    file = tmp_path / "pixvox.toml"
    given = {"AI_SERVICE_HOST": "gpu-1", "AI_SERVICE_PORT": "9000", "AI_SERVICE_TIMEOUT": "300000"}

    def configured(text):
        file.write_text(text, encoding="utf-8")
        table = registry.understood(load(file, environment=given)).providers["localgpu"]
        return msgspec.convert({name: value for name, value in table.items() if name != "kind"}, Config)

    found = configured('[providers.localgpu]\nkind = "worker"\n')
    assert found.addresses == ("http://gpu-1:9000",)
    assert found.read_seconds == 300.0
    assert configured(f'[providers.localgpu]\nkind = "worker"\nurl = "{HOST}"\n').addresses == (HOST,)


def test_a_worker_that_says_nothing_while_it_works_is_given_more_time():
    assert (config().waits, config(contract="process").waits) == (60, 600)
    assert config(contract="process", timeout_ms=30_000).waits == 30


def test_the_environment_fills_fields_that_there_are():
    assert set(PROVIDER_ENVIRONMENT["worker"].values()) <= set(Config.__struct_fields__)


def test_the_key_is_never_shown():
    made = config(api_key=" secret-key ")
    assert made.api_key == "secret-key"
    assert "secret" not in repr(made) + str(made.__rich_repr__())


def test_a_table_that_says_nothing_of_its_own_has_no_differences():
    assert without_defaults(config(models={"Qwen-Image-Edit": {}})) == without_defaults(config())


@pytest.mark.parametrize("struct", [Config, ModelTable])
def test_every_setting_is_documented(struct):
    documented = set(re.findall(r"`(\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert set(struct.__struct_fields__) <= documented
