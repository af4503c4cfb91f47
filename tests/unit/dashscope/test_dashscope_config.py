"""What an operator can say of DashScope, and what is told of a value that cannot be used."""

from __future__ import annotations

import msgspec
import pytest

from pixvox.providers import dashscope
from pixvox.providers.dashscope import Config
from pixvox.upstream import Upstream
from pixvox.v1 import model_service_pb2

KEY = "sk-4f1d4f1d4f1d"


def config(**fields: object) -> Config:
    return msgspec.convert(fields, type=Config)


def defaults_of(*verbs: str, **fields: object) -> tuple[str, str]:
    """The models that serve requests which name none, as the router chooses them."""
    models = dashscope.create(config(**fields), Upstream()).models()
    return tuple(next(model.id for model in models if model.HasField(verb)) for verb in verbs)


@pytest.mark.parametrize(
    ("text", "region", "host"),
    [
        ("sg", "sg", "dashscope-intl.aliyuncs.com"),
        ("intl", "sg", "dashscope-intl.aliyuncs.com"),
        ("bj", "bj", "dashscope.aliyuncs.com"),
        (" CN ", "bj", "dashscope.aliyuncs.com"),
    ],
)
def test_a_region_has_its_addresses(text, region, host):
    made = config(region=text)
    assert made.region == region
    assert made.http_base == f"https://{host}/api/v1"
    assert made.ws_base == f"wss://{host}/api-ws/v1"


def test_the_region_is_singapore_unless_told_otherwise():
    assert config().region == "sg"


@pytest.mark.parametrize(
    ("http_base", "called", "sockets"),
    [
        ("https://h.example", "https://h.example/api/v1", "wss://h.example/api-ws/v1"),
        ("https://h.example/", "https://h.example/api/v1", "wss://h.example/api-ws/v1"),
        ("http://127.0.0.1:81/api/v1/", "http://127.0.0.1:81/api/v1", "ws://127.0.0.1:81/api-ws/v1"),
        ("https://h.example/proxy/api/v1", "https://h.example/proxy/api/v1", "wss://h.example/proxy/api-ws/v1"),
    ],
)
def test_an_address_of_calls_brings_that_of_sockets_along(http_base, called, sockets):
    made = config(http_base=http_base)
    assert (made.http_base, made.ws_base) == (called, sockets)


