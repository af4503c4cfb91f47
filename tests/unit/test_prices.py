"""What calls cost: decimals, versions, and what is not known."""

from __future__ import annotations

import pytest

from pixvox.prices import PriceTable, PriceTableError
from pixvox.v1 import media_pb2

UNPRICED = media_pb2.Cost(state=media_pb2.COST_STATE_UNPRICED)


def priced(amount: str, currency: str = "USD", table: str = "2026-10") -> media_pb2.Cost:
    return media_pb2.Cost(state=media_pb2.COST_STATE_PRICED, amount=amount, currency=currency, price_table=table)


def images(count: int) -> media_pb2.Usage:
    return media_pb2.Usage(images=count)


@pytest.fixture
def overlay(tmp_path):
    def write(text: str):
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("region", "model", "usage", "cost"),
    [
        ("sg", "qwen-image-max", images(1), priced("0.075")),
        ("sg", "qwen-image-edit-max", images(2), priced("0.15")),
        ("sg", "qwen-image-plus", images(1), priced("0.03")),
        ("sg", "qwen-image-2.0", images(6), priced("0.21")),
        ("bj", "qwen-image-max", images(2), priced("1", "CNY")),
        ("bj", "wan2.2-t2i-flash", images(4), priced("0.56", "CNY")),
        ("sg", "qwen3-tts-flash-realtime", media_pb2.Usage(characters=13), priced("0.000169")),
        ("sg", "qwen3-tts-flash", media_pb2.Usage(characters=10_000), priced("0.1")),
        ("bj", "qwen3-tts-vc-realtime-2026-01-15", media_pb2.Usage(characters=1), priced("0.0001", "CNY")),
        ("sg", "qwen3-tts-vc-realtime-2026-01-15", media_pb2.Usage(voices=1), priced("0.01")),
        ("sg", "qwen3-tts-vd-2026-01-26", media_pb2.Usage(voices=1), priced("0.2")),
    ],
)
def test_a_usage_costs_its_price(region, model, usage, cost):
    assert PriceTable.load().cost("dashscope", region, model, usage) == cost


def test_many_characters_are_priced_to_the_last_digit():
    usage = media_pb2.Usage(characters=2**63 + 1)
    assert PriceTable.load().cost("dashscope", "sg", "qwen3-tts-flash-realtime", usage) == priced(
        "119903836479112.085517"
    )


@pytest.mark.parametrize(
    ("kind", "region", "model", "usage"),
    [
        ("dashscope", "sg", "qwen-image-4.0", images(1)),
        ("dashscope", "us", "qwen-image-max", images(1)),
        ("dashscope", "", "qwen-image-max", images(1)),
        ("other", "sg", "qwen-image-max", images(1)),
        ("dashscope", "sg", "qwen-image-max", media_pb2.Usage()),
        ("dashscope", "sg", "qwen-image-max", media_pb2.Usage(characters=5)),
        ("dashscope", "bj", "qwen-image-3.0", images(1)),
        ("dashscope", "sg", "z-image-turbo", images(1)),
        ("dashscope", "sg", "qwen-tts", media_pb2.Usage(characters=5)),
    ],
)
def test_what_is_not_known_is_unpriced_and_never_nothing(kind, region, model, usage):
    assert PriceTable.load().cost(kind, region, model, usage) == UNPRICED


def test_no_picture_costs_nothing():
    assert PriceTable.load().cost("dashscope", "sg", "qwen-image-max", images(0)) == priced("0")


def test_a_file_wins_over_what_is_built_in_and_leaves_the_rest(overlay):
    path = overlay(
        'version = "ours-7"\n[prices.dashscope.sg]\ncurrency = "EUR"\n[prices.dashscope.sg.image]\n"qwen-image-max" = "0.05"\n'
        '[prices.own.""]\ncurrency = "EUR"\nimage = { "own-model" = "0.001" }\n'
    )
    table = PriceTable.load(path)
    assert table.version == "ours-7"
    assert table.cost("dashscope", "sg", "qwen-image-max", images(1)) == priced("0.05", "EUR", "ours-7")
    assert table.cost("dashscope", "sg", "qwen-image-plus", images(1)) == priced("0.03", "USD", "ours-7")
    assert table.cost("own", "", "own-model", images(3)) == priced("0.003", "EUR", "ours-7")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version = ", "own.toml: "),
        ('version = "2026-10"\nprices = {}', "is that of the built-in table"),
        ('version = " "\nprices = {}', "version is empty"),
        ("prices = {}", "version"),
        ('version = "x"\nprice = 3\nprices = {}', "price"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimages = {}', "images"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimage = { m = 0.1 }', "Expected `str`"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimage = { m = "dear" }', "prices.a.b.image.m: 'dear'"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimage = { m = "-1" }', "at least 0"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimage = { m = "NaN" }', "'NaN'"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimage = { m = "1e999" }', "'1e999'"),
        ('version = "x"\n[prices.a.b]\ncurrency = "USD"\nimage = { m = "1e-13" }', "12 decimal places"),
        ('version = "x"\n[prices.a.b]\ncurrency = "dollars"\nimage = { m = "1" }', "'dollars' is no ISO 4217 code"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_entry(overlay, text, told):
    with pytest.raises(PriceTableError) as raised:
        PriceTable.load(overlay(text))
    assert "own.toml" in str(raised.value)
    assert told in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PriceTableError, match=r"none\.toml: No such file"):
        PriceTable.load(tmp_path / "none.toml")
