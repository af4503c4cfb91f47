"""The faults that are ordered from an emulator, and which of them the next request meets."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_Operation = TypeVar("_Operation", bound=str)
_Effect = TypeVar("_Effect")


class Faults(Generic[_Operation, _Effect]):
    """What shall go wrong, in the order in which it was ordered, for each operation on its own."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Effect]] = {}
        self._always: dict[str, _Effect] = {}

    def add(self, operation: _Operation, effect: _Effect, *, times: int | None = 1) -> None:
        """Order a fault for so many requests, or for all from now on."""
        if times is None:
            self._always[operation] = effect
        else:
            self._waiting.setdefault(operation, deque()).extend([effect] * times)

    def clear(self) -> None:
        """Forget all that is ordered."""
        self._waiting.clear()
        self._always.clear()

    def take(self, operation: str) -> _Effect | None:
        """Return what goes wrong with the next request."""
        waiting = self._waiting.get(operation)
        return waiting.popleft() if waiting else self._always.get(operation)
