"""One text spoken by one request: as events, or as bare audio that is handed on while it comes in."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Protocol

from pixvox.errors import PixvoxError, ProviderDisconnectedError, ProviderInternalError
from pixvox.media.waveform import CutShortError, OtherAudioError, Samples
from pixvox.providers.openai.engine import senseless, without_result
from pixvox.providers.openai.refusals import complaint_in, complaint_of, error_of, request_id_in
from pixvox.upstream import ByteStream, EventStream, Ids, RefusedError
from pixvox.utterances import BYTES_PER_SAMPLE, AudioEvents, Complaints, broken_off

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from pixvox.upstream import Origin, Reply
    from pixvox.upstream.pool import Pool

PATH = "/audio/speech"
OPERATION = "speech"

_PIECES_PER_SECOND = 10
# Types that say nothing of what is in the answer.
_OPAQUE = frozenset({"", "application/octet-stream"})
# Of big-endian samples the last; the others are compressed.
_OTHER_AUDIO = frozenset(
    f"audio/{name}" for name in ("mpeg", "mp3", "flac", "x-flac", "ogg", "opus", "aac", "mp4", "webm", "basic", "l16")
)


class Sound:
    """An utterance in whatever way the engine's answer brings it, which its content type decides.

    Args:
        pool: Of the engines.
        body: Of the request.
        content_type: Of the body.
        rate: Samples per second that the model's table states.

    Attributes:
        request_id: See `pixvox.utterances.Utterance`.
    """

    def __init__(self, pool: Pool, body: bytes, content_type: str, rate: int) -> None:
        self.request_id = ""
        self._pool = pool
        self._body = body
        self._content_type = content_type
        self._rate = rate
        self._stack = AsyncExitStack()
        self._answer: _Answer | None = None

    async def piece(self) -> bytes:
        """Return the next whole samples; see `pixvox.utterances.Utterance`."""
        if self._answer is None:
            self._answer = await self._opened()
        return await self._answer.piece()

    async def aclose(self) -> None:
        """Cut the connection, unless the answer has ended."""
        await self._stack.aclose()

    async def _opened(self) -> _Answer:
        try:
            stream, _ = await self._stack.enter_async_context(self._pool.opened(self._asked))
        except RefusedError as error:
            raise _refused(error.reply) from error
        self.request_id = request_id_in(stream.headers)
        stream.identified(Ids(request=self.request_id))
        if isinstance(stream, EventStream):
            return AudioEvents(lambda: nullcontext(stream), self._rate, _COMPLAINTS)
        return _BareAudio(stream, self._rate, self.request_id)

    def _asked(self, origin: Origin) -> AbstractAsyncContextManager[EventStream | ByteStream]:
        # What compresses on the way holds sound back, and its end does not show that all of it came.
        headers = {"content-type": self._content_type, "accept-encoding": "identity"}
        return origin.stream(PATH, body=self._body, headers=headers, operation=OPERATION, is_bare=_is_bare)


class _Answer(Protocol):
    async def piece(self) -> bytes: ...


class _BareAudio:
    """Audio without events: bare samples, or a WAV file. It is complete as soon as HTTP and the file's header say so.

    Args:
        stream: The body of the answer.
        rate: Samples per second that are expected.
        request_id: The engine's, or empty.
    """

    def __init__(self, stream: ByteStream, rate: int, request_id: str) -> None:
        self._stream = stream
        self._request_id = request_id
        self._samples = Samples(rate)
        self._most = rate // _PIECES_PER_SECOND * BYTES_PER_SAMPLE
        self._ready = b""
        self._given = 0
        stated = stream.headers.get("X-Sample-Rate", "")
        if stated and stated != str(rate):
            raise senseless("sent audio of another rate than its model's table says", request_id, "committed")

    async def piece(self) -> bytes:
        """Return what is there, at most 100 ms, or nothing at the end."""
        while self._given == len(self._ready):
            data = await self._next()
            if data is None:
                return b""
            self._ready, self._given = data, 0
        piece = self._ready[self._given : self._given + self._most]
        self._given += len(piece)
        return piece

    async def _next(self) -> bytes | None:
        """Return the samples of the next bytes, maybe none; None at the end."""
        try:
            data = await anext(self._stream, None)
            if data is not None:
                return self._samples.feed(data)
            self._samples.finish()
        except OtherAudioError as error:
            what = f"sent audio of another kind than its model's table says ({error})"
            raise senseless(what, self._request_id, "committed") from error
        except CutShortError as error:
            raise broken_off(self._request_id) from error
        except PixvoxError as error:
            error.metadata = {"provider_code": "", "provider_request_id": self._request_id} | error.metadata
            raise
        if not self._stream.end_is_told and not self._samples.length_is_told:
            raise self._unclear()
        return None

    def _unclear(self) -> ProviderDisconnectedError:
        error = broken_off(self._request_id)
        message = (
            "The provider closed its connection, which may have been the end of the audio or not. Engines and what stands"
            " before them have to speak HTTP/1.1."
        )
        return ProviderDisconnectedError(message, metadata=error.metadata)


def _is_bare(media_type: str) -> bool:
    return media_type in _OPAQUE or (media_type.startswith("audio/") and media_type not in _OTHER_AUDIO)


def _refused(reply: Reply) -> PixvoxError:
    if reply.status == 200:
        return without_result(reply, "sent something else than the audio that it was asked for")
    return error_of(complaint_of(reply))


def _failed(data: bytes, request_id: str) -> PixvoxError:
    error = error_of(complaint_in(data, request_id), streaming=True)
    if type(error) is not ProviderInternalError:
        return error
    message = "The provider failed in the middle of its answer; the audio is incomplete."
    return ProviderInternalError(message, metadata=error.metadata)


_COMPLAINTS = Complaints(refused=_refused, failed=_failed, request_id=request_id_in)
