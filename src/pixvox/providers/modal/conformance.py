"""What the conformance kit is told of Modal: it is tried with the emulator, which fails and dawdles on demand."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from pixvox.testing.conformance.hints import Hints, Rehearsal
from pixvox.testing.modal import AppAnswer, Cut, Fault, ModalEmulator, NoPicture, Slow, edge_answer
from pixvox.testing.modal.speech import said, wav

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pixvox.testing.modal import Effect
    from pixvox.testing.modal.faults import Operation
    from pixvox.testing.modal.speech import Kind

_OPERATIONS: dict[str, Operation] = {
    "generate_image": "generate",
    "edit_image": "edit",
    "stream_speech": "speech",
    "design_voice": "speech",
}
_SPEECH: dict[str, Kind] = {"speaks": "CustomVoice", "clones": "Base", "designs": "VoiceDesign"}
_MODELS = {
    "Qwen-Image": {"verb": "generate"},
    "Qwen-Image-Edit": {"verb": "edit"},
    "speaks": {"verb": "speak"},
    "clones": {"verb": "clone"},
}
_SLOW_SECONDS = 600.0
# Some four seconds.
_TEXT = "What is said in a recording from which a voice is made is known. "
_EFFECTS: tuple[tuple[Effect, str], ...] = (
    (AppAnswer(400, "invalid_request_error"), "INVALID_PARAMETER"),
    (AppAnswer(404, "not_found_error"), "PROVIDER_CONFIG"),
    (AppAnswer(415, "unsupported_media_type"), "INVALID_INPUT"),
    (AppAnswer(500, "internal_error"), "PROVIDER_INTERNAL"),
    (AppAnswer(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
    (AppAnswer(504, "timeout_error"), "PROVIDER_TIMEOUT"),
    (edge_answer(401, "missing credentials for proxy authorization"), "PROVIDER_CREDENTIALS"),
    (edge_answer(403, "token is not scoped to the environment"), "PROVIDER_ACCESS_DENIED"),
    (edge_answer(404, "app for invoked web endpoint is stopped"), "PROVIDER_UNAVAILABLE"),
    (edge_answer(429, "workspace billing cycle spend limit reached"), "PROVIDER_BILLING"),
    (Cut(), "OUTCOME_UNKNOWN"),
    (NoPicture(), "PROVIDER_INTERNAL"),
)


@contextlib.asynccontextmanager
async def conformance() -> AsyncIterator[Hints]:
    """Run the emulator, and give the hints; see `pixvox.testing.conformance`."""
    async with ModalEmulator(speech=_SPEECH) as edge:
        table = {"url": edge.url, "poll_seconds": 0.01, "models": _MODELS}
        table |= {"design_url": edge.url, "design_model": "designs"}
        yield Hints(
            table, failures=tuple(_failures(edge)), slow=tuple(_slow(edge)), recording=wav(said(_TEXT)), seconds=20.0
        )


def _failures(edge: ModalEmulator) -> list[Rehearsal]:
    def order(operation: Operation, effect: Effect) -> None:
        edge.faults.clear()
        # Without an end, because what is refused may be asked again.
        edge.faults.add(Fault(operation, effect, times=None))

    return [
        Rehearsal(verb, reason, order=partial(order, operation, effect))
        for verb, operation in _OPERATIONS.items()
        for effect, reason in _EFFECTS
        if not (isinstance(effect, NoPicture) and operation == "speech")
    ]


def _slow(edge: ModalEmulator) -> list[Rehearsal]:
    return [
        Rehearsal(verb, order=partial(edge.faults.add, Fault(operation, Slow(_SLOW_SECONDS))))
        for verb, operation in _OPERATIONS.items()
    ]
