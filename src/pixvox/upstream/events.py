"""Server-sent events, taken apart as they come in (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixvox.errors import ProviderDisconnectedError, ProviderInternalError
from pixvox.upstream.replay import LostError, Replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pixvox.upstream.exchange import Exchange
    from pixvox.upstream.replay import Ids

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Attributes:
        id: The last id that the stream gave, with this event or an earlier one.
        event: Its type, ``message`` unless the stream says otherwise.
        data: Its lines joined by line feeds; UTF-8 that is not checked.
        comments: Its lines with a colon in front, without the colon. Some vendors put the status there.
    """

    id: str
    event: str
    data: bytes = field(repr=False)
    comments: tuple[str, ...] = ()


class OversizeError(ValueError):
    """An event is larger than was agreed."""


class EventParser:
    """Takes the bytes of a stream, however they are cut, and gives each event as soon as its last byte is there.

    Args:
        max_event_bytes: The most that one event may have, comments and field names included.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._begun = False
        self._after_return = False
        self._partial: list[bytes] = []
        self._size = 0
        self._id = ""
        self._event = ""
        self._data: list[bytes] = []
        self._comments: list[str] = []

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that are complete with this piece. An event that never is complete is not given.

        Raises:
            OversizeError: The event that has begun has more than `max_event_bytes`.
        """
        # A carriage return ends a line at once; the line feed of the same line end may only come with the next piece.
        if self._after_return and piece[:1] == b"\n":
            piece = piece[1:]
            self._after_return = False
        events = []
        for line in piece.splitlines(keepends=True):
            self._size += len(line)
            if self._size > self._max_event_bytes:
                raise OversizeError
            ended = line.rstrip(b"\r\n")
            self._partial.append(ended)
            if len(ended) == len(line):
                break
            event = self._line_ended()
            if event is not None:
                events.append(event)
        if piece:
            self._after_return = piece.endswith(b"\r")
        return events

    def _line_ended(self) -> Event | None:
        line = b"".join(self._partial)
        self._partial.clear()
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatched()
        self._field_ended(line)
        return None

    def _field_ended(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"":
                self._comments.append(value.decode(errors="replace"))
            case b"data":
                self._data.append(value)
            case b"event":
                self._event = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            # A `retry` is for those who would open the stream anew, which would be billed anew; others are to be ignored.

    def _dispatched(self) -> Event | None:
        event = None
        if self._data:
            event = Event(self._id, self._event or "message", b"\n".join(self._data), tuple(self._comments))
        self._data.clear()
        self._comments.clear()
        self._event = ""
        self._size = 0
        return event


class EventStream:
    """The events of a reply, each given as soon as it is complete; iterated once.

    The end of the iteration is the end of the body, which is not always the end of what the vendor had to say: that its last
    event was there is for the provider to see.

    Attributes:
        headers: Of the reply, by their names in any case.
        received: How many events there were so far.

    Raises:
        ProviderDisconnectedError: While iterating: the body broke off, or nothing came for too long.
        ProviderInternalError: While iterating: an event is too large.
    """

    def __init__(self, exchange: Exchange, max_event_bytes: int) -> None:
        self.headers: Mapping[str, str] = exchange.headers
        self.received = 0
        self._exchange = exchange
        self._parser = EventParser(max_event_bytes)
        self._ready: deque[Event] = deque()

    def identified(self, ids: Ids) -> None:
        """Put on the span of the request what the vendor calls it, as soon as an event tells."""
        self._exchange.identified(ids)

    def noted(self, name: str, attributes: Mapping[str, str | int | float]) -> None:
        """Put on the span of the request something that happened just now."""
        self._exchange.noted(name, attributes)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            piece = await self._piece()
            if not piece:
                raise StopAsyncIteration
            try:
                self._ready.extend(self._parser.feed(piece))
            except OversizeError as error:
                message = "The provider sent an event that is larger than any it should send."
                raise ProviderInternalError(message, metadata={"replay": Replay.COMMITTED.value}) from error
        self.received += 1
        return self._ready.popleft()

    async def _piece(self) -> bytes:
        try:
            return await self._exchange.piece()
        except LostError as error:
            message = f"The provider {error.what} in the middle of its answer."
            raise ProviderDisconnectedError(message, metadata={"replay": Replay.COMMITTED.value}) from error
