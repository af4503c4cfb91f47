"""Rehearsal of failures: a caller asks the sandbox to fail in a certain way, to test its own handling.

A request asks with ``provider_options``, such as ``{"sandbox": {"fault": {"kind": "disconnect", "after_chunks": 3}}}``.
The kinds are

- ``delay``: nothing but the delay, the default;
- ``unavailable``: the provider refuses before any work and asks for a pause of ``retry_after`` seconds;
- ``rate_limited``: the same because a limit is used up;
- ``internal``: the provider fails;
- ``disconnect``: the provider breaks off after ``after_chunks`` pieces of audio;
- ``stall``: the provider says nothing for ``seconds`` after ``after_chunks`` pieces of audio, then goes on;
- ``crash``: the provider has a bug, an exception that nobody foresaw.

In any case it first waits for ``delay_seconds``. Without ``after_chunks``, ``disconnect`` and ``stall`` happen right
before the first piece of audio, ``internal`` and ``crash`` before any work. A picture has no pieces: everything happens
before it is made.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import msgspec
from google.protobuf import json_format

from pixvox.errors import (
    InvalidRequestError,
    ProviderDisconnectedError,
    ProviderInternalError,
    ProviderUnavailableError,
    RateLimitedError,
    Violation,
)
from pixvox.v1 import speech_service_pb2

if TYPE_CHECKING:
    from pixvox.v1 import image_service_pb2

    Request = (
        image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest | speech_service_pb2.SpeechConfig
    )

KIND = "sandbox"

_FaultKind = Literal["delay", "unavailable", "rate_limited", "internal", "disconnect", "stall", "crash"]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]
# A Struct has no integers.
_Count = Annotated[float, msgspec.Meta(ge=0, le=1_000_000, multiple_of=1)]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One failure to rehearse; see the module."""

    kind: _FaultKind = "delay"
    after_chunks: _Count | None = None
    seconds: _Seconds = 3600.0
    delay_seconds: _Seconds = 0.0
    retry_after: _Seconds = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot happen in the middle."""
        if self.after_chunks is not None and self.kind in {"delay", "unavailable", "rate_limited"}:
            message = f"{self.kind} happens before any work and has no after_chunks"
            raise ValueError(message)

    @property
    def chunks(self) -> float | None:
        """After how many pieces of audio it happens; None means before any work."""
        if self.kind in {"disconnect", "stall"}:
            return self.after_chunks or 0
        return self.after_chunks


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request may set in ``provider_options["sandbox"]``."""

    fault: Fault = Fault()


def options_of(request: Request, *, faults: bool = True) -> Options:
    """Return the sandbox's options of an image request or a speech config.

    Args:
        request: The caller's message.
        faults: Whether this sandbox rehearses failures at all.

    Raises:
        InvalidRequestError: They have a key, a kind or a value that does not exist, or a fault although there are none.
    """
    if KIND not in request.provider_options.fields:
        return Options()
    try:
        given = json_format.MessageToDict(request.provider_options.fields[KIND])
        options = msgspec.convert(given, Options)
    except (ValueError, msgspec.ValidationError) as error:
        # The value that is wrong is quoted; it is the caller's own, and stays so.
        what = re.sub("'.*'", "[…]", str(error), flags=re.DOTALL)
        raise _refused(request, f"{what}; allowed: {_allowed()}") from error
    if not faults and options.fault != Fault():
        raise _refused(request, "this sandbox is configured with faults = false")
    return options


async def rehearse(fault: Fault) -> None:
    """Do what a fault does to a call that gives one answer, before the work.

    Raises:
        ProviderError: The one that was asked for.
        RuntimeError: A crash was asked for.
    """
    await rehearse_start(fault)
    if fault.chunks is not None:
        await _happen(fault)


async def rehearse_start(fault: Fault) -> None:
    """Do what a fault does to a stream before any work; raises as `rehearse` does."""
    await asyncio.sleep(fault.delay_seconds)
    if fault.chunks is None:
        await _happen(fault)


async def rehearse_chunk(fault: Fault, chunks: int) -> None:
    """Do what a fault does to a stream after so many pieces of audio, before the next; raises as `rehearse` does."""
    if fault.chunks == chunks:
        await _happen(fault)


async def _happen(fault: Fault) -> None:
    message = f"The sandbox rehearsed the fault {fault.kind!r}, as the request asked."
    metadata = {"provider_code": f"rehearsed_{fault.kind}"}
    match fault.kind:
        case "delay":
            pass
        case "unavailable":
            raise ProviderUnavailableError(message, metadata=metadata, retry_after=fault.retry_after)
        case "rate_limited":
            raise RateLimitedError(message, metadata=metadata, retry_after=fault.retry_after)
        case "internal":
            raise ProviderInternalError(message, metadata=metadata)
        case "disconnect":
            raise ProviderDisconnectedError(message, metadata=metadata)
        case "stall":
            await asyncio.sleep(fault.seconds)
        case "crash":
            raise RuntimeError(message)


def _refused(request: Request, description: str) -> InvalidRequestError:
    prefix = "config." if isinstance(request, speech_service_pb2.SpeechConfig) else ""
    field = f"{prefix}provider_options.{KIND}.fault"
    return InvalidRequestError("The sandbox's provider_options are wrong.", Violation(field, description))


def _allowed() -> str:
    return f"fault with kind ({', '.join(get_args(_FaultKind))}), {', '.join(Fault.__struct_fields__[1:])}"
