"""Checks of calls beside each other: they do not mix, and none of them holds up the others."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from typing import TYPE_CHECKING, Any

from pixvox.errors import OverloadedError, QuotaExceededError, RateLimitedError
from pixvox.testing.conformance.cases import GENERATE, PICTURES, SPEECH, each
from pixvox.testing.conformance.ending import ending_of
from pixvox.testing.conformance.findings import Check, CheckFailedError, CheckSkippedError, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pixvox.provider import ImageResult
    from pixvox.testing.conformance.cases import Case, Make

CALLS = 8
FIRST_SEED = 100
# No call of the service's gets a turn while one holds up the loop.
LONGEST_HOLD = 1.0

_TICK = 0.02
_TRIES = 2
_MIXED = "Calls at once give what each gives alone."
_REFUSED = (RateLimitedError, QuotaExceededError, OverloadedError)
_COLOURS = ("red", "blue", "white", "black", "yellow", "grey", "brown", "pink")


async def check_pictures(case: Case) -> None:
    """Make eight pictures at once."""
    served = await _at_once(case, [_picture(case, index) for index in range(_count(case))])
    first: dict[bytes, int] = {}
    for index, result in served.items():
        blob = result.images[0]
        if blob.data:
            other = first.setdefault(blob.data, index)
            seen = f"calls {other + 1} and {index + 1} of those at once asked for different pictures and got the same"
            case.require(other == index, seen, _MIXED)
        if case.output.takes_seed and blob.seed is not None:
            seen = f"one of the calls at once asked with seed {FIRST_SEED + index} and its picture says {blob.seed}"
            case.require(blob.seed == FIRST_SEED + index, seen, _MIXED)
    _check_ids(case, [result.receipt.provider_request_id for result in served.values()])
    if case.output.deterministic:
        index, beside = next(iter(served.items()))
        alone = await case.served(_picture(case, index))
        same = [blob.data for blob in beside.images] == [blob.data for blob in alone.images]
        case.require(same, "a picture that was made beside others differs from the same one made alone", _MIXED)


async def check_speech(case: Case) -> None:
    """Speak eight texts of different lengths at once."""
    texts = [f"{case.sentence} " * (1 + index % 4) for index in range(_count(case))]
    served = await _at_once(case, [case.saying(text) for text in texts])
    seconds: dict[int, list[float]] = {}
    characters: dict[int, set[int]] = {}
    for index, spoken in served.items():
        size = len(texts[index])
        seconds.setdefault(size, []).append(spoken.seconds)
        count = len(spoken.receipts)
        case.require(count == 1, f"one of the calls at once had {count} receipts", _MIXED)
        characters.setdefault(size, set()).update(one.usage.characters for one in spoken.receipts)
    lengths = sorted((size, statistics.mean(one)) for size, one in seconds.items())
    shown = ", ".join(f"{size} characters {length:.1f} s" for size, length in lengths)
    longer = all(one[1] < other[1] for one, other in itertools.pairwise(lengths))
    case.require(longer, f"of the texts at once a longer one gave less audio: {shown}", _MIXED)
    for size, counts in characters.items():
        seen = f"equal texts of {size} characters at once were billed as {', '.join(map(str, sorted(counts)))}"
        case.require(len(counts) <= 1, seen, _MIXED)
    _check_ids(case, [one.provider_request_id for spoken in served.values() for one in spoken.receipts[:1]])


async def check_loop(case: Case) -> None:
    """Look how long a verb keeps the event loop to itself."""
    # Twice, because another process can take the processor away.
    hold = min([await _hold(case) for _ in range(_TRIES)])
    seen = f"the event loop stood still for {hold:.1f} s during the call"
    contract = f"A provider leaves the loop to others: work of more than {LONGEST_HOLD:g} s goes into a thread."
    case.require(hold <= LONGEST_HOLD, seen, contract)
    case.note(f"{case.verb} of {case.model.id} held up the loop for {hold * 1000:.0f} ms at most")


CHECKS = (
    Check("image-concurrency", "Pictures that are made at once do not mix.", each(check_pictures, *PICTURES), 10),
    Check("speech-concurrency", "Texts that are spoken at once do not mix.", each(check_speech, SPEECH), 8),
    Check("event-loop", "No call keeps the event loop to itself.", each(check_loop, *PICTURES, SPEECH), 4),
)


async def _at_once(case: Case, makes: Sequence[Make[Any]]) -> dict[int, Any]:
    """Make calls at once and return what those gave that no limit refused, by their place.

    Raises:
        CheckFailedError: One failed otherwise.
        CheckSkippedError: Less than two were served.
    """
    case.trial.calls += len(makes)
    endings = await asyncio.gather(*(ending_of(make(), within=case.trial.seconds) for make in makes))
    for ending in endings:
        if not ending.succeeded and not isinstance(ending.error, _REFUSED):
            failed = case.trial.failure(ending, case.verb, case.model.id)
            seen = f"{failed.seen}, as one of {len(makes)} calls at once"
            raise CheckFailedError(Finding(seen, failed.contract, failed.method, failed.model))
    served = {index: ending.value for index, ending in enumerate(endings) if ending.succeeded}
    if len(served) < 2:
        raise CheckSkippedError(f"the provider's rate limit let {len(served)} of {len(makes)} calls through")
    return served


def _count(case: Case) -> int:
    return min(CALLS, case.model.max_in_flight or CALLS)


def _picture(case: Case, index: int) -> Make[ImageResult]:
    seed = {"seed": FIRST_SEED + index} if case.output.takes_seed else {}
    colour = _COLOURS[index % len(_COLOURS)]
    prompt = f"A {colour} boat number {index + 1}" if case.verb == GENERATE else "Blur the picture a little"
    return case.picturing(prompt=prompt, hue=colour, **seed)


def _check_ids(case: Case, ids: Sequence[str]) -> None:
    told = [one for one in ids if one]
    twice = len(told) - len(set(told))
    seen = f"of {len(told)} calls at once, {twice} have the provider_request_id of another one"
    case.require(not twice, seen, "provider_request_id is the provider's own id of the call.")


async def _hold(case: Case) -> float:
    """Return the longest time for which nothing else got a turn of the loop during a call."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(_TICK)
            longest = max(longest, time.monotonic() - before - _TICK)

    ticking = asyncio.create_task(tick())
    try:
        await case.served(case.usual())
        # The gap in which the call ended counts as well.
        await asyncio.sleep(_TICK)
    finally:
        ticking.cancel()
    return longest
