"""A synthesis that may go to another target until the first event of it has come."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pixvox import limits
from pixvox.errors import PixvoxError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from pixvox.provider import SpeechEvent, SpeechInput, SpeechStream
    from pixvox.routing.fallback import Try
    from pixvox.routing.health import Admission
    from pixvox.routing.plans import Plan
    from pixvox.routing.targets import Target
    from pixvox.v1 import speech_service_pb2


@dataclass(frozen=True, slots=True)
class Opened:
    """A target has taken the call.

    Attributes:
        target: That speaks.
        stream: Of its provider.
    """

    target: Target
    stream: SpeechStream


class RoutedSpeech:
    """The events of a synthesis: `Opened`, then those of `pixvox.provider.SpeechStream.events`.

    If a target refuses the call before its first event, another one takes over and another `Opened` comes. It is an iterator
    and no generator, because it enters and leaves the providers' blocks between its events.
    """

    def __init__(self, plan: Plan, config: speech_service_pb2.SpeechConfig, text: AsyncIterator[SpeechInput]) -> None:
        self._plan = plan
        self._config = config
        self._tries = plan.tries()
        self._text = _Text(text)
        self._stack = contextlib.AsyncExitStack()
        self._tried: Try | None = None
        self._target: Target | None = None
        self._started = 0.0
        self._events: AsyncIterator[SpeechEvent] | None = None
        self._admission: Admission | None = None
        self._committed = False

    def __aiter__(self) -> RoutedSpeech:
        """Return itself."""
        return self

    async def __anext__(self) -> Opened | SpeechEvent:
        """Return the next event.

        Raises:
            PixvoxError: No target could speak, or one broke off.
        """
        while True:
            try:
                if self._events is None:
                    return await self._opened()
                event = await anext(self._events)
            except PixvoxError as error:
                await self._turned_away(error)
            else:
                self._commit()
                return event

    async def leave(self, error: BaseException | None) -> None:
        """Leave the target's block as if `error` had been raised in it, and stop reading text."""
        try:
            await self._left(error)
        finally:
            await self._text.aclose()

    async def _opened(self) -> Opened:
        self._tried = tried = self._tries.next()
        self._target = target = self._plan.target(tried.candidate, self._tries.attempts)
        self._started = time.monotonic()
        self._admission = await self._stack.enter_async_context(self._plan.admitted(tried, target))
        # The last candidate needs nothing that could be told again.
        text = self._text.source(target, again=tried.more)
        await self._stack.enter_async_context(contextlib.aclosing(text))
        stream, self._events = await self._stack.enter_async_context(
            target.stream_speech(self._config, text, self._plan.reference)
        )
        return Opened(target, stream)

    def _commit(self) -> None:
        """Stay with the target, which has begun to answer."""
        if not self._committed and self._admission is not None:
            self._admission.answered()
        self._committed = True

    async def _turned_away(self, error: PixvoxError) -> None:
        """Leave the target that failed; return if another one is to be tried.

        Raises:
            PixvoxError: None is.
        """
        await self._left(error)
        tried, target = self._tried, cast("Target", self._target)
        if self._committed or tried is None or error is self._text.error:
            raise error
        self._plan.failed(self._tries, tried, error, time.monotonic() - self._started, entered=target.entered)

    async def _left(self, error: BaseException | None) -> None:
        stack, self._stack, self._events = self._stack, contextlib.AsyncExitStack(), None
        if error is None:
            await stack.aclose()
        else:
            await stack.__aexit__(type(error), error, error.__traceback__)


class _Text:
    """The caller's text, which can be told again to another target."""

    def __init__(self, text: AsyncIterator[SpeechInput]) -> None:
        self._text = text
        self._told: list[SpeechInput] = []
        self._reading: asyncio.Task[SpeechInput | None] | None = None
        self.error: BaseException | None = None

    async def source(self, target: Target, *, again: bool) -> AsyncGenerator[SpeechInput, None]:
        """Tell the text from its beginning.

        Args:
            target: Whose limit of the text's length holds.
            again: Whether it may have to be told once more, for which it is kept.
        """
        characters = 0
        for place in itertools.count():
            if place < len(self._told):
                piece = self._told[place]
            elif (read := await self._next(again=again)) is None:
                return
            else:
                piece = read
                self._told.append(piece)
            if isinstance(piece, str):
                characters += len(piece)
                limits.check_text_length(characters, target.model)
            yield piece

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is None:
            return
        self._reading.cancel()
        await asyncio.wait([self._reading])
        if not self._reading.cancelled():
            # Marks an error as seen that nobody has waited for.
            self._reading.exception()

    async def _next(self, *, again: bool) -> SpeechInput | None:
        """Return the next piece, None after the last one."""
        if not again and self._reading is None:
            return await self._read()
        # A target that is left may be waiting for text. Its waiting is cancelled, and the reading must not be: the piece
        # that it brings belongs to the next target.
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        piece = await asyncio.shield(self._reading)
        self._reading = None
        return piece

    async def _read(self) -> SpeechInput | None:
        try:
            return await anext(self._text, None)
        except PixvoxError as error:
            self.error = error
            raise