def test_both_addresses_can_be_given():
    made = config(http_base="https://h.example/own", ws_base="wss://s.example")
    assert (made.http_base, made.ws_base) == ("https://h.example/own", "wss://s.example/api-ws/v1")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"region": "us"}, "region: 'us' is not one of sg, bj, intl, cn"),
        ({"region": ""}, "region: '' is not one of sg"),
        ({"timeout_ms": 0}, "timeout_ms: 0 is not more than 0"),
        ({"timeout_ms": -1}, "timeout_ms"),
        ({"poll_seconds": 0}, "poll_seconds"),
        ({"poll_seconds": float("nan")}, "poll_seconds"),
        ({"max_text_chars": -1}, "max_text_chars"),
        ({"http_base": "h.example"}, "http_base: has to be http or https://HOST"),
        ({"http_base": "https://user:pass@h.example"}, "http_base"),
        ({"http_base": "https://h.example/?a=b"}, "http_base"),
        ({"http_base": "https://h.example:port"}, "http_base"),
        ({"http_base": "https://"}, "http_base"),
        ({"ws_base": "https://h.example"}, "ws_base: has to be ws or wss://HOST"),
        ({"http_base": "https://h.example/own"}, "ws_base: has to be given"),
        ({"result_hosts": ["com"]}, "result_hosts: 'com'"),
        ({"result_hosts": ["not a host"]}, "not a host"),
        ({"image_model": "dall-e"}, "image_model: 'dall-e' is not one of qwen-image-max,"),
        ({"image_model": "qwen-image-edit-max"}, "image_model"),
        (
            {"image_edit_model": "qwen-image-max"},
            "image_edit_model: 'qwen-image-max' is not one of qwen-image-2.0-pro,",
        ),
        ({"image_model": "qwen-image-2.0", "image_edit_model": "qwen-image-2.0-pro"}, "both make and edit"),
        ({"prewarm": -1}, "prewarm"),
        ({"speech_lane": "pigeon"}, "pigeon"),
        ({"vc_target_model": "qwen3-tts-vc"}, "vc_target_model: 'qwen3-tts-vc' is not one of qwen3-tts-vc-realtime-"),
        ({"vd_target_model": "qwen3-tts-flash"}, "vd_target_model"),
        ({"extra_models": {"new": "unknown"}}, "extra_models: 'unknown' is not one of"),
        ({"apikey": KEY}, "apikey"),
        ({"workspace": "a b"}, "workspace"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(fields, told):
    with pytest.raises(msgspec.ValidationError) as raised:
        config(**fields)
    assert told in str(raised.value)


@pytest.mark.parametrize("key", ["sk-hush\nx: y", "sk-hush hush", "sk-hush-ü", "sk-hush\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key):
    with pytest.raises(msgspec.ValidationError, match="api_key") as raised:
        config(api_key=key)
    assert "hush" not in str(raised.value)


def test_a_key_is_not_shown():
    made = config(api_key=f" {KEY}\n")
    assert made.api_key == KEY
    assert KEY not in repr(made)
    assert KEY not in str(made)
    assert KEY not in str(made.__rich_repr__())
    assert "region='sg'" in repr(made)
    assert KEY not in repr(dashscope.create(made, Upstream())._account.http)


def test_without_a_key_the_provider_is_there_and_says_what_it_lacks():
    assert "QWEN_API_KEY" in dashscope.create(config(), Upstream()).unready()
    assert dashscope.create(config(api_key=" "), Upstream()).unready()
    assert dashscope.create(config(api_key=KEY), Upstream()).unready() == ""


@pytest.mark.parametrize(
    ("fields", "makes", "edits"),
    [
        ({}, "qwen-image-max", "qwen-image-edit-max"),
        ({"image_model": "wan2.6-t2i"}, "wan2.6-t2i", "qwen-image-edit-max"),
        ({"image_model": "qwen-image-2.0"}, "qwen-image-2.0", "qwen-image-edit-max"),
        ({"image_edit_model": "qwen-image-2.0"}, "qwen-image-max", "qwen-image-2.0"),
        ({"image_model": "qwen-image-2.0", "image_edit_model": "qwen-image-2.0"}, "qwen-image-2.0", "qwen-image-2.0"),
    ],
)
def test_the_preferred_models_serve_requests_that_name_none(fields, makes, edits):
    assert defaults_of("generate_image", "edit_image", **fields) == (makes, edits)


def test_the_preferred_targets_are_what_voices_are_made_for():
    chosen = {"vc_target_model": "qwen3-tts-vc-2026-01-22", "vd_target_model": "qwen3-tts-vd-2026-01-26"}
    assert defaults_of("clone_voice", "design_voice", **chosen) == tuple(chosen.values())


def test_a_call_has_no_more_text_spoken_than_the_operator_allows():
    models = dashscope.create(config(max_text_chars=100), Upstream()).models()
    assert {model.stream_speech.max_text_characters for model in models if model.HasField("stream_speech")} == {100}


def test_a_model_that_the_table_lacks_can_be_added_as_like_another():
    extra = {"qwen-image-max-2027-01-01": "qwen-image-max"}
    made = config(image_model="qwen-image-max-2027-01-01", extra_models=extra)
    first, *rest = (model for model in dashscope.create(made, Upstream()).models() if model.HasField("generate_image"))
    known = next(model for model in rest if model.id == "qwen-image-max")
    like = model_service_pb2.Model()
    like.CopyFrom(known)
    like.id = "qwen-image-max-2027-01-01"
    assert first == like
