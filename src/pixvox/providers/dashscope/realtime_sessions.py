"""Realtime sessions on their sockets: opened when they are needed, or kept warm so that a call does not wait for one."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from pixvox.errors import (
    OutcomeUnknownError,
    PixvoxError,
    ProviderDisconnectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from pixvox.providers.dashscope.realtime import Dialogue, FaultError
from pixvox.providers.dashscope.refusals import complaint_of, error_of, named_ids
from pixvox.upstream import ClosedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pixvox.upstream import Origin, Reply
    from pixvox.upstream.sockets import Socket

# For the vendor to say that the session is there, and once more to say that its settings hold.
OPENING_SECONDS = 10.0
# The vendor ends a session to which nothing is said. After how long it does not tell; a sibling service does it after 23 s.
IDLE_SECONDS = 15.0
# Sessions of a model are kept warm for so long after its last call.
WANTED_SECONDS = 300.0

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0

log = structlog.get_logger("pixvox.providers.dashscope")


class Session:
    """One session with its socket; has to be closed.

    Attributes:
        dialogue: What was said so far.
        private: Texts of the caller that no error may repeat.
        quiet_since: Time of the event loop at which something was last said to the vendor, or all was spoken.
        lapse: Why the session has ended before its time, though nothing is missing of what it had to speak.
    """

    def __init__(self, socket: Socket, region: str, model: str) -> None:
        self.dialogue = Dialogue()
        self.private: Sequence[str] = ()
        self.lapse: PixvoxError | None = None
        self.quiet_since = asyncio.get_running_loop().time()
        self._socket = socket
        self._region = region
        self._model = model
        self._stack = AsyncExitStack()

    def own(self, stack: AsyncExitStack) -> None:
        """Take over what is to be closed with the session."""
        self._stack = stack

    async def create(self) -> None:
        """Wait until the vendor has created the session.

        Raises:
            PixvoxError: It has not.
        """
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                while not self.dialogue.created:
                    await self.hear()
        except TimeoutError as error:
            raise self._silent() from error
        except ClosedError as error:
            raise self.broken(error) from error
        self._socket.identified(named_ids(self.dialogue.id))

    def joined(self) -> None:
        """Have the current span, a call's, link to that of the session, which was open before."""
        self._socket.joined()

    async def begin(self, manner: Mapping[str, object]) -> None:
        """Tell how to speak, and wait until that holds.

        Raises:
            PixvoxError: The vendor refuses, or has closed the session, which costs nothing yet.
        """
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                # Why it is closed may still have to be heard.
                with suppress(ClosedError):
                    await self._socket.send(self.dialogue.update(manner))
                while not self.dialogue.updated:
                    await self.hear()
        except TimeoutError as error:
            raise self._silent() from error
        except ClosedError as error:
            # Seen with a model that the vendor does not have: it creates the session, and hangs up.
            raise ProviderUnavailableError(
                f"The provider closed the session before anything was spoken, as it does where it does not have the model;"
                f" make sure that region {self._region} offers {self._model}.",
                metadata=self._metadata(error) | {"replay": "not_dispatched"},
            ) from error

    async def speak(self, segment: str) -> None:
        """Have a segment spoken.

        Raises:
            ClosedError: The session is closed; nothing of the segment was spoken.
        """
        for message in self.dialogue.speak(segment):
            await self._socket.send(message)
        self.dialogue.spoken_for(segment)
        self._said_something()

    async def finish(self) -> None:
        """Say that nothing more comes. That the session is closed shows when it is heard."""
        with suppress(ClosedError):
            await self._socket.send(self.dialogue.finish())

    async def hear(self) -> bytes:
        """Wait for the vendor's next message, and return the audio in it; see `Dialogue.heard`.

        Raises:
            PixvoxError: The vendor said ``error``, or something that makes no sense.
            ClosedError: The session is closed.
        """
        message = await self._socket.receive()
        try:
            audio = self.dialogue.heard(message)
        except FaultError as error:
            self._socket.identified(named_ids("", code=error.complaint.code))
            raise error_of(error.complaint, region=self._region, private=self.private) from error
        if not self.dialogue.busy:
            self._said_something()
        return audio

    def broken(self, error: PixvoxError) -> PixvoxError:
        """Return what it means that the session failed, or was closed, before ``session.finished``."""
        if not isinstance(error, ClosedError):
            return error
        metadata = self._metadata(error)
        if not self.dialogue.committed:
            message = "The provider closed the session before anything was spoken."
            return ProviderUnavailableError(message, metadata=metadata | {"replay": "not_dispatched"})
        message = "The provider closed the session before all was spoken; the audio is incomplete."
        replay = "committed" if self.dialogue.samples else "ambiguous"
        return ProviderDisconnectedError(message, metadata=metadata | {"replay": replay})

    async def aclose(self) -> None:
        """Close the socket, within a second."""
        await self._stack.aclose()

    def _said_something(self) -> None:
        self.quiet_since = asyncio.get_running_loop().time()

    def _silent(self) -> ProviderUnavailableError:
        message = f"The provider opened a session and said nothing for {OPENING_SECONDS:g} seconds."
        metadata = {"provider_request_id": self.dialogue.id, "replay": "not_dispatched"}
        return ProviderUnavailableError(message, metadata=metadata)

    def _metadata(self, error: ClosedError) -> dict[str, str]:
        return {
            "region": self._region,
            "provider_code": str(error.close_code),
            "provider_request_id": self.dialogue.id,
        }


