"""How much of bodies the worker holds at a time, all callers together: none of them has been let in yet."""

from __future__ import annotations

from pixvox_worker.failures import Full

_RETRY_AFTER = 5


class Uploads:
    """Bytes of the bodies of all requests that are not answered yet. Belongs to the event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held = 0
        """Bytes."""

    def take(self, size: int) -> None:
        """Hold `size` bytes more.

        Raises:
            Full: they would be too many; none of them is held.
        """
        if self.held + size > self._max_bytes:
            message = "The worker is being sent as much as it may hold."
            raise Full(message, retry_after=_RETRY_AFTER)
        self.held += size

    def give_back(self, size: int) -> None:
        """Hold `size` bytes less."""
        self.held -= size
