"""The page about the provider says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixvox.prices import PriceTable
from pixvox.providers.dashscope import Config
from pixvox.providers.dashscope.models import IMAGE_MODELS, MAX_INPUT_BYTES
from pixvox.settings import PROVIDER_ENVIRONMENT
from pixvox.v1 import media_pb2

PAGE = (Path(__file__).parents[3] / "docs" / "providers" / "dashscope.md").read_text()


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


TABLE = {
    cells[0].strip("`"): cells for line in PAGE.splitlines() if line.startswith("| `") and (cells := cells_of(line))
}


def shown(model: str, region: str, usage: media_pb2.Usage) -> str:
    cost = PriceTable.load().cost("dashscope", region, model, usage)
    return cost.amount or "?"


def test_every_setting_is_told_with_its_names_in_the_environment():
    assert set(Config.__struct_fields__) <= TABLE.keys()
    for name, field in PROVIDER_ENVIRONMENT["dashscope"].items():
        assert f"`{name}`" in TABLE[field][1]


@pytest.mark.parametrize("name", sorted(IMAGE_MODELS))
def test_every_picture_model_is_told_as_it_is(name):
    _, does, lane, n, _, prompt, singapore, beijing = TABLE[name]
    message = IMAGE_MODELS[name].message
    output = message.generate_image.output if message.HasField("generate_image") else message.edit_image.output
    assert does == ", ".join(
        word for word, verb in (("makes", "generate_image"), ("edits", "edit_image")) if message.HasField(verb)
    )
    assert lane == ("task" if IMAGE_MODELS[name].has_tasks else "at once")
    assert (int(n), int(prompt)) == (output.max_n, output.max_prompt_characters)
    assert (singapore, beijing) == tuple(shown(name, region, media_pb2.Usage(images=1)) for region in ("sg", "bj"))


@pytest.mark.parametrize("name", sorted(name for name in TABLE if name.startswith("qwen3-tts")))
def test_every_price_of_speech_is_that_of_the_table(name):
    _, _, singapore, beijing = TABLE[name]
    usage = media_pb2.Usage(characters=10_000)
    for told, region in ((singapore, "sg"), (beijing, "bj")):
        assert float(told) == float(shown(name, region, usage))


def test_the_longest_input_is_told():
    assert f"{MAX_INPUT_BYTES:,} bytes" in PAGE
