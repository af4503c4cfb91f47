"""The registry finds kinds here and in other packages, and refuses what does not fit."""

from __future__ import annotations

import sys
import textwrap

import pytest

from pixvox import registry
from pixvox.provider import ImageEditor, ImageGenerator, SpeechStreamer
from pixvox.settings import SettingsError

THIRD_PARTY = '''
"""Acme draws squares."""
import msgspec
from pixvox.provider import Blob, ImageResult
from pixvox.v1 import media_pb2, model_service_pb2


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    colour: str = "red"


class Acme:
    def __init__(self, config):
        self.config = config

    def models(self):
        output = model_service_pb2.ImageOutput(max_n=1)
        capability = model_service_pb2.GenerateImageCapability(output=output)
        return [model_service_pb2.Model(id="acme-square", generate_image=capability)]

    async def generate_image(self, request, model):
        return ImageResult((Blob("image/png", b"x"),), media_pb2.Receipt())

    async def aclose(self):
        pass


def create(config, upstream):
    return Acme(config)
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution that announces a module as provider kind; its text can be chosen."""

    def install(name: str, text: str) -> None:
        (tmp_path / f"{name}_provider.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pixvox.providers]\n{name} = {name}_provider\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    for name in [name for name in sys.modules if name.endswith("_provider")]:
        del sys.modules[name]


def test_a_kind_of_another_package_is_found_by_its_entry_point(installed):
    installed("acme", THIRD_PARTY)
    (entry,) = registry.build({"squares": {"kind": "acme", "colour": "blue"}}, None)
    assert (entry.name, entry.kind) == ("squares", "acme")
    assert entry.provider.config.colour == "blue"
    assert [(model.id, model.provider) for model in entry.models] == [("acme-square", "squares")]
    assert isinstance(entry.provider, ImageGenerator)
    assert not isinstance(entry.provider, ImageEditor | SpeechStreamer)


def test_an_unknown_kind_is_refused_with_those_that_there_are():
    with pytest.raises(
        SettingsError, match=r"providers\.x: there is no provider kind 'nonsense'; there are: .*sandbox"
    ):
        registry.build({"x": {"kind": "nonsense"}}, None)


def test_a_kind_is_no_path_into_the_package():
    with pytest.raises(SettingsError):
        registry.build({"x": {"kind": "sandbox.images"}}, None)


def test_an_unknown_key_is_named(installed):
    installed("acme", THIRD_PARTY)
    with pytest.raises(SettingsError, match=r"providers\.x: .*shape"):
        registry.build({"x": {"kind": "acme", "shape": "round"}}, None)


def test_a_disabled_provider_is_not_created():
    assert registry.build({"x": {"kind": "nonsense", "enabled": False}}, None) == ()


def test_a_provider_that_promises_a_verb_that_it_lacks_is_refused(installed):
    promise = THIRD_PARTY.replace(
        'id="acme-square",',
        'id="acme-square", stream_speech=model_service_pb2.StreamSpeechCapability(max_text_characters=9),',
    )
    installed("boastful", textwrap.dedent(promise))
    with pytest.raises(SettingsError, match=r"model acme-square lists stream_speech, which kind boastful lacks"):
        registry.build({"x": {"kind": "boastful"}}, None)


def test_an_entry_point_that_is_no_module_is_refused(installed, tmp_path):
    installed("odd", THIRD_PARTY)
    (tmp_path / "odd-1.0.dist-info" / "entry_points.txt").write_text("[pixvox.providers]\nodd = odd_provider:create\n")
    with pytest.raises(SettingsError, match="is not a module"):
        registry.build({"x": {"kind": "odd"}}, None)
