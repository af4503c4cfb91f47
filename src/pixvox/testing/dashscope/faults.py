"""The faults that can be ordered from the emulator, and the order in which requests meet them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

Operation: TypeAlias = Literal[
    "generate",
    "edit",
    "speech_http",
    "speech_sse",
    "realtime",
    "task_create",
    "task_get",
    "task_cancel",
    "task_list",
    "voice_create",
    "voice_list",
    "voice_query",
    "voice_delete",
    "download",
]


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers ``{code, message, request_id}`` and does nothing else; a WebSocket is refused at the upgrade.

    Attributes:
        status: HTTP status; 200 with a code is a failure too.
        code: The vendor's code; empty for a body that is ``{}``, as workspace hosts give it.
        message: The vendor's words.
        retry_after: Value of a ``Retry-After`` header, in seconds; the vendor documents none.
    """

    status: int
    code: str
    message: str = "Ordered from the emulator."
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Answers these bytes and does nothing else, such as the HTML page of a proxy or broken JSON.

    Attributes:
        status: HTTP status.
        body: The bytes.
        content_type: Of the body.
    """

    status: int = 502
    body: bytes = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Retyped:
    """Gives the right answer under a wrong content type."""

    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Stalled:
    """Waits; the rest follows.

    Attributes:
        seconds: How long.
        after: None: before the work is begun, so that nothing was done for a client that leaves. Else after so many bytes
            of the body (speech_sse and realtime: audio chunks).
    """

    seconds: float
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Does the work and closes the connection without the answer, or within it.

    Attributes:
        after: None: before any byte of the answer. Else after so many bytes of the body (speech_sse and realtime: audio
            chunks).
    """

    after: int | None = None


@dataclass(frozen=True, slots=True)
class Dripped:
    """Sends the body in pieces.

    Attributes:
        size: Bytes per piece.
        seconds: Pause after each.
    """

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NoResult:
    """Answers success without any picture, or without any audio."""


@dataclass(frozen=True, slots=True)
class FewerImages:
    """Answers success with fewer pictures than were asked for."""

    by: int = 1


@dataclass(frozen=True, slots=True)
class PlacedAt:
    """Gives result URLs that begin with this, such as a private address, instead of the emulator's own."""

    base: str


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """Makes the task FAILED, which is told with HTTP 200."""

    code: str = "InternalError.Algo"
    message: str = "Ordered from the emulator."


@dataclass(frozen=True, slots=True)
class TaskUnknown:
    """Forgets the task, whose status is then UNKNOWN with HTTP 200."""


@dataclass(frozen=True, slots=True)
class PartlyFailed:
    """Makes the task SUCCEEDED with this many of its pictures failed."""

    count: int = 1
    code: str = "InternalError.Timeout"
    message: str = "Ordered from the emulator."


@dataclass(frozen=True, slots=True)
class Expired:
    """Refuses a result URL as out of date, HTTP 403 with XML."""


