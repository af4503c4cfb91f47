"""One call on the realtime lane: text goes into sessions while their audio comes out.

Most calls have one session. It is finished, and followed by another that the caller does not notice, where the caller is
silent for so long that the vendor would end it, and where a flush can be answered in no other way; see `realtime`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from pixvox.errors import PixvoxError
from pixvox.providers.dashscope.realtime_sessions import IDLE_SECONDS
from pixvox.providers.dashscope.speech_text import Script
from pixvox.upstream import ClosedError
from pixvox.v1 import speech_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from pixvox.provider import SpeechInput
    from pixvox.providers.dashscope.realtime_sessions import Session

# When the vendor has spoken all there was, and no more text comes for so long, the words that there are do not wait for the
# end of their sentence.
PAUSE_SECONDS = 1.0
# For the vendor to say that a session is finished that has spoken everything; then the call goes on without it.
FAREWELL_SECONDS = 5.0

# That wait for their answers; further ones stay with the caller.
_MOST_FLUSHES = 64


class RealtimeSpeech:
    """One call.

    `open` comes first; then `read` takes the text in, `write` says to the vendor all that is to be said, and `events` hears
    all that it says, the three beside each other. Nothing is buffered: what the reader of `events` does not take stays with
    the vendor.

    Args:
        opened: Gives a session that is ready to speak.
        private: Texts that errors must not repeat; what is spoken is added to the last of them.

    Attributes:
        ids: The vendor's ids of the sessions.
    """

    def __init__(self, opened: Callable[[], Awaitable[Session]], private: list[str]) -> None:
        self.ids: list[str] = []
        self._opened = opened
        self._private = private
        self._script = Script()
        self._session: Session | None = None
        # Of the sessions before that.
        self._characters = 0
        self._samples = 0
        self._answers: deque[speech_service_pb2.Flushed] = deque()
        self._flushes = asyncio.Semaphore(_MOST_FLUSHES)
        self._to_write = asyncio.Event()
        self._to_read = asyncio.Event()
        self._over = False

    @property
    def characters(self) -> int:
        """Characters that the vendor bills so far."""
        return self._characters + (self._session.dialogue.billed if self._session else 0)

    @property
    def samples(self) -> int:
        """Samples of audio so far."""
        return self._samples + (self._session.dialogue.samples if self._session else 0)

    async def open(self) -> None:
        """Open the first session.

        Raises:
            PixvoxError: There is none to be had.
        """
        session = await self._opened()
        self.ids.append(session.dialogue.id)
        self._session = session

    async def read(self, text: AsyncIterator[SpeechInput]) -> None:
        """Take the text in, to its end."""
        async for item in text:
            if isinstance(item, str):
                self._script.write(item)
                self._private[-1] += item
            else:
                await self._flushes.acquire()
                self._script.mark(item)
            self._to_write.set()
        self._script.end()
        self._to_write.set()

    async def write(self) -> None:
        """Have everything spoken, flushes answered, and sessions finished.

        Raises:
            PixvoxError: There is no session to be had, or one was closed with something unspoken.
        """
        while not self._over:
            self._to_write.clear()
            if await self._step():
                self._to_read.set()
            elif not await self._news():
                await self._lose_patience()

    async def events(self) -> AsyncGenerator[bytes | speech_service_pb2.Flushed, None]:
        """Give the audio as it comes and each flush behind its own, and end when all was spoken.

        Raises:
            PixvoxError: The vendor failed, or broke off.
        """
        while True:
            while self._answers:
                yield self._answers.popleft()
            if self._over:
                return
            session = self._session
            silent = session is None or session.lapse is not None or not session.dialogue.expecting
            audio = await (self._listened() if session is None or silent else self._heard(session))
            if audio:
                yield audio

    async def aclose(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.aclose()

    async def _step(self) -> bool:
        """Do the one thing that is next, and tell whether there was one."""
        session = self._session
        script = self._script
        if session is not None and session.lapse is None and session.dialogue.expecting:
            # Of the last segment it need not be known when it was spoken.
            if not script.over or session.dialogue.finishing:
                return False
            await session.finish()
            return True
        if script.flush is not None and (session is None or session.dialogue.exact):
            self._answer(script.flush)
        elif session is not None and (session.lapse is not None or session.dialogue.finished):
            await self._leave(session)
        elif segment := script.take():
            await self._speak(segment)
        elif script.over and (session is None or not session.dialogue.committed):
            self._over = True
        elif session is not None and (script.over or script.flush is not None):
            await session.finish()
        else:
            return False
        return True

    def _answer(self, flush: speech_service_pb2.Flush) -> None:
        self._script.answer()
        self._flushes.release()
        self._answers.append(speech_service_pb2.Flushed(id=flush.id))

    async def _leave(self, session: Session) -> None:
        """Go on without a session that is over; the last one is closed with the call, whose end does not wait for it."""
        if self._script.over:
            self._over = True
            return
        self._session = None
        self._characters += session.dialogue.billed
        self._samples += session.dialogue.samples
        await session.aclose()

    async def _speak(self, segment: str) -> None:
        kept = self._session is not None
        if not kept:
            await self.open()
        session = self._session
        if session is None:
            raise AssertionError
        try:
            await session.speak(segment)
        except ClosedError as error:
            if not kept or not session.dialogue.exact:
                raise session.broken(session.lapse or error) from error
            # It was closed while there was nothing to speak.
            self._script.give_back(segment)
            session.lapse = error
        else:
            if session.lapse is not None:
                # Whether the segment was before that or behind it is not known.
                raise session.broken(session.lapse)

    def _ended(self, session: Session, error: PixvoxError) -> None:
        """Raise what ended a session, unless it had spoken everything and is no longer needed."""
        needed = session is self._session and (self._script.over or not session.dialogue.exact)
        if needed:
            raise session.broken(error) from error
        session.lapse = error
        self._to_write.set()

    async def _news(self) -> bool:
        """Wait for something to happen, and tell whether it did before the patience was at its end."""
        try:
            async with asyncio.timeout(self._patience()):
                await self._to_write.wait()
        except TimeoutError:
            return self._to_write.is_set()
        return True

    def _patience(self) -> float | None:
        """Return seconds."""
        session = self._session
        if session is not None and session.dialogue.expecting:
            return FAREWELL_SECONDS if session.dialogue.exact and not self._script.over else None
        if self._script.unfinished:
            return PAUSE_SECONDS
        if session is None:
            return None
        return max(0.0, session.quiet_since + IDLE_SECONDS - asyncio.get_running_loop().time())

    async def _lose_patience(self) -> None:
        session = self._session
        if session is not None and session.dialogue.expecting:
            await self._leave(session)
        elif self._script.unfinished:
            if segment := self._script.pause():
                await self._speak(segment)
        elif session is not None and session.dialogue.committed:
            await session.finish()
        elif session is not None:
            await self._leave(session)
        self._to_read.set()

    async def _heard(self, session: Session) -> bytes:
        """Return the audio in the vendor's next message, maybe none."""
        try:
            audio = await session.hear()
        except PixvoxError as error:
            self._ended(session, error)
            return b""
        if not session.dialogue.expecting:
            self._to_write.set()
        return audio

    async def _listened(self) -> bytes:
        """Wait until there is something to do for the reader; the vendor may say something unexpected meanwhile."""
        self._to_read.clear()
        session = self._session
        if session is None or session.lapse is not None or session.dialogue.finished:
            await self._to_read.wait()
            return b""
        hearing = asyncio.create_task(self._heard(session))
        woken = asyncio.create_task(self._to_read.wait())
        try:
            await asyncio.wait((hearing, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A message is not lost by that: it stays with the socket until it is returned.
            hearing.cancel()
            woken.cancel()
            await asyncio.gather(hearing, woken, return_exceptions=True)
        return b"" if hearing.cancelled() else hearing.result()
