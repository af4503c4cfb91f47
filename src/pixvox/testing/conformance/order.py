"""Checks of a speech stream's order: flushes, the one receipt at the end, and texts that fail or have nothing in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.errors import InvalidRequestError, PixvoxError
from pixvox.testing.conformance import requests, speaking
from pixvox.testing.conformance.cases import SPEECH, each
from pixvox.testing.conformance.ending import Ending, told
from pixvox.testing.conformance.findings import Check
from pixvox.testing.conformance.speaking import Text
from pixvox.v1 import media_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.provider import SpeechInput
    from pixvox.testing.conformance.cases import Case
    from pixvox.testing.conformance.speaking import Spoken

_ORDER = "A Flushed with the flush's id follows the last audio of the text before it, one for each flush, in order."
_RECEIPT = "The receipt comes exactly once, and last, when all the text was spoken."
_EVENTS = (bytes, speech_service_pb2.Flushed, media_pb2.Warning, media_pb2.Receipt)


async def check_order(case: Case) -> None:
    """Speak a text with flushes, in small pieces."""
    # Two flushes at once, one of which has no id, and text after the last of them.
    items = [*speaking.pieces(case.sentence, 7), requests.flush("first"), *speaking.pieces(case.sentence, 7)]
    items += [requests.flush("second"), requests.flush(), *speaking.pieces(case.sentence, 1)]
    ending = await _ending(case, Text(items))
    if ending.value is None:
        case.trial.find(case.trial.failure(ending, case.verb, case.model.id))
        return
    _check_stream(case, ending.value, ["first", "second", ""])
    _check_flushes(case, ending.value)


async def check_short_texts(case: Case) -> None:
    """Speak texts with little or nothing in them; a caller sends them, and a route may let them through."""
    texts: dict[str, Sequence[SpeechInput]] = {
        "a text that ends at once": (),
        "a text of blanks": ("   ", "\n"),
        "a flush before any text": (requests.flush("early"), case.sentence),
        "a single letter": ("a",),
    }
    for name, items in texts.items():
        _check_short(case, name, await _ending(case, Text(items)))


async def check_text_errors(case: Case) -> None:
    """Let the text fail, at once and in its middle; its error has to come out as it is."""
    sentence = f"{case.sentence} "
    places: dict[str, Sequence[SpeechInput]] = {
        "at once": (),
        "after some text": (sentence, sentence),
        "after a flush": (sentence, requests.flush("f")),
    }
    for name, items in places.items():
        # As the service raises it for a caller's mistake in the middle of a stream.
        error = InvalidRequestError("The caller's text is wrong.")
        ending = await _ending(case, Text(items, error=error))
        seen = f"the text raised {name}, and {_instead(ending)}"
        case.require(ending.error is error, seen, "An error of the text comes out of the block unchanged.")


CHECKS = (
    Check(
        "speech-order",
        "Flushes are answered in their places, and the receipt comes once, last.",
        each(check_order, SPEECH),
        1,
    ),
    Check(
        "speech-short-texts",
        "Texts with nothing in them end, one way or the other.",
        each(check_short_texts, SPEECH),
        4,
    ),
    Check("speech-text-errors", "An error of the text comes out unchanged.", each(check_text_errors, SPEECH), 3),
)


async def _ending(case: Case, text: Text) -> Ending[Spoken]:
    return await case.ending(lambda: case.trial.speaking(requests.speech(case.model), text, case.model))


def _check_stream(case: Case, spoken: Spoken, flushes: list[str]) -> None:
    for event in spoken.events:
        seen = f"an event is {type(event).__name__}"
        case.require(isinstance(event, _EVENTS), seen, "Events are bytes, Flushed, Warning and Receipt.")
    case.require(spoken.flushed == flushes, f"flushes {flushes} were answered by {spoken.flushed}", _ORDER)
    count = len(spoken.receipts)
    if case.require(count == 1, f"{count} receipts came", _RECEIPT):
        after = len(spoken.events) - 1 - spoken.events.index(spoken.receipts[0])
        case.require(not after, f"{after} events came after the receipt", _RECEIPT)


def _check_flushes(case: Case, spoken: Spoken) -> None:
    """Report a flush that was answered before its text was spoken, or too late."""
    seconds = [0.0]
    for event in spoken.events:
        if isinstance(event, bytes):
            seconds[-1] += len(event) / speaking.BYTES_PER_SAMPLE / max(spoken.rate, 1)
        elif isinstance(event, speech_service_pb2.Flushed):
            seconds.append(0.0)
    if len(seconds) != 4:
        return
    # It is the same sentence each time, so its parts last about as long; nothing is between the two flushes at once.
    before, between, nothing, after = seconds
    shown = ", ".join(f"{one:.2f} s" for one in seconds)
    least = max(before, between, after) / 4
    fits = min(before, between, after) > least and nothing <= least
    case.require(fits, f"the audio before, between and after the flushes, of a sentence each, lasts {shown}", _ORDER)


def _check_short(case: Case, name: str, ending: Ending[Spoken]) -> None:
    if isinstance(ending.error, PixvoxError):
        case.note(f"{name} is refused")
    elif ending.value is None:
        failure = case.trial.failure(ending, case.verb, case.model.id)
        contract = "A text with nothing in it is spoken as nothing, or refused with a PixvoxError."
        case.require(False, f"{name}: {failure.seen}", contract)
    else:
        count = len(ending.value.receipts)
        case.require(count == 1, f"{name}: {count} receipts came", _RECEIPT)


def _instead(ending: Ending[Spoken]) -> str:
    if ending.error is not None:
        return f"{told(ending.error)} came out"
    if ending.value is None:
        return "nothing came out of the block in time"
    return f"the synthesis ended as if it was whole, with {len(ending.value.receipts)} receipts"
