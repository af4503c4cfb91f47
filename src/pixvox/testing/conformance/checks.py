"""All checks, in the order in which a report has them: what is wrong at the beginning spoils what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.testing.conformance import (
    cancelling,
    edits,
    failures,
    leaks,
    leaving,
    order,
    outages,
    pace,
    pictures,
    receipts,
    sound,
    tables,
    together,
    verbs,
    voices,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pixvox.testing.conformance.findings import Check

CHECKS: tuple[Check, ...] = (
    *tables.CHECKS,
    *verbs.CHECKS,
    *pictures.CHECKS,
    *edits.CHECKS,
    *receipts.CHECKS,
    *cancelling.CHECKS,
    *sound.CHECKS,
    *order.CHECKS,
    *pace.CHECKS,
    *leaving.CHECKS,
    *voices.CHECKS,
    *failures.CHECKS,
    *outages.CHECKS,
    *together.CHECKS,
    *leaks.CHECKS,
)


def chosen(names: Iterable[str]) -> tuple[Check, ...]:
    """Return the checks of these names, of which each may be the beginning of several, such as ``speech``; all for none.

    Raises:
        ValueError: There is no such check.
    """
    names = tuple(names)
    for name in names:
        if not any(_has(check, name) for check in CHECKS):
            message = f"there is no check {name!r}; there are: {', '.join(check.name for check in CHECKS)}"
            raise ValueError(message)
    return tuple(check for check in CHECKS if not names or any(_has(check, name) for name in names))


def _has(check: Check, name: str) -> bool:
    return check.name == name or check.name.startswith(f"{name}-")
