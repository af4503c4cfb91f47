"""Numbers of the settings within their bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from pixvox.settings.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import msgspec


class Bounds(NamedTuple):
    """Which values a number may have.

    Attributes:
        low: The least value.
        high: The greatest value.
        above: Whether `low` itself is excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, number: float) -> bool:
        """Tell whether `number` may be; no infinity and nothing that is no number may."""
        return math.isfinite(number) and self.low <= number <= self.high and not (self.above and number == self.low)

    def __str__(self) -> str:
        """Return the bounds in words."""
        if math.isfinite(self.high):
            return f"from {self.low:g} to {self.high:g}"
        return f"more than {self.low:g}" if self.above else f"{self.low:g} or more"


NOT_NEGATIVE = Bounds(0)
AT_LEAST_ONE = Bounds(1)
POSITIVE = Bounds(0, above=True)
SHARE = Bounds(0, 1)


def check_bounds(place: str, table: msgspec.Struct, bounds: Mapping[str, Bounds]) -> None:
    """Check fields of a table; one that is None is right.

    Args:
        place: The table's dotted name.
        table: Is checked.
        bounds: By field.

    Raises:
        SettingsError: A field is out of bounds.
    """
    for field, allowed in bounds.items():
        number = getattr(table, field)
        if number is not None and not allowed.holds(number):
            raise SettingsError(f"{place}.{field}: {number} is not {allowed}")
