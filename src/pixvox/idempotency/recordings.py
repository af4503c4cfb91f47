"""What went through one stream of speech, in both directions, while it went through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from pixvox.idempotency.fingerprints import TextFingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from pixvox.v1.speech_service_pb2 import StreamSpeechRequest, StreamSpeechResponse

    Context = grpc.aio.ServicerContext[Any, Any]

# Of all recordings that are under way in one process; an answer beyond it is not kept.
MEMORY_BYTES = 256 * 1024 * 1024

_LENGTH_BYTES = 4


class Tapes:
    """The memory for recordings.

    Args:
        most: Bytes of one recording.
        memory: Bytes of all.
    """

    def __init__(self, most: int, memory: int = MEMORY_BYTES) -> None:
        self._most = most
        self._free = memory

    def take(self, size: int, more: int) -> bool:
        """Tell whether a recording of `size` bytes may become longer by `more`, which it has then."""
        if size + more > min(self._most, size + self._free):
            return False
        self._free -= more
        return True

    def give_back(self, size: int) -> None:
        """Take the memory of a recording back."""
        self._free += size


class Recording:
    """Writes to a call, and keeps a copy of what it wrote; a context manager, because the copy takes memory.

    Args:
        context: Of the call.
        tapes: For the copy.
    """

    def __init__(self, context: Context, tapes: Tapes) -> None:
        self._context = context
        self._tapes = tapes
        self._copy = bytearray()
        self._complete = True

    def __enter__(self) -> Recording:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the copy."""
        self._drop()

    def __getattr__(self, name: str) -> object:
        """Be the call's context in everything else."""
        found: object = getattr(self._context, name)
        return found

    @property
    def context(self) -> Context:
        """Itself, as what it stands in for."""
        return cast("Context", self)

    @property
    def packed(self) -> bytearray | None:
        """All that was written, as `unpacked` takes it; None if there was no memory for it."""
        return self._copy if self._complete else None

    async def write(self, message: StreamSpeechResponse) -> None:
        """Write; the caller has the message before it is copied."""
        await self._context.write(message)
        if self._complete:
            self._add(message.SerializeToString())

    def _add(self, data: bytes) -> None:
        if self._tapes.take(len(self._copy), _LENGTH_BYTES + len(data)):
            self._copy += len(data).to_bytes(_LENGTH_BYTES)
            self._copy += data
        else:
            self._drop()

    def _drop(self) -> None:
        self._complete = False
        self._tapes.give_back(len(self._copy))
        self._copy = bytearray()


class Listener(AsyncIterator["StreamSpeechRequest"]):
    """Hands on what a caller says after the config.

    Args:
        requests: The caller's messages.
    """

    def __init__(self, requests: AsyncIterator[StreamSpeechRequest]) -> None:
        self._requests = aiter(requests)
        self._text = TextFingerprint()
        self._finished = False

    async def __anext__(self) -> StreamSpeechRequest:
        """Return the next message."""
        try:
            message = await anext(self._requests)
        except StopAsyncIteration:
            self._finished = True
            raise
        self._text.add(message)
        return message

    @property
    def fingerprint(self) -> str | None:
        """Of all text and flushes; None before the caller has half-closed."""
        return self._text.hexdigest() if self._finished else None


def unpacked(packed: bytes) -> Iterator[bytes]:
    """Return the serialised messages of `Recording.packed`."""
    view = memoryview(packed)
    place = 0
    while place < len(view):
        begin = place + _LENGTH_BYTES
        place = begin + int.from_bytes(view[place:begin])
        yield bytes(view[begin:place])
