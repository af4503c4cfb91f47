"""Outcomes for a person and for a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.testing.conformance.findings import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.testing.conformance.findings import Finding, Outcome


def lines(outcome: Outcome) -> list[str]:
    """Return the lines under an outcome: what was found, or else noted."""
    if outcome.result is not Result.FAIL:
        return list(outcome.notes)
    return [
        line
        for finding in outcome.findings
        for line in (f"{place(finding)}: {finding.seen}", f"  contract: {finding.contract}")
    ]


def place(finding: Finding) -> str:
    """Return where to look."""
    where = finding.method or "the provider"
    return f"{where} of {finding.model}" if finding.model else where


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return how many checks ended in which way."""
    count = {result: sum(one.result is result for one in outcomes) for result in Result}
    calls = sum(one.calls for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    parts = [f"{count[Result.PASS]} passed", f"{count[Result.FAIL]} failed", f"{count[Result.SKIP]} left out"]
    return f"{', '.join(parts)}; {calls} calls in {seconds:.1f} s"


def document(outcome: Outcome) -> dict[str, object]:
    """Return an outcome for JSON."""
    return {
        "check": outcome.check,
        "proves": outcome.proves,
        "result": str(outcome.result),
        "seconds": round(outcome.seconds, 3),
        "calls": outcome.calls,
        "findings": [
            {"seen": one.seen, "contract": one.contract, "method": one.method, "model": one.model}
            for one in outcome.findings
        ],
        "notes": list(outcome.notes),
    }
