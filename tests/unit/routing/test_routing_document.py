"""The settings in docs/routing.md do what is said of them there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pixvox.routing.candidates import CallFacts
from pixvox.routing.routes import compiled, default_of
from routed import PROVIDERS, QWEN, picture, read, speech, tried

ROOT = Path(__file__).parents[3]


def documented():
    """Give the settings of the example in the documentation."""
    text = (ROOT / "docs/routing.md").read_text()
    (block,) = re.findall(r"```toml\n# routing-example\n(.*?)```", text, re.DOTALL)
    return read(block, "")


@pytest.mark.parametrize(
    ("name", "facts", "order"),
    [
        ("picture", picture(labels={"tier": "gold"}), ["qwen/qwen-image-max", "qwen/qwen-image-2.0"]),
        ("picture", picture(pixels=2048 * 1024), ["qwen/qwen-image-2.0-pro", "qwen/qwen-image-2.0"]),
        ("picture", picture(pixels=512 * 512, caller="tester"), ["qwen/qwen-image-2.0", "sandbox/sandbox-image"]),
        ("fast", CallFacts("edit_image"), ["qwen/qwen-image-2.0"]),
        ("fast", speech(), []),
        ("voice-en", speech(language="de"), ["qwen/qwen3-tts-flash-realtime"]),
    ],
)
def test_the_example_does_what_its_table_says(name, facts, order):
    assert tried(compiled(*documented())[name], facts) == order


def test_one_english_caller_in_twenty_tries_the_new_model_of_the_example():
    made = compiled(*documented())["voice-en"]
    firsts = Counter(tried(made, speech(language="en-GB", caller=f"c{n}"))[0] for n in range(2000))
    assert firsts["qwen/qwen3-tts-instruct-flash-realtime"] == pytest.approx(100, abs=40)


def test_the_defaults_of_the_example_are_there():
    settings, entries = documented()
    routes = compiled(settings, entries)
    assert [verb for verb in settings.defaults if default_of(verb, settings, routes, entries) is None] == []


def test_every_other_piece_of_settings_in_the_document_is_right():
    text = (ROOT / "docs/routing.md").read_text()
    blocks = re.findall(r"```toml\n(?!# routing-example)(.*?)```", text, re.DOTALL)
    whole = [block for block in blocks if block.startswith("[")]
    assert len(whole) == len(blocks) - 1 == 3
    for block in whole:
        settings, entries = read(block, PROVIDERS + "[providers.modal]\n" + QWEN)
        routes = compiled(settings, entries)
        assert [verb for verb in settings.defaults if default_of(verb, settings, routes, entries) is None] == []
