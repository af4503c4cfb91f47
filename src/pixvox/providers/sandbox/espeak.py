"""espeak-ng as an asyncio object: segments of text in, samples out while they are made.

The library comes with the `espeakng_loader` wheel, which is GPL-3.0 and therefore optional. It runs in a process of its
own, `pixvox.providers.sandbox.espeak_process`: a text that crashes it ends that one speech, not the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import itertools
import math
import re
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixvox.errors import ProviderInternalError, ProviderUnavailableError
from pixvox.providers.sandbox import espeak_process
from pixvox.providers.sandbox.espeak_process import ABORT, MESSAGE, ORDER, PIECE, RATE, SPEAK

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from typing import Self

    from pixvox.errors import ProviderError

WHEEL = "espeakng_loader"
SAMPLE_RATE_HERTZ = 22050

_NORMAL_WORDS_A_MINUTE = 175
# What espeak-ng's steps of pitch multiply the fundamental frequency by, measured.
_PITCH_STEPS = ((0.69, 0), (0.82, 25), (1.0, 50), (1.26, 75), (1.62, 99))
# A segment is spoken a thousand times faster than it is heard; a process that says nothing for so long is stuck.
_STUCK_SECONDS = 10.0
# espeak-ng takes Ctrl-A for the beginning of a command to itself, and codes of the private use area for its own marks.
_NOT_SPOKEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff]")


@dataclass(frozen=True, slots=True)
class Manner:
    """How to speak.

    Attributes:
        variant: Of the voices, such as ``f2``; the files of ``espeak-ng-data/voices/!v``.
        rate: Relative to the normal 175 words a minute, 0.5..2.
        pitch: Relative to the voice's normal one, 0.5..2.
        volume: 0..100, 50 being normal.
    """

    variant: str
    rate: float = 1.0
    pitch: float = 1.0
    volume: float = 50.0

    @property
    def sample_rate_hertz(self) -> int:
        """The rate at which to play the samples."""
        return round(SAMPLE_RATE_HERTZ * self._stretch)

    @property
    def words_a_minute(self) -> int:
        """What espeak-ng is told; it cannot go below 80."""
        return max(80, round(_NORMAL_WORDS_A_MINUTE * self.rate / self._stretch))

    @property
    def pitch_step(self) -> int:
        """What espeak-ng is told, 0..99."""
        for (low, step), (high, next_step) in itertools.pairwise(_PITCH_STEPS):
            if self.pitch < high:
                share = math.log(max(self.pitch, low) / low) / math.log(high / low)
                return round(step + share * (next_step - step))
        return _PITCH_STEPS[-1][1]

    @property
    def _stretch(self) -> float:
        # What lacks from the pitch is made by playing slower or faster, as on a tape.
        return self.pitch / min(max(self.pitch, _PITCH_STEPS[0][0]), _PITCH_STEPS[-1][0])


def available() -> bool:
    """Return whether the wheel with the library is installed. Loads nothing."""
    return importlib.util.find_spec(WHEEL) is not None


class Espeak:
    """One espeak-ng process, shared fairly: segments are spoken in the order in which they were asked for."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._queue: asyncio.Queue[Speech] = asyncio.Queue()
        self._opening = asyncio.Lock()
        self._process: Process | None = None
        self._work: asyncio.Task[None] | None = None
        self._current: Speech | None = None

    async def open(self) -> None:
        """Start the process unless it runs; takes about 30 ms the first time.

        Raises:
            ProviderUnavailableError: espeak-ng cannot be started.
        """
        async with self._opening:
            if self._process is None or self._process.returncode is not None:
                self._process = await _started()
            if self._work is None:
                self._work = asyncio.create_task(self._speak_all(), name="espeak")

    def speak(self, text: str, language: str, manner: Manner, *, pause: bool = False) -> Speech:
        """Queue a segment and return its speech, to be read and, if it is not read to its end, closed.

        The samples are made at once and wait for their reader, so a segment should have at most a few hundred
        characters, and the next one be asked for when this one was read.

        Args:
            text: To speak. It is never taken for SSML or commands.
            language: An espeak-ng voice such as ``en-us`` or ``cmn``.
            manner: How to speak.
            pause: Whether to end with the pause that belongs to the punctuation mark at the end.
        """
        speech = Speech(_order(text, language, manner, pause=pause), self._abort)
        self._queue.put_nowait(speech)
        return speech

    async def aclose(self) -> None:
        """End the process; what was not spoken to its end fails."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
            self._work = None
        await self._stop()
        unspoken = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        for speech in [self._current, *unspoken]:
            if speech is not None:
                speech.end(ProviderUnavailableError("The sandbox was closed."))

    async def _speak_all(self) -> None:
        while True:
            speech = await self._queue.get()
            if not speech.closed:
                self._current = speech
                speech.end(await self._outcome(speech))
                self._current = None

    async def _outcome(self, speech: Speech) -> ProviderError | None:
        try:
            await self.open()
            length = await self._speak(speech)
        except ProviderUnavailableError as error:
            return error
        except (EOFError, OSError):
            await self._stop()
            return ProviderInternalError("espeak-ng broke down over this text.")
        return ProviderInternalError(f"espeak-ng failed with its code {-length}.") if length else None

    async def _speak(self, speech: Speech) -> int:
        """Have a speech spoken and return what ended it, 0 or the negative code of an error."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EOFError
        process.stdin.write(MESSAGE.pack(SPEAK, len(speech.order)) + speech.order)
        while True:
            async with asyncio.timeout(_STUCK_SECONDS):
                (length,) = PIECE.unpack(await process.stdout.readexactly(PIECE.size))
                if length <= 0:
                    return int(length)
                speech.add(await process.stdout.readexactly(length))

    def _abort(self, speech: Speech) -> None:
        if speech is self._current and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(MESSAGE.pack(ABORT, 0))

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _ended(process)