@dataclass(frozen=True, slots=True)
class Redirected:
    """Redirects a download."""

    location: str = "http://169.254.169.254/latest/meta-data/"
    status: int = 302


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Breaks a stream off with an error: the frame ``event:error`` of SSE, the event ``error`` of realtime.

    Attributes:
        code: The vendor's code.
        message: The vendor's words.
        after: After so many audio chunks of the session; None: at once when it begins.
        close_code: With which the WebSocket is closed afterwards; 1007 has been seen after parameter faults.
    """

    code: str
    message: str = "Ordered from the emulator."
    after: int | None = 0
    close_code: int = 1007


@dataclass(frozen=True, slots=True)
class Closed:
    """Closes the WebSocket without ``session.finished``.

    Attributes:
        code: WebSocket close code.
        after: After so many audio chunks of the session; None: at once when it begins.
    """

    code: int = 1011
    after: int | None = 0


@dataclass(frozen=True, slots=True)
class Split:
    """Gives several responses, each with its ``response.done``, for each text that would have had one."""

    responses: int = 2


@dataclass(frozen=True, slots=True)
class OddChunks:
    """Gives audio chunks that end within a sample."""


Effect: TypeAlias = (
    Refused
    | Raw
    | Retyped
    | Stalled
    | Cut
    | Dripped
    | NoResult
    | FewerImages
    | PlacedAt
    | TaskFailed
    | TaskUnknown
    | PartlyFailed
    | Expired
    | Redirected
    | ErrorEvent
    | Closed
    | Split
    | OddChunks
)

_ANY = (Refused, Raw, Stalled, Cut)
_BODY = (*_ANY, Retyped, Dripped)
_OWN: dict[str, tuple[type[Effect], ...]] = {
    "generate": (*_BODY, NoResult, FewerImages, PlacedAt),
    "edit": (*_BODY, NoResult, FewerImages, PlacedAt),
    "speech_http": (*_BODY, NoResult, PlacedAt),
    "speech_sse": (*_ANY, NoResult, PlacedAt, ErrorEvent, OddChunks),
    "realtime": (*_ANY, NoResult, ErrorEvent, Closed, Split, OddChunks),
    "task_get": (*_BODY, NoResult, FewerImages, PlacedAt, TaskFailed, TaskUnknown, PartlyFailed),
    "download": (*_BODY, Expired, Redirected),
}

_EffectType = TypeVar("_EffectType", bound=Effect)


@dataclass(frozen=True, slots=True)
class Fault:
    """What shall go wrong with the next requests of an operation.

    Attributes:
        operation: Of the requests.
        effect: What goes wrong, or several things at once.
        times: How many requests meet it; None: all from now on.
        after: How many requests are let through before the first that meets it.
    """

    operation: Operation
    effect: Effect | tuple[Effect, ...]
    times: int | None = 1
    after: int = 0

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What goes wrong."""
        return self.effect if isinstance(self.effect, tuple) else (self.effect,)


@dataclass(frozen=True, slots=True)
class Effects:
    """What goes wrong with one request."""

    all: tuple[Effect, ...] = ()

    def one(self, kind: type[_EffectType]) -> _EffectType | None:
        """Return the first effect of a kind, or None."""
        return next((effect for effect in self.all if isinstance(effect, kind)), None)


class Faults:
    """Faults in the order in which they were added, for each operation on its own.

    A request meets at most one fault: the first that is not used up.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Waiting]] = {}

    def add(self, fault: Fault) -> None:
        """Order a fault.

        Raises:
            ValueError: There is no such operation, or the effect cannot happen to it.
        """
        if fault.operation not in get_args(Operation):
            raise ValueError(f"There is no operation {fault.operation!r}; there are: {', '.join(get_args(Operation))}.")
        possible = _OWN.get(fault.operation, _BODY)
        for effect in fault.effects:
            if not isinstance(effect, possible):
                names = ", ".join(kind.__name__ for kind in possible)
                raise ValueError(f"{type(effect).__name__} cannot happen to {fault.operation}; possible: {names}.")
        self._waiting.setdefault(fault.operation, deque()).append(_Waiting(fault, fault.after, fault.times))

    def clear(self) -> None:
        """Forget all that is ordered."""
        self._waiting.clear()

    def pending(self) -> int:
        """Return how many faults have not met all their requests; those without an end are not counted."""
        return sum(waiting.left is not None for queue in self._waiting.values() for waiting in queue)

    def take(self, operation: str) -> Effects:
        """Return what goes wrong with a request that has just come."""
        queue = self._waiting.get(operation)
        if not queue:
            return Effects()
        first = queue[0]
        if first.skipped:
            first.skipped -= 1
            return Effects()
        if first.left is not None:
            first.left -= 1
            if first.left <= 0:
                queue.popleft()
        return Effects(first.fault.effects)


@dataclass(slots=True)
class _Waiting:
    fault: Fault
    skipped: int
    left: int | None
