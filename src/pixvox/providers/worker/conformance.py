"""What the conformance kit is told of workers: they are tried with an emulator, which fails and dawdles on demand."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from pixvox.testing.conformance.hints import Hints, Rehearsal
from pixvox.testing.worker import (
    LOADING,
    Cut,
    Failing,
    NoEnd,
    Nonsense,
    NoResult,
    Page,
    Refused,
    Slow,
    WorkerEmulator,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pixvox.testing.worker import Effect, Operation

_KEY = "a-key-of-workers"
_SLOW_SECONDS = 600.0
_MODELS: Mapping[str, Mapping[str, object]] = {
    "Qwen-Image": {"steps": 4},
    "Qwen-Image-Edit": {"steps": 4, "max_images": 3},
    "Qwen3-TTS-12Hz-1.7B-CustomVoice": {},
    "Qwen3-TTS-12Hz-1.7B-Base": {"design_name": "Qwen3-TTS-12Hz-1.7B-VoiceDesign"},
}
_PICTURES: dict[str, Operation] = {"generate_image": "generate", "edit_image": "edit"}
_SPEECH: dict[str, Operation] = {"stream_speech": "speech", "design_voice": "speech"}
_BEFORE: tuple[tuple[Effect, str], ...] = (
    (Refused(400, "invalid_request_error"), "INVALID_PARAMETER"),
    (Refused(400, "unsupported_task"), "PROVIDER_CONFIG"),
    (Refused(401, "authentication_error"), "PROVIDER_CREDENTIALS"),
    (Refused(404, "not_found_error", "model"), "PROVIDER_CONFIG"),
    (Refused(413, "payload_too_large"), "INVALID_INPUT"),
    (Refused(500), "PROVIDER_INTERNAL"),
    (LOADING, "PROVIDER_UNAVAILABLE"),
    (Refused(504, "timeout_error"), "PROVIDER_TIMEOUT"),
    (Page(502), "OUTCOME_UNKNOWN"),
    (Page(200), "PROVIDER_INTERNAL"),
    (Cut(), "OUTCOME_UNKNOWN"),
    (Nonsense(), "PROVIDER_INTERNAL"),
    (NoResult(), "PROVIDER_INTERNAL"),
    (NoEnd(), "PROVIDER_DISCONNECTED"),
    (Cut(after=2), "PROVIDER_DISCONNECTED"),
    (Failing(500, after=1), "PROVIDER_INTERNAL"),
)
_PICTURES_ALONE: tuple[tuple[Effect, str], ...] = (
    (Refused(415, "unsupported_media_type"), "INVALID_INPUT"),
    (Failing(503, "out_of_memory"), "PROVIDER_UNAVAILABLE"),
    (Failing(504, "timeout_error", after=2), "PROVIDER_TIMEOUT"),
)
_SPEECH_ALONE: tuple[tuple[Effect, str], ...] = ((Refused(400, "invalid_request_error", "voice"), "VOICE_NOT_FOUND"),)


@contextlib.asynccontextmanager
async def conformance() -> AsyncIterator[Hints]:
    """Run the emulator, and give the hints; see `pixvox.testing.conformance`."""
    async with WorkerEmulator(api_keys=(_KEY,)) as worker:
        table = {"url": worker.url, "api_key": _KEY, "models": _MODELS}
        verbs = _PICTURES | _SPEECH
        failures = [
            _rehearsal(worker, operation, verb, effect, reason)
            for verb, operation in verbs.items()
            for effect, reason in (*_BEFORE, *(_PICTURES_ALONE if verb in _PICTURES else _SPEECH_ALONE))
        ]
        failures.append(_rehearsal(worker, "generate", "generate_image", Refused(429), "RATE_LIMITED"))
        slow = [
            Rehearsal(verb, order=partial(worker.faults.add, operation, Slow(_SLOW_SECONDS)))
            for verb, operation in verbs.items()
        ]
        yield Hints(table, failures=tuple(failures), slow=tuple(slow), seconds=20.0)


def _rehearsal(worker: WorkerEmulator, operation: Operation, verb: str, effect: Effect, reason: str) -> Rehearsal:
    def order() -> None:
        worker.faults.clear()
        # Without an end, because what is refused may be asked again.
        worker.faults.add(operation, effect, times=None)

    return Rehearsal(verb, reason, order=order)
