"""What the settings of a deployment may say."""

from __future__ import annotations

import msgspec
import pytest

from pixvox.providers.modal import Config
from pixvox.providers.modal.models import BUILT_IN, Served, table
from pixvox.registry import VERBS, has_capability


def config(**fields):
    return msgspec.convert(fields, Config)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "ftp://example.com"}, "url: is http"),
        ({"url": "https://user:word@example.com"}, "without credentials"),
        ({"url": "https://example.com/?a=b"}, "without credentials"),
        ({"key": "wk-1"}, "give both or neither"),
        ({"key": "wk 1", "secret": "ws-1"}, "key: holds characters"),
        ({"read_seconds": -1}, "read_seconds: -1 is less than 0"),
        ({"poll_seconds": 0}, "poll_seconds: 0 is not more than 0"),
        ({"kind_of_endpoint": "asgi"}, "Invalid enum value 'asgi'"),
        ({"models": {"mine": {"verb": "generate", "max_pixels": 100}}}, "models.mine.max_pixels: 100 is less"),
        ({"models": {"mine": {"verb": "sing"}}}, "Invalid enum value 'sing'"),
        ({"models": {"mine": {"verb": "speak", "voices": []}}}, "models.mine.voices: is empty"),
        ({"voice_design": "modal.run/design"}, "voice_design: is http"),
        ({"design_url": "https://modal.test"}, "design_url: no model here speaks with designed voices"),
        ({"job_clone": "https://modal.test"}, "job_clone: is of a speech app"),
        ({"job_clone_characters": -1}, "job_clone_characters: -1 is less than 0"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(fields, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        config(**fields)


def test_no_secret_is_ever_shown():
    shown = repr(config(url="https://example.com", key="wk-hidden", secret="ws-hidden", worker_key="own-hidden"))
    assert "example.com" in shown
    assert "hidden" not in shown


def test_a_function_is_waited_for_beyond_its_redirect_and_a_server_as_long_as_the_caller_waits():
    assert config().waits == 160
    assert config(kind_of_endpoint="server").waits is None
    assert config(kind_of_endpoint="server", read_seconds=9).waits == 9


def test_an_operators_models_take_the_place_of_those_that_are_built_in():
    [mine] = table(config(models={"mine": {"verb": "edit", "aliases": ["own"]}}).models)
    assert (mine.id, list(mine.aliases), mine.edit_image.max_images) == ("mine", ["own"], 1)
    assert not mine.HasField("generate_image")


def test_a_model_that_speaks_has_its_own_voices_or_those_of_the_catalogue():
    speaks, clones = table(config(models={"speaks": {"verb": "speak"}, "clones": {"verb": "clone"}}).models)
    assert [voice.id for voice in speaks.stream_speech.voices][:2] == ["Vivian", "Serena"]
    assert not speaks.stream_speech.needs_made_voice
    assert not speaks.HasField("clone_voice")
    assert (clones.stream_speech.needs_made_voice, len(clones.stream_speech.voices)) == (True, 0)
    assert clones.HasField("clone_voice")
    assert not clones.HasField("design_voice")


def test_a_model_that_clones_designs_where_somebody_invents_voices():
    [model] = table({"clones": Served(verb="clone")}, designs=True)
    assert model.HasField("design_voice")


def test_every_built_in_model_has_exactly_one_verb():
    for model in table(BUILT_IN):
        assert sum(has_capability(model, verb) for verb in VERBS) == 1


def test_a_models_largest_picture_is_what_its_worker_was_told():
    [model] = table({"big": Served(verb="generate", max_pixels=9_000_000)})
    assert model.generate_image.output.size.max_area == 9_000_000
