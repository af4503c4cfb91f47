"""What callers may say to an engine directly."""

from __future__ import annotations

import pytest
from google.protobuf import struct_pb2

from pixvox.errors import InvalidRequestError
from pixvox.providers.openai.options import options_of


def found(given):
    options = struct_pb2.Struct()
    options.update({"openai": given, "other": {"x": float("nan")}})
    return options_of(options, frozenset({"model", "n"}), "provider_options")


@pytest.mark.parametrize(
    "given",
    [
        {"num_inference_steps": 8, "true_cfg_scale": 2.5},
        {"profile": True, "moderation": "low", "background": "opaque", "curly": "{not json", "listed": "[1, {}]"},
        {"extra_params": {"deep": [{"cfg": 1}]}},
        {},
    ],
)
def test_whatever_an_engine_counts_or_chooses_by_is_handed_on(given):
    assert found(given) == given


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"N": 2}, "N"),
        ({"a": {"Model": "x"}}, "a.Model"),
        ({"upscaling_model_path": "x"}, "upscaling_model_path"),
        ({"extra": [{"b": {"imageURLs": []}}]}, "extra.b.imageURLs"),
        ({"extra": '{"model_path": "/etc"}'}, "extra.model_path"),
        ({"extra": ' [{"file": "/etc"}]'}, "extra.file"),
        ({"cache_dir": "/etc"}, "cache_dir"),
    ],
)
def test_what_an_engine_would_open_or_fetch_is_refused_at_any_depth(given, field):
    with pytest.raises(InvalidRequestError) as raised:
        found(given)
    assert [one.field for one in raised.value.violations] == [f"provider_options.openai.{field}"]
