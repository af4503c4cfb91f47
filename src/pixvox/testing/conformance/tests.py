"""The checks as tests of pytest, which needs no plugin for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixvox.testing.conformance.checks import chosen
from pixvox.testing.conformance.findings import Result
from pixvox.testing.conformance.report import lines
from pixvox.testing.conformance.runner import run_one
from pixvox.testing.conformance.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pixvox.testing.conformance.findings import Check
    from pixvox.testing.conformance.hints import Hints, HintSource


def conformance_tests(
    kind: str,
    table: Mapping[str, Any] | None = None,
    *,
    hints: Hints | HintSource | None = None,
    models: Iterable[str] = (),
    only: Iterable[str] = (),
    leave_out: Iterable[str] = (),
    seconds: float | None = None,
) -> type:
    """Return a class with a test for each check, to be bound to a name that begins with ``Test``.

    The tests are ordinary functions, for which no event loop and no other plugin is needed.

    Args:
        kind: Of provider.
        table: Of its settings; None takes that of the hints, or an empty one.
        hints: Instead of those that the kind offers.
        models: Ids of the models to call; ``all`` for all; none for the first of each verb.
        only: Names of checks, or beginnings such as ``speech``; none for all.
        leave_out: Names of checks that are not made, likewise.
        seconds: The longest that one call may take; None leaves it to the hints.

    Raises:
        ValueError: There is no such check.
    """
    source = (lambda: hints) if hints is not None and not callable(hints) else hints
    subject = Subject(kind, table, hints=source, models=tuple(models), seconds=seconds)
    left_out = chosen(leave_out) if (leave_out := tuple(leave_out)) else ()
    tests = {_name(check): _test(subject, check) for check in chosen(only) if check not in left_out}
    return type("ConformanceTests", (), {"__doc__": f"The conformance of {kind}.", **tests})


def _name(check: Check) -> str:
    return f"test_{check.name.replace('-', '_')}"


def _test(subject: Subject, check: Check) -> Callable[[object], None]:
    def test(_: object) -> None:
        # pytest is there where tests run, and need not be anywhere else.
        import pytest  # noqa: PLC0415

        outcome = run_one(subject, check)
        shown = "\n".join([f"{outcome.check}: {outcome.proves}", *lines(outcome)])
        if outcome.result is Result.FAIL:
            pytest.fail(shown, pytrace=False)
        if outcome.result is Result.SKIP:
            pytest.skip("; ".join(outcome.notes))

    test.__name__ = _name(check)
    test.__doc__ = check.proves
    return test
