"""What the conformance kit is told of DashScope: it is tried with the emulator, which fails and dawdles on demand."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pixvox.testing.conformance.hints import Hints, Rehearsal
from pixvox.testing.dashscope import Closed, Cut, DashScopeEmulator, ErrorEvent, Fault, Raw, Refused, Stalled
from pixvox.testing.dashscope.sound import expected_pcm, wav_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pixvox.testing.dashscope.faults import Effect, Operation

_KEY = "sk-test"
_SPOKEN = "Nobody said this, and nobody has to agree to it. "
_SLOW_SECONDS = 600.0

# One operation of each verb's first model.
_OPERATIONS: dict[str, Operation] = {
    "generate_image": "generate",
    "edit_image": "edit",
    "stream_speech": "realtime",
    "clone_voice": "voice_create",
    "design_voice": "voice_create",
}
_REFUSALS: tuple[tuple[int, str, str, str], ...] = (
    (400, "InvalidParameter", "A value is out of range.", "INVALID_PARAMETER"),
    (400, "DataInspectionFailed", "Input data may contain inappropriate content.", "CONTENT_BLOCKED_INPUT"),
    (400, "Arrearage", "Access denied, please make sure your account is in good standing.", "PROVIDER_BILLING"),
    (401, "InvalidApiKey", "Invalid API-key provided.", "PROVIDER_CREDENTIALS"),
    (403, "Model.AccessDenied", "Model access denied.", "PROVIDER_ACCESS_DENIED"),
    (404, "ModelNotFound", "Model can not be found.", "MODEL_NOT_FOUND"),
    (429, "Throttling.RateQuota", "Requests rate limit exceeded.", "RATE_LIMITED"),
    (429, "Throttling.AllocationQuota", "Allocated quota exceeded.", "QUOTA_EXCEEDED"),
    (500, "InternalError", "An internal error has occurred.", "PROVIDER_INTERNAL"),
    (503, "ServiceUnavailable", "Service is unavailable.", "PROVIDER_UNAVAILABLE"),
)
_LOST = "OUTCOME_UNKNOWN"


@contextlib.asynccontextmanager
async def conformance() -> AsyncIterator[Hints]:
    """Run the emulator, and give the hints; see `pixvox.testing.conformance`."""
    async with DashScopeEmulator(api_keys=(_KEY,)) as emulator:
        table = {
            "api_key": _KEY,
            "http_base": emulator.http_base,
            "result_hosts": [urlsplit(emulator.http_base).netloc],
            "poll_seconds": 0.01,
        }
        yield Hints(
            table,
            failures=tuple(_failures(emulator)),
            slow=tuple(_slow(emulator)),
            recording=wav_of(expected_pcm(_SPOKEN * 3, "Cherry")),
            seconds=20.0,
        )


def _failures(emulator: DashScopeEmulator) -> list[Rehearsal]:
    found = []
    for verb, operation in _OPERATIONS.items():
        for status, code, message, reason in _REFUSALS:
            # It is waited for, so two verbs have to do.
            if reason != "RATE_LIMITED" or verb in {"generate_image", "stream_speech"}:
                found.append(_rehearsal(emulator, verb, reason, operation, Refused(status, code, message)))
        if operation != "realtime":
            found.append(_rehearsal(emulator, verb, _LOST, operation, Cut()))
            found.append(_rehearsal(emulator, verb, _LOST, operation, Raw()))
    speech = partial(_rehearsal, emulator, "stream_speech")
    found.append(speech("PROVIDER_DISCONNECTED", "realtime", Closed(after=1)))
    found.append(speech("PROVIDER_INTERNAL", "realtime", ErrorEvent("InternalError", after=1)))
    return found


def _slow(emulator: DashScopeEmulator) -> list[Rehearsal]:
    return [
        Rehearsal(verb, order=partial(emulator.faults.add, Fault(operation, Stalled(_SLOW_SECONDS))))
        for verb, operation in _OPERATIONS.items()
    ]


def _rehearsal(emulator: DashScopeEmulator, verb: str, reason: str, operation: Operation, effect: Effect) -> Rehearsal:
    def order() -> None:
        emulator.faults.clear()
        # Without an end, because what is refused may be asked again.
        emulator.faults.add(Fault(operation, effect, times=None))

    return Rehearsal(verb, reason, order=order)
