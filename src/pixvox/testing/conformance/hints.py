"""What a provider can tell the conformance kit of itself, so that more of it can be checked.

The kit calls a function `conformance` without arguments, which stands in the kind's module, or in its submodule of the same
name, and which returns `Hints`, or an async context manager that gives them, such as one that runs an emulator. Nothing has
to have one: without it, the kit checks what every provider has.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import ModuleType

NAME = "conformance"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A way to have a call of a verb fail, or take long.

    Attributes:
        verb: ``generate_image``, ``edit_image``, ``stream_speech``, ``clone_voice`` or ``design_voice``.
        reason: That the error has to have, as it stands in `ErrorInfo`, such as ``RATE_LIMITED``. Empty where the call does
            not fail.
        options: What the request's ``provider_options`` hold under the provider's kind.
        order: Is called right before the call, to order what shall happen from an emulator; None if the options do.
    """

    verb: str
    reason: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    order: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What a provider tells of itself.

    Attributes:
        table: Of settings, with which nothing is billed, because it leads to an emulator. It is used where the kit is given
            none; where the kit is given one, hints that have a table are ignored as a whole. None if there is no such table.
        free: Whether calls cost nothing whatever the table.
        failures: Ways to have verbs fail.
        slow: Ways to have verbs take at least ten seconds when nobody breaks them off.
        recording: A WAV of a person who speaks, to clone a voice from. Empty lets the kit take speech of the provider's own.
        heard: Returns the recording that the last synthesis brought along, from an emulator that remembers it; for a
            provider that speaks from references. None if nobody can tell.
        seconds: The longest that one call takes.
    """

    table: Mapping[str, Any] | None = None
    free: bool = False
    failures: tuple[Rehearsal, ...] = ()
    slow: tuple[Rehearsal, ...] = ()
    recording: bytes = b""
    heard: Callable[[], bytes] | None = None
    seconds: float = 60.0


HintSource = Callable[[], Hints | AbstractAsyncContextManager[Hints]]


def source_in(module: ModuleType) -> HintSource:
    """Return the function `conformance` of a kind, or one that gives hints which say nothing.

    Args:
        module: Of the kind.

    Raises:
        TypeError: What has that name is no function.
    """
    found = getattr(module, NAME, None)
    if found is None and _has_submodule(module):
        found = importlib.import_module(f"{module.__name__}.{NAME}")
    if inspect.ismodule(found):
        found = getattr(found, NAME, None)
    if found is None:
        return Hints
    if not callable(found):
        message = f"{NAME} of {module.__name__} is {type(found).__name__}; it has to be a function that returns Hints"
        raise TypeError(message)
    source: HintSource = found
    return source


@contextlib.asynccontextmanager
async def opened(source: HintSource, *, given: bool) -> AsyncIterator[Hints]:
    """Give the hints for the block.

    Args:
        source: Of a kind.
        given: Whether there is a table beside that of the hints.

    Raises:
        TypeError: The source gives something else.
    """
    async with contextlib.AsyncExitStack() as stack:
        made = source()
        hints = made if isinstance(made, Hints) else await _entered(made, stack)
        yield Hints() if given and hints.table is not None else hints


async def _entered(made: object, stack: contextlib.AsyncExitStack) -> Hints:
    hints = await stack.enter_async_context(made) if isinstance(made, AbstractAsyncContextManager) else made
    if not isinstance(hints, Hints):
        message = f"{NAME}() gives {type(hints).__name__} instead of Hints"
        raise TypeError(message)
    return hints


def _has_submodule(module: ModuleType) -> bool:
    return hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{NAME}") is not None
