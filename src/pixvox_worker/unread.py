"""Sound that was made and not yet taken, and the bound on all of it together: a slow reader holds up nobody."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from pixvox_worker.failures import SlowReader

if TYPE_CHECKING:
    from pixvox_worker.failures import Failure


class Unread:
    """The sound of one request on its way to one reader. Belongs to the event loop."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._failure: Failure | None = None
        self.size = 0
        """Bytes."""
        self.closed = False
        """Whether nothing more is put in."""

    @property
    def failure(self) -> Failure | None:
        """Why the reader gets no more."""
        return self._failure

    def put(self, pcm: bytes) -> None:
        """The next piece; ignored once it is closed."""
        if self.closed:
            return
        self._pieces.append(pcm)
        self.size += len(pcm)
        self._changed.set()

    def close(self, failure: Failure | None = None) -> None:
        """That was all. With a failure the reader gets that and none of what it has not taken."""
        if failure is not None and self._failure is None:
            self._failure = failure
            self.clear()
        self.closed = True
        self._changed.set()

    def clear(self) -> None:
        """Nobody reads what is left."""
        self._pieces.clear()
        self.size = 0

    async def take(self) -> bytes | None:
        """The next piece, or None after the last.

        Raises:
            Failure: why there is no more.
        """
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self.closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._pop()

    def rest(self) -> bytes:
        """All that is there."""
        return b"".join(self._pop() for _ in range(len(self._pieces)))

    def _pop(self) -> bytes:
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece


class Backlog:
    """Everything that is unread. Where it grows too large, whoever has left the most loses it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._streams: list[Unread] = []

    def add(self, stream: Unread) -> None:
        """Count this one, too."""
        self._streams = [known for known in self._streams if known.size or not known.closed]
        self._streams.append(stream)

    def trim(self) -> None:
        """Take sound away from the slowest readers until what is left is allowed."""
        while sum(stream.size for stream in self._streams) > self._max_bytes:
            slowest = max(self._streams, key=lambda stream: stream.size)
            slowest.close(SlowReader("The speech was not read as fast as it must be."))
