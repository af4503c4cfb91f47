"""What is done with an upstream that is out of order is found out with one that is."""

from __future__ import annotations

import pytest

from pixvox.testing.conformance import Result, Subject, chosen, run_one

pytestmark = pytest.mark.usefixtures("third_party_kinds")

LIES = [
    ("raw-outage", "errors-unreachable", "the upstream refuses connections, and ConnectionRefusedError"),
    (
        "unsure",
        "errors-unreachable",
        "the upstream refuses connections, and OUTCOME_UNKNOWN came out, which is uncertain",
    ),
    (
        "sure",
        "errors-broken-upstream",
        "the upstream breaks off instead of answering, and PROVIDER_UNAVAILABLE came out, as if nothing was sent",
    ),
    (
        "twice-asked",
        "errors-broken-upstream",
        "the upstream breaks off instead of answering, and the request was sent 2 times",
    ),
    ("indexes", "errors-broken-upstream", "the upstream answers 200 with a page of HTML, and IndexError: there is no"),
    ("echoes", "errors-broken-upstream", "the upstream answers 500, and the words of ProviderInternalError hold the"),
    ("waits", "errors-silent-upstream", "the upstream never answers: had not ended 1 s after it was cancelled"),
]


def bad(*lies: str) -> Subject:
    return Subject("bad", {"lies": list(lies), "base_url": "http://127.0.0.1:9/v1"}, seconds=3.0)


@pytest.mark.parametrize(("lie", "check", "seen"), LIES, ids=[f"{lie}-{check}" for lie, check, _ in LIES])
def test_a_lie_about_an_outage_is_found(lie: str, check: str, seen: str) -> None:
    [made] = chosen([check])
    outcome = run_one(bad(lie), made)

    assert outcome.result is Result.FAIL
    assert {finding.method for finding in outcome.findings} == {"generate_image"}
    assert any(seen in finding.seen for finding in outcome.findings), outcome.findings


@pytest.mark.parametrize("check", ["errors-unreachable", "errors-broken-upstream", "errors-silent-upstream"])
def test_an_outage_that_is_told_as_it_is_passes(check: str) -> None:
    [made] = chosen([check])
    outcome = run_one(bad(), made)

    assert outcome.result is Result.PASS, outcome.findings
    assert outcome.calls >= 3


def test_verbs_that_ask_no_upstream_are_noted_rather_than_blamed() -> None:
    [made] = chosen(["errors-unreachable"])
    outcome = run_one(bad(), made)

    assert "edit_image does not ask the upstream" in outcome.notes
    assert "generate_image does not ask the upstream" not in outcome.notes


def test_a_provider_without_an_address_has_no_outage() -> None:
    [made] = chosen(["errors-unreachable"])
    outcome = run_one(Subject("bad", {}), made)

    assert outcome.result is Result.SKIP
    assert outcome.notes == ("the kind's settings have no address of an upstream",)
