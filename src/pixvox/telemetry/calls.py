"""The record of the running RPC."""

from __future__ import annotations

import contextlib
import contextvars
import math
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@dataclass(slots=True)
class Call:
    """The running RPC, for its log line and its errors.

    Attributes:
        method: Such as `pixvox.v1.ImageService/GenerateImage`.
        request_id: The caller's own, or one made here.
        provider: That serves it, once that is known.
        model: That serves it, once that is known.
        caller: Its name, or its network address.
        deadline: By `time.monotonic`, infinite if there is none.
        before_dispatch: Is awaited before anything is sent that may be billed.
        may_repeat: Whether a target that refuses is asked again; not while there is another target to go to.
    """

    method: str
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    provider: str = ""
    model: str = ""
    caller: str = ""
    deadline: float = math.inf
    before_dispatch: Callable[[], Awaitable[None]] | None = None
    may_repeat: bool = True


_call: contextvars.ContextVar[Call] = contextvars.ContextVar("pixvox_call")


def current_call() -> Call:
    """Return the running RPC; only within one."""
    return _call.get()


def running_call() -> Call | None:
    """Return the running RPC; None outside of one."""
    return _call.get(None)


def may_repeat() -> bool:
    """Tell whether a target that refuses the running RPC is asked again; outside of an RPC, always."""
    call = _call.get(None)
    return call is None or call.may_repeat


@contextlib.contextmanager
def calling(call: Call) -> Iterator[Call]:
    """Make `call` the running RPC for the block."""
    token = _call.set(call)
    try:
        yield call
    finally:
        _call.reset(token)
