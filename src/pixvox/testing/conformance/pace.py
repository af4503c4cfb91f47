"""Checks of a stream's pace: audio comes while text arrives, and a slow reader slows the synthesis."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING, Any

from pixvox.testing.conformance import requests, speaking
from pixvox.testing.conformance.cases import SPEECH, each
from pixvox.testing.conformance.ending import ending_of
from pixvox.testing.conformance.findings import Check, CheckFailedError, CheckSkippedError
from pixvox.testing.conformance.speaking import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from pixvox.provider import SpeechEvent
    from pixvox.testing.conformance.cases import Case

# Of audio that may lie ready while nobody reads; 22 s at 24 kHz, more than any buffer of a network library.
MOST_AHEAD = 1024 * 1024
# How long nobody reads.
PAUSE_SECONDS = 1.0

_CHARACTERS = 8000
_MEBIBYTE = 1024 * 1024


async def check_slow_reader(case: Case) -> None:
    """Read the beginning of a long synthesis, then nothing for a while, then look what has piled up."""
    short = await case.said()
    text = speaking.long_text(case.model, _CHARACTERS)
    expected = len(short.pcm) * len(text) // max(len(case.sentence), 1)
    if expected < 2 * MOST_AHEAD:
        kibibytes = expected // 1024
        raise CheckSkippedError(
            f"the longest text of {case.model.id} is about {kibibytes} KiB of audio, too little to tell"
        )
    case.trial.calls += 1
    ending = await ending_of(_piled_up(case, text), within=case.trial.seconds + PAUSE_SECONDS)
    if ending.value is None:
        raise CheckFailedError(case.trial.failure(ending, case.verb, case.model.id))
    grown, ready = ending.value
    seen = (
        f"while nobody read for {PAUSE_SECONDS:g} s, memory grew by {grown / _MEBIBYTE:.1f} MiB and "
        f"at least {ready / _MEBIBYTE:.1f} MiB of audio lay ready"
    )
    contract = "The events are read at the caller's pace: a slow reader slows the synthesis rather than filling memory."
    # Either alone has other causes: an emulator in this process, a provider that makes audio when it is asked for it.
    case.require(min(grown, ready) <= MOST_AHEAD, seen, contract)
    case.note(f"while nobody read, {min(grown, ready) // 1024} KiB of audio were made ahead")


async def check_liveliness(case: Case) -> None:
    """Give a text that does not end, and wait for its first audio."""
    if not case.model.stream_speech.speaks_while_text_arrives:
        raise CheckSkippedError(f"{case.model.id} does not speak while text arrives")
    text = Text([f"{case.sentence} ", f"{case.sentence} "], endless=True)

    async def first() -> None:
        async with case.trial.stream(requests.speech(case.model), text, case.model) as stream:
            async for event in stream.events:
                if isinstance(event, bytes):
                    return

    case.trial.calls += 1
    ending = await ending_of(first(), within=case.trial.seconds)
    seen = f"two sentences were sent, and without the end of the text no audio came within {case.trial.seconds:g} s"
    contract = "speaks_while_text_arrives says that audio comes before the caller has half-closed."
    if case.require(not ending.late, seen, contract) and not ending.succeeded:
        raise CheckFailedError(case.trial.failure(ending, case.verb, case.model.id))
    case.note(f"the first audio of {case.model.id} came after {ending.seconds:.2f} s")


CHECKS = (
    Check(
        "speech-slow-reader",
        "A slow reader slows the synthesis rather than filling memory.",
        each(check_slow_reader, SPEECH),
        2,
    ),
    Check(
        "speech-liveliness",
        "Audio comes while text still arrives, where the table says so.",
        each(check_liveliness, SPEECH),
        1,
    ),
)


async def _piled_up(case: Case, text: str) -> tuple[int, int]:
    """Return by how many bytes memory grew while nobody read, and how much audio was ready afterwards."""
    async with case.trial.stream(requests.speech(case.model), Text(speaking.pieces(text, 200)), case.model) as stream:
        async for event in stream.events:
            if isinstance(event, bytes):
                break
        grown = await _growth(PAUSE_SECONDS)
        return grown, await _ready(stream.events)


async def _growth(seconds: float) -> int:
    """Return by how many bytes the memory grows that Python has allocated."""
    begun = not tracemalloc.is_tracing()
    if begun:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await asyncio.sleep(seconds)
        after, _ = tracemalloc.get_traced_memory()
        return after - before
    finally:
        if begun:
            tracemalloc.stop()


async def _ready(events: AsyncIterator[SpeechEvent]) -> int:
    """Return how many bytes of audio come without waiting for anything; more than four times the limit are not counted."""
    size = 0
    while size <= 4 * MOST_AHEAD:
        step = _Step(events.__anext__().__await__())
        try:
            event = await step
        except StopAsyncIteration:
            break
        if step.waited:
            break
        size += len(event) if isinstance(event, bytes) else 0
    return size


class _Step:
    """Awaits something, and notices whether that had to wait."""

    def __init__(self, inner: Generator[Any, Any, SpeechEvent]) -> None:
        self.waited = False
        self._inner = inner

    def __await__(self) -> Generator[Any, Any, SpeechEvent]:
        return self

    def __iter__(self) -> _Step:
        return self

    def __next__(self) -> object:
        return self.send(None)

    def send(self, value: object) -> object:
        awaited = self._inner.send(value)
        self.waited = True
        return awaited

    def throw(self, *error: Any) -> object:  # noqa: ANN401
        awaited = self._inner.throw(*error)
        self.waited = True
        return awaited

    def close(self) -> None:
        self._inner.close()