class Speech:
    """The samples of one segment: an async iterator of pieces of 100 ms or less, 16-bit, at the rate of its `Manner`.

    Iterating raises `ProviderInternalError` if espeak-ng failed or died of the text, and `ProviderUnavailableError` if
    it could not be started again.
    """

    def __init__(self, order: bytes, abort: Callable[[Speech], None]) -> None:
        self.order = order
        self.closed = False
        self._abort = abort
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._error: ProviderError | None = None
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pieces.popleft()

    def close(self) -> None:
        """Want no more: what is not made yet never will be."""
        if not self._ended:
            self.closed = True
            self._abort(self)
            self.end(None)
        self._pieces.clear()

    def add(self, piece: bytes) -> None:
        """Hand a piece to the reader."""
        if not self.closed:
            self._pieces.append(piece)
            self._news.set()

    def end(self, error: ProviderError | None) -> None:
        """Have the reader stop, or fail, after the pieces that there are."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._news.set()


def _order(text: str, language: str, manner: Manner, *, pause: bool) -> bytes:
    numbers = ORDER.pack(
        manner.words_a_minute,
        manner.pitch_step,
        round(2 * manner.volume),
        pause,
    )
    voice = f"{language}+{manner.variant}".encode()
    return numbers + voice + b"\0" + _NOT_SPOKEN.sub(" ", text).encode()


async def _started() -> Process:
    try:
        wheel = importlib.import_module(WHEEL)
    except ImportError as error:
        raise ProviderUnavailableError("The espeakng_loader wheel is not installed.") from error
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", espeak_process.__file__, wheel.get_library_path(), wheel.get_data_path()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        # Ctrl-C at a terminal is for the service, which lets running calls finish.
        start_new_session=True,
    )
    async with contextlib.AsyncExitStack() as unless_ready:
        unless_ready.push_async_callback(_ended, process)
        if await _greeting(process) != SAMPLE_RATE_HERTZ:
            raise ProviderUnavailableError("espeak-ng could not be started.")
        unless_ready.pop_all()
    return process


async def _greeting(process: Process) -> int | None:
    """Return the sample rate that the process announces, None if it ends instead."""
    if process.stdout is None:
        return None
    try:
        async with asyncio.timeout(_STUCK_SECONDS):
            greeting = await process.stdout.readexactly(PIECE.size + RATE.size)
    except (EOFError, OSError):
        return None
    (rate,) = RATE.unpack_from(greeting, PIECE.size)
    return int(rate)


async def _ended(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # Reads the rest of the output as well, without which the pipe stays open.
    await process.communicate()
