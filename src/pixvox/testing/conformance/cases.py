"""What a check is made for: one verb of one model, case by case."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pixvox.testing.conformance import requests, speaking
from pixvox.testing.conformance.findings import CheckFailedError, CheckSkippedError, Finding
from pixvox.testing.conformance.speaking import Text

if TYPE_CHECKING:
    from pixvox.provider import ImageResult
    from pixvox.testing.conformance.ending import Ending
    from pixvox.testing.conformance.requests import Request
    from pixvox.testing.conformance.speaking import Spoken
    from pixvox.testing.conformance.trial import Trial
    from pixvox.v1 import model_service_pb2

T = TypeVar("T")

GENERATE = "generate_image"
EDIT = "edit_image"
SPEECH = "stream_speech"
CLONE = "clone_voice"
DESIGN = "design_voice"
PICTURES = (GENERATE, EDIT)

Make = Callable[[], Coroutine[Any, Any, T]]


@dataclass(frozen=True, slots=True)
class Case:
    """A verb of a model.

    Attributes:
        trial: Of the provider.
        verb: Which is the provider's method as well.
        model: That has it.
    """

    trial: Trial
    verb: str
    model: model_service_pb2.Model

    @property
    def output(self) -> model_service_pb2.ImageOutput:
        """What the table says of pictures that the verb makes."""
        return self.model.generate_image.output if self.verb == GENERATE else self.model.edit_image.output

    @property
    def sentence(self) -> str:
        """A sentence that the model can speak."""
        return speaking.sentence_for(self.model)

    def require(self, holds: bool, seen: str, contract: str, *, method: str = "") -> bool:
        """Report what was seen, which is against the contract, unless `holds`; and return that."""
        if not holds:
            self.trial.find(Finding(seen, contract, method or self.verb, self.model.id))
        return holds

    def note(self, text: str) -> None:
        """Tell what was seen."""
        self.trial.note(text)

    async def served(self, make: Make[T], *, method: str = "") -> T:
        """Make a call that has to succeed, and return what it gives.

        Raises:
            CheckFailedError: It raised, or did not end.
        """
        return await self.trial.served(method or self.verb, self.model.id, make)

    async def ending(self, make: Make[T]) -> Ending[T]:
        """Make a call and return how it ended."""
        return await self.trial.ending(make)

    async def check_usable(self) -> None:
        """Report it if an ordinary call fails, after something else was done."""
        ending: Ending[Any] = await self.ending(self.usual())
        if not ending.succeeded:
            failure = self.trial.failure(ending, self.verb, self.model.id)
            self.require(
                False, f"the call after it {failure.seen}", "A provider serves on after a call was broken off."
            )

    def usual(self) -> Make[Any]:
        """Return what makes a small ordinary call."""
        return self.saying(self.sentence) if self.verb == SPEECH else self.picturing()

    def picturing(self, **fields: Any) -> Make[ImageResult]:  # noqa: ANN401
        """Return what makes a small picture; `fields` are those of the request, and `hue` that of an input."""
        return self.asking(**fields)[1]

    def asking(self, **fields: Any) -> tuple[Request, Make[ImageResult]]:  # noqa: ANN401
        """Return a request for a small picture as `picturing` makes it, and what makes that."""
        hue = fields.pop("hue", "orange")
        if self.verb == GENERATE:
            request = requests.generating(self.model, **fields)
            return request, lambda: self.trial.generating(request, self.model)
        source = requests.input_for(self.model, hue=hue)
        change = requests.editing(self.model, source, **fields)
        return change, lambda: self.trial.editing(change, [source], None, self.model)

    async def pictured(self, **fields: Any) -> ImageResult:  # noqa: ANN401
        """Make a small picture and return it; see `served` and `picturing`."""
        return await self.served(self.picturing(**fields))

    def saying(self, text: str, **fields: Any) -> Make[Spoken]:  # noqa: ANN401
        """Return what speaks a text that trickles in; `fields` are those of the config."""
        config = requests.speech(self.model, **fields)
        return lambda: self.trial.speaking(config, Text(speaking.pieces(text)), self.model)

    async def said(self, text: str = "", **fields: Any) -> Spoken:  # noqa: ANN401
        """Speak a text, or a sentence, and return what came; see `served`."""
        return await self.served(self.saying(text or self.sentence, **fields))


def each(check: Callable[[Case], Awaitable[None]], *verbs: str) -> Callable[[Trial], Awaitable[None]]:
    """Return what makes a check for each chosen model of the verbs; what fails with one does not hide another."""

    async def run(trial: Trial) -> None:
        missing: list[str] = []
        skipped: list[str] = []
        made = 0
        for case in _cases(trial, verbs, missing):
            try:
                await check(case)
                made += 1
            except CheckFailedError as error:
                trial.find(error.finding)
                made += 1
            except CheckSkippedError as error:
                skipped.append(str(error))
        if not made:
            raise CheckSkippedError("; ".join(dict.fromkeys(skipped or missing)))
        for reason in skipped:
            trial.note(reason)

    return run


def usual_cases(trial: Trial) -> list[Case]:
    """Return the cases that can be tried with a small call: those of pictures and of speech.

    Raises:
        CheckSkippedError: There is none.
    """
    skipped: list[str] = []
    if found := _cases(trial, (*PICTURES, SPEECH), skipped):
        return found
    raise CheckSkippedError("; ".join(skipped))


def _cases(trial: Trial, verbs: tuple[str, ...], skipped: list[str]) -> list[Case]:
    found: list[Case] = []
    for verb in verbs:
        try:
            found += [Case(trial, verb, model) for model in trial.models(verb)]
        except CheckSkippedError as error:
            skipped.append(str(error))
    return found
