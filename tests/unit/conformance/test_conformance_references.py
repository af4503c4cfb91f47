"""The checks of voices that a provider does not keep, on one that speaks from references and on one that does so badly."""

from __future__ import annotations

import pytest

from echoing import echo_installed
from pixvox.provider import MAX_REFERENCE_BYTES
from pixvox.testing.conformance import Result, Subject, chosen, run_one

__all__ = ["echo_installed"]

pytestmark = pytest.mark.usefixtures("echo_installed")

# A setting that breaks the contract, the check that is meant for it, the method that the finding names, and what it says.
LIES = [
    ({"wrong": "reference"}, "voice-clone", "stream_speech_as", "another one of 7 bytes arrived"),
    ({"wrong": "reference"}, "voice-design", "stream_speech_as", "another one of 7 bytes arrived"),
    ({"wrong": "memory"}, "voice-references", "stream_speech_as", "raised VOICE_NOT_FOUND"),
    ({"shape": "mute"}, "voice-clone", "clone_voice", "gave a reference, and has no stream_speech_as"),
    ({"shape": "mute"}, "voice-design", "design_voice", "gave a reference, and has no stream_speech_as"),
    ({"extra_bytes": MAX_REFERENCE_BYTES}, "voice-clone", "clone_voice", "the reference is audio/wav of 10"),
    ({"shape": "unasked"}, "verbs", "stream_speech_as", "the provider has stream_speech_as and makes no voices"),
]


@pytest.mark.parametrize("check", ["table", "verbs", "voice", "resources", "tasks"])
def test_a_provider_that_speaks_from_references_passes(check: str) -> None:
    for one in chosen([check]):
        outcome = run_one(Subject("echo"), one)

        assert outcome.result is not Result.FAIL, outcome.findings
        assert outcome.result is Result.PASS or not check.startswith("voice")


@pytest.mark.parametrize(("table", "check", "method", "seen"), LIES)
def test_a_provider_that_does_so_badly_is_found_out(
    table: dict[str, object], check: str, method: str, seen: str
) -> None:
    import echo_pixvox  # is found where a test has installed it

    [outcome] = [run_one(Subject("echo", table, hints=echo_pixvox.conformance), one) for one in chosen([check])]

    assert outcome.result is Result.FAIL
    assert any(seen in finding.seen and finding.method == method for finding in outcome.findings), outcome.findings


def test_a_provider_that_keeps_its_voices_is_not_asked_for_references() -> None:
    [outcome] = [run_one(Subject("echo", {"shape": "deaf"}), one) for one in chosen(["voice-references"])]

    assert outcome.result is Result.SKIP
