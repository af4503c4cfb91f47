"""What a call costs, by a versioned table that an operator can overlay with one of their own; see ``prices.toml``."""

from __future__ import annotations

import decimal
import importlib.resources
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BUILT_IN = "prices.toml"

# Prices and counts multiply without a digit lost.
_EXACT = decimal.Context(prec=60, traps=[decimal.Inexact, decimal.InvalidOperation])
_DECIMALS = Decimal("1e-12")
_UNITS = ("image", "characters_10k", "voice")


class PriceTableError(ValueError):
    """A price table cannot be used; the text names the file and the entry for the operator."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit costs.

    Attributes:
        amount: A decimal number, at least 0.
        currency: ISO 4217 code.
    """

    amount: Decimal
    currency: str


class PriceTable:
    """Prices of one version. Two tables may price the same thing differently; every cost names its table."""

    def __init__(self, version: str, prices: Mapping[tuple[str, str, str, str], Price]) -> None:
        """Keep prices by kind of provider, region, model and unit."""
        self.version = version
        self._prices = dict(prices)

    @classmethod
    def load(cls, path: Path | None = None) -> PriceTable:
        """Return the built-in table, with that of a file laid over it entry by entry.

        Raises:
            PriceTableError: The file cannot be read, holds something that is no price, or has the built-in version's name.
        """
        source = importlib.resources.files("pixvox").joinpath(BUILT_IN)
        built_in = _table(source.read_bytes(), BUILT_IN)
        if path is None:
            return built_in
        try:
            own = _table(path.read_bytes(), str(path))
        except OSError as error:
            raise PriceTableError(f"{path}: {error.strerror}") from error
        if own.version == built_in.version:
            raise PriceTableError(
                f"{path}: version {own.version!r} is that of the built-in table; give it another name"
            )
        return cls(own.version, built_in._prices | own._prices)

    def cost(self, kind: str, region: str, model: str, usage: media_pb2.Usage) -> media_pb2.Cost:
        """Return what a usage costs; unpriced if no price is known, or the usage lacks what the price is for.

        Args:
            kind: Of provider, such as ``dashscope``.
            region: Of the provider, empty if it has none.
            model: Its id.
            usage: In the units that the provider bills.
        """
        # A model that speaks with made voices has two prices: speaking makes no voice, and making one speaks nothing.
        parts = [
            (price, count)
            for unit in _UNITS
            if (price := self._prices.get((kind, region, model, unit))) and (count := _count(unit, usage)) is not None
        ]
        currencies = {price.currency for price, _ in parts}
        if len(currencies) != 1:
            return media_pb2.Cost(state=media_pb2.COST_STATE_UNPRICED)
        with decimal.localcontext(_EXACT):
            amount = sum((price.amount * count for price, count in parts), Decimal(0))
        return media_pb2.Cost(
            state=media_pb2.COST_STATE_PRICED,
            amount=_plain(amount),
            currency=currencies.pop(),
            price_table=self.version,
        )


class _Region(msgspec.Struct, forbid_unknown_fields=True):
    currency: str
    image: dict[str, str] = {}
    characters_10k: dict[str, str] = {}
    voice: dict[str, str] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: str
    prices: dict[str, dict[str, _Region]]


def _table(data: bytes, source: str) -> PriceTable:
    try:
        file = msgspec.toml.decode(data, type=_File)
    except (msgspec.MsgspecError, ValueError) as error:
        raise PriceTableError(f"{source}: {error}") from error
    if not file.version.strip():
        raise PriceTableError(f"{source}: version is empty")
    prices = {
        (kind, region, model, unit): _price(text, table.currency, f"{source}: prices.{kind}.{region}.{unit}.{model}")
        for kind, regions in file.prices.items()
        for region, table in regions.items()
        for unit in _UNITS
        for model, text in getattr(table, unit).items()
    }
    return PriceTable(file.version, prices)


def _price(text: str, currency: str, entry: str) -> Price:
    try:
        amount = Decimal(text)
        fits = amount.is_finite() and amount >= 0 and amount == amount.quantize(_DECIMALS)
    except decimal.InvalidOperation as error:
        raise PriceTableError(f"{entry}: {text!r} is no price") from error
    if not fits:
        raise PriceTableError(f"{entry}: {text!r} is not a price of at least 0 with at most 12 decimal places")
    if not re.fullmatch("[A-Z]{3}", currency):
        raise PriceTableError(f"{entry}: {currency!r} is no ISO 4217 code")
    return Price(amount, currency)


def _count(unit: str, usage: media_pb2.Usage) -> Decimal | None:
    """Return how many units were used, None if the usage does not tell."""
    if unit == "image":
        return Decimal(usage.images) if usage.HasField("images") else None
    if unit == "voice":
        return Decimal(usage.voices) if usage.HasField("voices") else None
    return Decimal(usage.characters).scaleb(-4) if usage.HasField("characters") else None


def _plain(amount: Decimal) -> str:
    """Return a number without an exponent and without zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
