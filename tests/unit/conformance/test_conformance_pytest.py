"""The checks as tests: one for each, by name, and what becomes of them."""

from __future__ import annotations

import inspect

import pytest

from pixvox.testing.conformance import CHECKS, conformance_tests
from pixvox.testing.plugin import conformance

# Named as a plugin it would have to be the first to be loaded, and other folders' tests take fixtures out of it, too.
__all__ = ["conformance"]

pytestmark = pytest.mark.usefixtures("third_party_kinds")


def names(tests: type) -> list[str]:
    return [name for name in vars(tests) if name.startswith("test_")]


def test_there_is_a_test_for_each_check() -> None:
    tests = conformance_tests("good")

    assert names(tests) == [f"test_{check.name.replace('-', '_')}" for check in CHECKS]
    assert all(inspect.isfunction(getattr(tests, name)) for name in names(tests))


def test_checks_are_chosen_by_the_beginnings_of_their_names() -> None:
    tests = conformance_tests("good", only=["edit", "speech"], leave_out=["speech-slow-reader"])

    assert names(tests)[:3] == ["test_edit_inputs", "test_edit_masks", "test_speech_audio"]
    assert "test_speech_slow_reader" not in names(tests)


def test_a_check_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no check 'smell'; there are: table, verbs,"):
        conformance_tests("good", only=["smell"])


def test_a_check_that_passes_raises_nothing() -> None:
    conformance_tests("good").test_receipts(None)


def test_a_check_that_fails_fails_with_its_findings() -> None:
    tests = conformance_tests("bad", {"lies": ["unbilled"]})

    with pytest.raises(pytest.fail.Exception) as failure:
        tests.test_receipts(None)

    assert str(failure.value).splitlines() == [
        "receipts: Every answer has a receipt with its usage.",
        "generate_image of painter: the receipt's usage has no unit; it could have images",
        "  contract: A receipt has the usage in the units that the provider bills, or nothing can be priced.",
    ]


def test_a_check_that_does_not_apply_is_skipped_with_its_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="no model has design_voice"):
        conformance_tests("good").test_voice_design(None)


def test_the_fixture_checks_everything_in_one_test(conformance) -> None:
    conformance("good", only=("table", "receipts"))

    with pytest.raises(pytest.fail.Exception, match="receipts\\ngenerate_image of painter: the receipt's usage"):
        conformance("bad", {"lies": ["unbilled"]}, only=("table", "receipts"))
