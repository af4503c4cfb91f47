"""The conformance kit: checks whether a provider keeps its contract, for whoever writes one.

`pixvox conformance KIND` runs it from the command line. In a test file of a provider's own repository,

    from pixvox.testing.conformance import conformance_tests

    TestAcme = conformance_tests("acme", {"colour": "blue"})

gives one test for each check, which needs pytest and nothing else.
"""

from __future__ import annotations

from pixvox.testing.conformance.checks import CHECKS, chosen
from pixvox.testing.conformance.findings import Check, Finding, Outcome, Result
from pixvox.testing.conformance.hints import Hints, Rehearsal
from pixvox.testing.conformance.report import document, lines, summary
from pixvox.testing.conformance.runner import run, run_one
from pixvox.testing.conformance.subject import Subject, costs
from pixvox.testing.conformance.tests import conformance_tests

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Hints",
    "Outcome",
    "Rehearsal",
    "Result",
    "Subject",
    "chosen",
    "conformance_tests",
    "costs",
    "document",
    "lines",
    "run",
    "run_one",
    "summary",
]
