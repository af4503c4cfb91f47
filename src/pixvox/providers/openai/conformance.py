"""What the conformance kit is told of the engines: they are tried with an emulator, which fails and dawdles on demand."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from pixvox.testing.conformance.hints import Hints, Rehearsal
from pixvox.testing.openai import Cut, ErrorEvent, NoDone, OpenAIEmulator, Raw, Refused, Stalled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pixvox.testing.openai.faults import Effect, Operation

_KEY = "sk-test"
_SLOW_SECONDS = 600.0

_OPERATIONS: dict[str, Operation] = {"generate_image": "generate", "edit_image": "edit", "stream_speech": "speech"}
_FAILURES: tuple[tuple[Effect, str], ...] = (
    (Refused(400), "INVALID_PARAMETER"),
    (Refused(400, "moderation_blocked"), "CONTENT_BLOCKED"),
    (Refused(401, "invalid_api_key"), "PROVIDER_CREDENTIALS"),
    (Refused(403), "PROVIDER_ACCESS_DENIED"),
    (Refused(404, "model_not_found"), "PROVIDER_CONFIG"),
    (Refused(429, "insufficient_quota"), "PROVIDER_BILLING"),
    (Refused(500), "PROVIDER_INTERNAL"),
    (Refused(503), "PROVIDER_UNAVAILABLE"),
    (Raw(502), "OUTCOME_UNKNOWN"),
)


@contextlib.asynccontextmanager
async def conformance() -> AsyncIterator[Hints]:
    """Run the emulator, and give the hints; see `pixvox.testing.conformance`."""
    async with OpenAIEmulator("openai", api_keys=(_KEY,)) as emulator:
        table = {"base_url": emulator.base_url, "api_key": _KEY}
        failures = [_rehearsal(emulator, verb, reason, effect) for verb in _OPERATIONS for effect, reason in _FAILURES]
        failures += [_rehearsal(emulator, verb, "OUTCOME_UNKNOWN", Cut()) for verb in ("generate_image", "edit_image")]
        failures += [
            _rehearsal(emulator, "generate_image", "RATE_LIMITED", Refused(429)),
            _rehearsal(emulator, "stream_speech", "PROVIDER_DISCONNECTED", Cut(after=1)),
            _rehearsal(emulator, "stream_speech", "PROVIDER_DISCONNECTED", NoDone()),
            _rehearsal(emulator, "stream_speech", "PROVIDER_INTERNAL", ErrorEvent(after=1)),
        ]
        slow = [_rehearsal(emulator, verb, "", Stalled(_SLOW_SECONDS)) for verb in _OPERATIONS]
        yield Hints(table, failures=tuple(failures), slow=tuple(slow), seconds=20.0)


def _rehearsal(emulator: OpenAIEmulator, verb: str, reason: str, effect: Effect) -> Rehearsal:
    def order() -> None:
        emulator.faults.clear()
        # Without an end where what is refused may be asked again; once where it is only to be slow.
        emulator.faults.add(_OPERATIONS[verb], effect, times=None if reason else 1)

    return Rehearsal(verb, reason, order=partial(order))
