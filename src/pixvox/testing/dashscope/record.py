"""Keeps what the emulator was asked, and how each request ended, so that tests can count and measure."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pixvox.testing.journals import Changes, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event that a client sent over a WebSocket.

    Attributes:
        at: `time.monotonic` of its arrival.
        json: The decoded event, or the text where it is no JSON.
    """

    at: float
    json: object


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request, as far as it has got.

    Attributes:
        number: From 1, in the order of arrival.
        operation: Such as ``generate``; empty for a path that is not emulated.
        method: HTTP method.
        path: Without the query.
        query: Decoded.
        headers: Names in lower case. The key in ``authorization`` is replaced by ``***``.
        json: The decoded body, or None.
        body_bytes: Length of the body.
        asked_at: `time.monotonic` when the whole request was there.
        status: HTTP status that was answered, 101 for a WebSocket, or None as long as nothing was.
        effects: Names of the ordered faults that it met.
        usage: What the answer would cost, as the vendor counts it: set when the work was done, even where a cut kept the
            answer from the client. Realtime sessions add up their responses.
        events: What came over the WebSocket.
        chunks_at: `time.monotonic` just before each audio chunk was sent (speech_sse and realtime).
        finished_at: When the answer was handed to the socket completely, for a realtime session ``session.finished``.
        client_closed_at: When the client was seen to leave before that.
        broken_off: Whether the emulator ended it early, by a cut, an error event or a close.
    """

    number: int
    operation: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    json: object
    body_bytes: int
    asked_at: float
    status: int | None
    effects: tuple[str, ...]
    usage: Mapping[str, object] | None
    events: tuple[ReceivedEvent, ...]
    chunks_at: tuple[float, ...]
    finished_at: float | None
    client_closed_at: float | None
    broken_off: bool

    @property
    def finished(self) -> bool:
        """Whether the whole answer was sent."""
        return self.finished_at is not None

    @property
    def cancelled(self) -> bool:
        """Whether the client left before the whole answer was sent."""
        return self.client_closed_at is not None and not self.finished


@dataclass(slots=True)
class Exchange:
    """One request while it is being answered; the attributes are those of `RequestRecord`."""

    number: int
    operation: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    json: object
    body_bytes: int
    changed: Callable[[], None]
    asked_at: float = field(default_factory=time.monotonic)
    status: int | None = None
    effects: tuple[str, ...] = ()
    usage: Mapping[str, object] | None = None
    events: list[ReceivedEvent] = field(default_factory=list)
    chunks_at: list[float] = field(default_factory=list)
    finished_at: float | None = None
    client_closed_at: float | None = None
    broken_off: bool = False

    def heard(self, json: object) -> None:
        """Note an event of the client."""
        self.events.append(ReceivedEvent(time.monotonic(), json))
        self.changed()

    def sending_chunk(self) -> None:
        """Note that an audio chunk is about to be sent."""
        self.chunks_at.append(time.monotonic())
        self.changed()

    def finished(self) -> None:
        """Note that the whole answer was sent."""
        self.finished_at = time.monotonic()
        self.changed()

    def break_off(self) -> None:
        """Note that the emulator ends this early; that the client goes too is then no news."""
        self.broken_off = True
        self.changed()

    def client_left(self) -> None:
        """Note that the client went away, unless everything had been sent to it."""
        if self.finished_at is None and self.client_closed_at is None and not self.broken_off:
            self.client_closed_at = time.monotonic()
            self.changed()

    def record(self) -> RequestRecord:
        """Return the state of now."""
        return RequestRecord(
            number=self.number,
            operation=self.operation,
            method=self.method,
            path=self.path,
            query=self.query,
            headers=self.headers,
            json=self.json,
            body_bytes=self.body_bytes,
            asked_at=self.asked_at,
            status=self.status,
            effects=self.effects,
            usage=self.usage,
            events=tuple(self.events),
            chunks_at=tuple(self.chunks_at),
            finished_at=self.finished_at,
            client_closed_at=self.client_closed_at,
            broken_off=self.broken_off,
        )


class Journal(Changes):
    """All requests, the oldest dropped beyond a number of them."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self._exchanges: deque[Exchange] = deque(maxlen=kept)
        self._counts: Counter[str] = Counter()

    def begin(
        self,
        *,
        operation: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        json: object,
        body_bytes: int,
    ) -> Exchange:
        """Note a request; its headers are kept without secrets."""
        self._counts[operation] += 1
        exchange = Exchange(
            number=self._counts.total(),
            operation=operation,
            method=method,
            path=path,
            query=dict(query),
            headers=without_secrets(headers),
            json=json,
            body_bytes=body_bytes,
            changed=self.changed,
        )
        self._exchanges.append(exchange)
        self.changed()
        return exchange

    def records(self) -> tuple[RequestRecord, ...]:
        """Return the requests in the order of arrival."""
        return tuple(exchange.record() for exchange in self._exchanges)

    def count(self, operation: str | None) -> int:
        """Return how often an operation, or anything, was asked for; dropped requests count too."""
        return self._counts.total() if operation is None else self._counts[operation]
