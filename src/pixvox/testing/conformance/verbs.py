"""Check of the provider's methods: those of its models' verbs are there in the right shape, and no others."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from pixvox.provider import ReferenceSpeaker, VoiceCloner, VoiceDeleter, VoiceDesigner, VoiceFinder, Warmable, Warmth
from pixvox.registry import VERBS, has_capability
from pixvox.testing.conformance.ending import ending_of, told
from pixvox.testing.conformance.findings import Check, CheckFailedError, CheckSkippedError, Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from pixvox.testing.conformance.trial import Trial

# How many arguments the service gives each, by position.
_ARGUMENTS = {
    "generate_image": 2,
    "edit_image": 4,
    "stream_speech": 3,
    "stream_speech_as": 4,
    "clone_voice": 3,
    "design_voice": 2,
    "delete_voice": 1,
    "find_voices": 1,
    "aclose": 0,
    "warm_up": 0,
}
# What is called of a provider that makes voices alone.
_OF_MADE_VOICES = {
    "delete_voice": VoiceDeleter,
    "find_voices": VoiceFinder,
    "stream_speech_as": ReferenceSpeaker,
}


async def check_verbs(trial: Trial) -> None:
    """Look at the methods without calling them."""
    provider = trial.entry.provider
    contract = "A verb that a provider lacks is not there; one that it has is in the capability table."
    for verb, (_, protocol) in VERBS.items():
        offered = any(has_capability(model, verb) for model in trial.entry.models)
        if not offered and isinstance(provider, protocol):
            trial.find(Finding(f"the provider has the method {verb}, and no model lists the verb", contract, verb))
    if not isinstance(provider, VoiceCloner | VoiceDesigner):
        for method, kind in _OF_MADE_VOICES.items():
            if isinstance(provider, kind):
                seen = f"the provider has {method} and makes no voices"
                trial.find(Finding(seen, "What is never called is not there.", method))
    for method, count in _ARGUMENTS.items():
        if (found := getattr(provider, method, None)) is not None:
            _check_shape(trial, method, found, count)


async def check_warmth(trial: Trial) -> None:
    """Warm a provider up that can be, twice at once."""
    provider = trial.entry.provider
    if not isinstance(provider, Warmable):
        raise CheckSkippedError("the provider has no warm_up")
    contract = "warm_up returns when the provider is warm; several at once start it once."
    if not isinstance(provider.warmth(), Warmth):
        trial.find(Finding(f"warmth() is {provider.warmth()!r}", "warmth() is a Warmth.", "warmth"))
    for ending in await asyncio.gather(*(ending_of(provider.warm_up(), within=trial.seconds) for _ in range(2))):
        if not ending.succeeded:
            seen = f"raised {told(ending.error)}" if ending.error else f"did not end within {trial.seconds:g} s"
            raise CheckFailedError(Finding(seen, contract, "warm_up"))
    if provider.warmth() is not Warmth.WARM:
        trial.find(Finding(f"warmth() is {provider.warmth()} after warm_up", contract, "warm_up"))


CHECKS = (
    Check(
        "verbs",
        "The methods of the verbs that the table lists are there in the right shape, and no others.",
        check_verbs,
        calls=0,
    ),
    Check("warmth", "A provider that has to be warmed up is warm afterwards.", check_warmth, calls=2),
)


def _check_shape(trial: Trial, method: str, found: Callable[..., Any], count: int) -> None:
    try:
        inspect.signature(found).bind(*range(count))
    except TypeError as error:
        seen = f"{method}{inspect.signature(found)} cannot be called with {count} arguments: {error}"
        trial.find(Finding(seen, "The service gives the arguments of the protocol, by position.", method))
    wrong = inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found)
    if method in {"stream_speech", "stream_speech_as"} and wrong:
        seen = f"{method} is an async function, not one that returns an async context manager"
        contract = f"{method} is called without await; put @asynccontextmanager on an async generator."
        trial.find(Finding(seen, contract, method))
