"""Checks of errors: whatever a verb raises is a `PixvoxError` that says enough, and nothing of the caller's."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from pixvox.errors import PixvoxError, reason_name
from pixvox.provider import MadeVoice
from pixvox.registry import has_capability
from pixvox.testing.conformance import requests, voicing
from pixvox.testing.conformance.cases import CLONE, DESIGN, EDIT, PICTURES, SPEECH, Case, each
from pixvox.testing.conformance.ending import Ending, ending_of, told
from pixvox.testing.conformance.findings import Check, CheckSkippedError
from pixvox.testing.conformance.trial import BARE

if TYPE_CHECKING:
    from pixvox.testing.conformance.cases import Make
    from pixvox.testing.conformance.trial import Trial

PRIVATE = "Messages and metadata of errors never hold prompts, texts, media or keys."

# Trailers hold 8 KiB with all else that is in them.
_MOST_STATUS_BYTES = 6000


async def check_rehearsed(trial: Trial) -> None:
    """Provoke every error that the kind knows how to provoke."""
    if not trial.hints.failures:
        raise CheckSkippedError("the kind offers no ways to have it fail; see Hints.failures")
    for rehearsal in trial.hints.failures:
        for case in _first_case(trial, rehearsal.verb):
            trial.calls += 1
            make = await marked_call(case, **requests.arranged(trial.kind, rehearsal))
            # Not with the trial's patience, which would wait for a rate limit.
            ending = await ending_of(make(), within=trial.seconds)
            when = f"{rehearsal.reason} was provoked"
            if (error := checked_error(case, ending, when)) is not None:
                seen = f"{when}, and {told(error)} came out"
                contract = f"A failure of this kind is {rehearsal.reason}; see error_reason.proto."
                case.require(rehearsal.reason in {"", reason_name(error.reason)}, seen, contract)
    trial.note(f"provoked: {', '.join(sorted({one.reason for one in trial.hints.failures}))}")


async def check_odd_requests(case: Case) -> None:
    """Ask for what the table cannot tell to be wrong."""
    asked: list[tuple[str, dict[str, Any]]] = [
        (
            "an option that nobody knows",
            {"provider_options": {case.trial.kind: {"no-such-option": {"deep": [1, "two"]}}}},
        )
    ]
    if case.verb == SPEECH and not case.model.stream_speech.voices:
        asked.append(("a voice that nobody has", {"voice": "no-such-voice"}))
    for name, fields in asked:
        ending: Ending[Any] = await case.ending(await marked_call(case, **fields))
        if not ending.succeeded:
            checked_error(case, ending, f"asked with {name}")
        elif isinstance(ending.value, MadeVoice):
            await voicing.delete(case, ending.value)


CHECKS = (
    Check("errors-rehearsed", "Failures that can be provoked come out with the right reason.", check_rehearsed, 40),
    Check(
        "errors-odd-requests",
        "What is wrong in a way that the table cannot tell is a PixvoxError, or no error.",
        each(check_odd_requests, *PICTURES, SPEECH, CLONE, DESIGN),
        calls=4,
    ),
)


async def marked_call(case: Case, **fields: Any) -> Make[Any]:  # noqa: ANN401
    """Return what makes a call with words that are unmistakable."""
    if case.verb in PICTURES:
        return case.picturing(prompt=f"{requests.MARK} {requests.PROMPT}", **fields)
    if case.verb == SPEECH:
        return case.saying(f"{requests.MARK}. {case.sentence}", **fields)
    if case.verb == CLONE:
        recording = await voicing.recording(case)
        clone = voicing.cloning(case.model, recording, **fields)
        return lambda: case.trial.cloning(clone, recording, case.model)
    design = voicing.designing(case.model, **fields)
    return lambda: case.trial.designing(design, case.model)


def checked_error(case: Case, ending: Ending[Any], when: str) -> PixvoxError | None:
    """Report what is wrong with how a call failed that had to; return its error if that is one of the contract."""
    error = ending.error
    if ending.late or ending.stuck:
        seen = f"{when}, and nothing came out within {case.trial.seconds:g} s"
        case.require(False, seen, "A call that fails ends.")
        return None
    if not isinstance(error, PixvoxError):
        came = f"{told(error)} came out" if error is not None else "the call succeeded"
        case.require(False, f"{when}, and {came}", BARE)
        return None
    seen = f"{when}, and a {type(error).__name__} without reason or message came out"
    case.require(bool(error.reason and error.message.strip()), seen, BARE)
    _check_words(case, error, when)
    return error


def _first_case(trial: Trial, verb: str) -> list[Case]:
    """Return the case to provoke failures with: a chosen model, or the first that needs no made voice."""
    able = [model for model in trial.entry.models if has_capability(model, verb)]
    able.sort(
        key=lambda model: (
            model.id not in trial.subject.models,
            verb == SPEECH and model.stream_speech.needs_made_voice,
        )
    )
    return [Case(trial, verb, model) for model in able[:1]]


def _check_words(case: Case, error: PixvoxError, when: str) -> None:
    parts = [error.message, *(f"{one.field} {one.description}" for one in error.violations)]
    said = " ".join([*parts, *map(str, error.metadata.values())])
    found = [secret for secret in (requests.MARK, *_media(case), *case.trial.secrets) if secret in said]
    seen = f"{when}, and the words of {type(error).__name__} hold the caller's, or a key: {said[:200]!r}"
    case.require(not found, seen, PRIVATE)
    flat = all(type(one) is str for pair in error.metadata.items() for one in pair)
    seen = f"{when}, and the metadata of {type(error).__name__} is not text"
    if case.require(flat, seen, "The metadata of an error is text."):
        size = error.to_status("request").ByteSize()
        seen = f"{when}, and the status of {type(error).__name__} has {size} bytes"
        case.require(size <= _MOST_STATUS_BYTES, seen, "An error fits into trailers.")


def _media(case: Case) -> list[str]:
    """Return a part of the call's input as it goes over the wire."""
    if case.verb != EDIT:
        return []
    return [base64.b64encode(requests.input_for(case.model).data)[100:160].decode()]
