"""What a check is, and what it can find."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pixvox.testing.conformance.trial import Trial


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a provider does against its contract.

    Attributes:
        seen: What it does, a sentence.
        contract: What the contract says instead, a sentence.
        method: Of the provider, where to look.
        model: That was called, empty if none was.
    """

    seen: str
    contract: str
    method: str
    model: str = ""


class Result(enum.StrEnum):
    """How a check ended."""

    PASS = enum.auto()
    FAIL = enum.auto()
    SKIP = enum.auto()

    def __str__(self) -> str:
        """Return it in capitals, as a report shows it."""
        return self.value.upper()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one check.

    Attributes:
        check: Its name.
        proves: What it is about.
        result: How it ended.
        seconds: How long it took.
        findings: At least one if it failed.
        notes: What was seen beside that, or why it was left out; sentences.
        calls: Of the provider's verbs that it made.
        usable: Whether further checks make sense: there is a provider, and it does not hold up everything.
    """

    check: str
    proves: str
    result: Result
    seconds: float
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    calls: int = 0
    usable: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to check.

    Attributes:
        name: To choose it by, such as ``image-sizes``.
        proves: What holds if it passes, a sentence.
        run: Makes the check; tells the trial what it finds.
        calls: The most calls of the provider that it makes one after another, which gives its time limit.
    """

    name: str
    proves: str
    run: Callable[[Trial], Awaitable[None]]
    calls: int = 4


class CheckFailedError(Exception):
    """The check cannot go on, because of this finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.seen)
        self.finding = finding


class CheckSkippedError(Exception):
    """The check does not apply; the text says why."""