class Sessions:
    """Opens sessions, and keeps some of each model that is in use warm: connected, authenticated and created.

    A warm session is replaced before the vendor would end it. It costs nothing but its connection.

    Args:
        origin: Of the vendor's WebSockets, with credentials.
        region: For errors.
        warm: How many sessions of a model to keep.

    Attributes:
        reused: How many calls got a session that was warm.
    """

    def __init__(self, origin: Origin, region: str, *, warm: int = 0) -> None:
        self.reused = 0
        self._origin = origin
        self._region = region
        self._warm = warm
        self._kept: dict[str, _Kept] = {}

    async def begun(self, model: str, manner: Mapping[str, object], private: Sequence[str] = ()) -> Session:
        """Return a session that is ready to speak; the caller has to close it.

        Args:
            model: Its id.
            manner: How to speak; members of the vendor's ``session``.
            private: Texts that no error may repeat.

        Raises:
            PixvoxError: There is none to be had.
        """
        if (warm := self._taken(model)) is not None:
            # It may have died in the meantime, which costs the call nothing but the attempt.
            with suppress(ProviderUnavailableError, ProviderTimeoutError):
                warm.joined()
                session = await _ready(warm, manner, private)
                self.reused += 1
                return session
        return await _ready(await self._opened(model), manner, private)

    async def aclose(self) -> None:
        """Close what is warm."""
        for kept in self._kept.values():
            await kept.aclose()

    def _taken(self, model: str) -> Session | None:
        if not self._warm:
            return None
        if model not in self._kept:
            self._kept[model] = _Kept(lambda: self._opened(model))
        return self._kept[model].take(self._warm)

    async def _opened(self, model: str) -> Session:
        async with AsyncExitStack() as stack:
            path = f"/realtime?model={quote(model, safe='')}"
            try:
                socket = await stack.enter_async_context(self._origin.socket(path, operation="speech session"))
            except RefusedError as error:
                raise self._refused(error.reply) from error
            session = Session(socket, self._region, model)
            await session.create()
            session.own(stack.pop_all())
            return session

    def _refused(self, reply: Reply) -> PixvoxError:
        error = error_of(complaint_of(reply), region=self._region, handshake=True)
        if not isinstance(error, (OutcomeUnknownError, ProviderTimeoutError)):
            return error
        # Of a proxy's page in place of an answer it is usually not known what was done. Here it is: nothing.
        message = f"The provider cannot be reached: something before it answered with status {reply.status}."
        return ProviderUnavailableError(message, metadata=error.metadata | {"replay": "not_dispatched"})


class _Kept:
    """The warm sessions of one model; each place is filled by a task of its own."""

    def __init__(self, opened: Callable[[], Awaitable[Session]]) -> None:
        self._opened = opened
        self._wanted_until = 0.0
        self._ready: deque[tuple[Session, asyncio.Event]] = deque()
        self._places: set[asyncio.Task[None]] = set()

    def take(self, places: int) -> Session | None:
        """Return a session if there is one, and have `places` of them kept for a while."""
        self._wanted_until = asyncio.get_running_loop().time() + WANTED_SECONDS
        while len(self._places) < places:
            # In a context of its own: its spans do not belong to the call that happens to be the first.
            task = asyncio.create_task(self._fill(), context=contextvars.Context())
            self._places.add(task)
            task.add_done_callback(self._places.discard)
        if not self._ready:
            return None
        session, taken = self._ready.popleft()
        taken.set()
        return session

    async def aclose(self) -> None:
        """Close all of them."""
        places = list(self._places)
        for place in places:
            place.cancel()
        await asyncio.gather(*places, return_exceptions=True)

    async def _fill(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while asyncio.get_running_loop().time() < self._wanted_until:
            try:
                session = await self._opened()
            except PixvoxError as error:
                log.info("no session to keep warm", error=type(error).__name__, pause_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            await self._offer(session)

    async def _offer(self, session: Session) -> None:
        """Keep a session until it is taken or has to be replaced."""
        offer = (session, asyncio.Event())
        self._ready.append(offer)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await offer[1].wait()
        finally:
            if offer in self._ready:
                self._ready.remove(offer)
                await session.aclose()


async def _ready(session: Session, manner: Mapping[str, object], private: Sequence[str]) -> Session:
    session.private = private
    try:
        await session.begin(manner)
    except BaseException:
        await session.aclose()
        raise
    return session
