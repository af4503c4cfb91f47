"""Text on its way to a provider, and what it speaks of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixvox.testing.conformance.findings import CheckFailedError, Finding
from pixvox.v1 import media_pb2, speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pixvox.provider import SpeechEvent, SpeechInput, SpeechStream
    from pixvox.v1 import model_service_pb2

BYTES_PER_SAMPLE = 2
# No text of the kit's takes so much; a provider that never ends would fill the memory.
MOST_BYTES = 256 * 1024 * 1024

SENTENCE = "The lighthouse keeper counts the boats in the morning."
SENTENCES = {
    "en": SENTENCE,
    "de": "Der Leuchtturmwärter zählt am Morgen die Boote.",
    "fr": "Le gardien du phare compte les bateaux le matin.",
    "es": "El guardián del faro cuenta los barcos por la mañana.",
    "it": "Il guardiano del faro conta le barche al mattino.",
    "pt": "O guardião do farol conta os barcos de manhã.",
    "ru": "Смотритель маяка утром считает лодки.",
    "zh": "灯塔看守人早上数船。",
    "ja": "とうだいもりはあさにふねをかぞえます。",
    "ko": "등대지기는 아침에 배를 셉니다.",
}


class Text:
    """The text of one call, piece by piece; an async iterator.

    Args:
        items: Pieces of text and flushes.
        endless: Whether it waits after the last piece instead of ending.
        error: Is raised after the last piece.

    Attributes:
        taken: How many pieces were taken.
        waiting: Whether somebody waits for the next one.
        ended: Whether its end was reached.
    """

    def __init__(
        self, items: Iterable[SpeechInput], *, endless: bool = False, error: BaseException | None = None
    ) -> None:
        self.items = tuple(items)
        self.taken = 0
        self.waiting = False
        self.ended = False
        self._endless = endless
        self._error = error

    def __aiter__(self) -> Text:
        """Return itself."""
        return self

    async def __anext__(self) -> SpeechInput:
        """Return the next piece."""
        self.waiting = True
        try:
            # A caller's text comes from the network, so that it always takes a turn of the loop.
            await asyncio.sleep(0)
            if self.taken < len(self.items):
                self.taken += 1
                return self.items[self.taken - 1]
            if self._error is not None:
                raise self._error
            if self._endless:
                await asyncio.Event().wait()
            self.ended = True
            raise StopAsyncIteration
        finally:
            self.waiting = False


@dataclass(slots=True)
class Spoken:
    """All that came out of one synthesis.

    Attributes:
        voice: That spoke.
        rate: Of the samples, in hertz.
        events: In order.
    """

    voice: str
    rate: int
    events: list[SpeechEvent] = field(default_factory=list)

    @property
    def chunks(self) -> list[bytes]:
        """The pieces of audio."""
        return [event for event in self.events if isinstance(event, bytes)]

    @property
    def pcm(self) -> bytes:
        """All audio."""
        return b"".join(self.chunks)

    @property
    def seconds(self) -> float:
        """The length of the audio."""
        return sum(map(len, self.chunks)) / BYTES_PER_SAMPLE / max(self.rate, 1)

    @property
    def receipts(self) -> list[media_pb2.Receipt]:
        """The receipts, of which there has to be one."""
        return [event for event in self.events if isinstance(event, media_pb2.Receipt)]

    @property
    def warnings(self) -> list[media_pb2.Warning]:
        """The warnings."""
        return [event for event in self.events if isinstance(event, media_pb2.Warning)]

    @property
    def flushed(self) -> list[str]:
        """Ids of the flushes that were answered."""
        return [event.id for event in self.events if isinstance(event, speech_service_pb2.Flushed)]


async def collected(stream: SpeechStream) -> Spoken:
    """Read a synthesis to the end of its events, beyond the receipt if there is more."""
    spoken = Spoken(stream.voice, stream.sample_rate_hertz)
    size = 0
    async for event in stream.events:
        spoken.events.append(event)
        size += len(event) if isinstance(event, bytes) else 0
        if size > MOST_BYTES:
            seen = f"went on speaking after {MOST_BYTES // 1024 // 1024} MiB of audio"
            raise CheckFailedError(Finding(seen, "A synthesis ends when its text was spoken.", "stream_speech"))
    return spoken


def sentence_for(model: model_service_pb2.Model, language: str = "") -> str:
    """Return a sentence that a model can speak; in that language if the kit knows one."""
    codes = [language] if language else [*model.stream_speech.language_codes]
    known = [SENTENCES[code] for code in map(primary, codes) if code in SENTENCES]
    return SENTENCE if not known or (not language and SENTENCE in known) else known[0]


def long_text(model: model_service_pb2.Model, characters: int) -> str:
    """Return sentences of at most so many characters, and of no more than a model takes."""
    sentence = sentence_for(model) + " "
    most = min(characters, model.stream_speech.max_text_characters or characters)
    return sentence * max(1, most // len(sentence)) if most >= len(sentence) else sentence[:most]


def pieces(text: str, size: int = 40) -> list[SpeechInput]:
    """Return a text cut into pieces, as it trickles in."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def said(*items: SpeechInput) -> Callable[[], Text]:
    """Return what makes a text of these pieces, a new one for each call."""
    return lambda: Text(items)


def primary(tag: str) -> str:
    """Return the language of a BCP-47 tag."""
    return tag.split("-", 1)[0].lower()
