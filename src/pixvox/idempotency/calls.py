"""Makes each call with a request id once, however often it is repeated, and shares identical calls where it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from pixvox import limits, telemetry
from pixvox.errors import AnswerNotKeptError
from pixvox.idempotency.claims import ClaimLostError, Claims, names, reused
from pixvox.idempotency.earlier import Earlier, RequestKey
from pixvox.idempotency.fingerprints import fingerprint_of
from pixvox.idempotency.flights import Flights
from pixvox.idempotency.recordings import Listener, Recording, Tapes, unpacked
from pixvox.idempotency.store import RequestStore

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable

    import grpc
    from google.protobuf.message import Message

    from pixvox.database import Database
    from pixvox.idempotency.claims import Claim
    from pixvox.idempotency.flights import Flight
    from pixvox.settings import IdempotencySettings
    from pixvox.telemetry import Call
    from pixvox.v1.speech_service_pb2 import SpeechConfig, StreamSpeechRequest

    Context = grpc.aio.ServicerContext[Any, Any]
    Requests = AsyncIterator[StreamSpeechRequest]

log = structlog.get_logger("pixvox.requests")

# Once a provider is asked, these go on without their callers; see docs/decisions.
OUTLIVING = frozenset({"pixvox.v1.VoiceService/CloneVoice", "pixvox.v1.VoiceService/DesignVoice"})
# How long a service that is shutting down waits for them.
CLOSING_SECONDS = 5.0


class Idempotency:
    """What the service does about calls that are made more than once.

    Args:
        database: The service's own.
        settings: How long answers are kept, and the like.
        shares: Tells of a method, such as `pixvox.v1.ImageService/GenerateImage`, and a request without a request id
            whether identical calls that are under way together share one.
    """

    def __init__(
        self, database: Database, settings: IdempotencySettings, *, shares: Callable[[str, Message], bool]
    ) -> None:
        self.shares = shares
        self._store = RequestStore(
            database, lease_seconds=settings.lease_seconds, retention_seconds=settings.retention_seconds
        )
        self._claims = Claims(
            self._store, lease_seconds=settings.lease_seconds, max_answer_bytes=settings.max_answer_bytes
        )
        self._flights = Flights(settings.linger_seconds)
        self._tapes = Tapes(settings.max_answer_bytes)

    async def once(self, call: Call, request: Message, work: Callable[[], Awaitable[Message]]) -> bytes:
        """Make a unary call with a request id, or join it, or return what it was answered.

        Args:
            call: The running one, with the caller's request id.
            request: Its payload.
            work: Makes it, in the context of the first of several callers.

        Returns:
            The serialised answer: the same bytes for all.

        Raises:
            RequestIdReusedError: The id belongs to another payload.
            OutcomeUnknownError: The call was made before, and nobody knows whether the work was done.
            AnswerNotKeptError: It was answered before, and the answer was too large to keep.
            DatabaseError: Nothing is known, and nothing was sent.
            PixvoxError: What the work failed with.
        """
        key = RequestKey(call.method, call.request_id)
        fingerprint = await fingerprint_of(request)
        field = "config.request_id" if hasattr(request, "config") else "request_id"
        flight = self._flights.find(key)
        if flight is not None and flight.fingerprint != fingerprint:
            raise reused(field)
        return await self._flights.answer(
            key, fingerprint, call, lambda flight: self._answered(key, field, flight, work)
        )

    async def shared(self, call: Call, request: Message, work: Callable[[], Awaitable[Message]]) -> bytes:
        """Make a unary call without a request id, or join an identical one that is under way; see `once`."""
        fingerprint = await fingerprint_of(request)

        async def made(_: Flight) -> bytes:
            return (await work()).SerializeToString()

        # Has one part more than the key of a request id, so that nobody can choose an id to join it.
        return await self._flights.answer((call.method, "identical", fingerprint), fingerprint, call, made)

    async def speech(
        self,
        config: SpeechConfig,
        requests: Requests,
        context: Context,
        speak: Callable[[Requests, Context], Awaitable[None]],
    ) -> None:
        """Serve a stream of speech after its config; if it has a request id, once.

        A repeat whose first call is under way waits for its end. What was answered is sent again when the caller has
        half-closed and its text is known to be the same.

        Args:
            config: The stream's.
            requests: What the caller sends after it.
            context: Of the call.
            speak: Serves the stream, from the messages and the context that it is given.

        Raises:
            PixvoxError: As of `once`.
        """
        if not config.request_id or limits.violation_of_request_id(config.request_id) is not None:
            await speak(requests, context)
            return
        call = telemetry.current_call()
        key = RequestKey(call.method, config.request_id)
        claim = await self._claims.claimed(key, await fingerprint_of(config), "config.request_id")
        if isinstance(claim, Earlier):
            await self._replayed(key, claim, requests, context)
            return
        listener = Listener(requests)
        async with claim:
            with Recording(context, self._tapes) as recording:
                call.before_dispatch = claim.dispatch
                await speak(listener, recording.context)
                # Without the end of the text, a repeat cannot be known to have the same.
                text = listener.fingerprint
                claim.answered(recording.packed if text else None, text)

    def running(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that make unary calls for their callers, or have outlived them."""
        return self._flights.running()

    async def aclose(self) -> None:
        """End all calls and note what became of them; is called before the database is closed."""
        await self._flights.aclose(CLOSING_SECONDS)
        await self._claims.aclose()

    async def _answered(
        self, key: RequestKey, field: str, flight: Flight, work: Callable[[], Awaitable[Message]]
    ) -> bytes:
        while True:
            claim = await self._claims.claimed(key, flight.fingerprint, field)
            if isinstance(claim, Earlier):
                answer = await self._store.answer(key, claim.owner)
                # Its time can be up since it was found.
                if answer is not None:
                    telemetry.answer_kept()
                    log.info("call answered as before", **names(key))
                    return answer
            else:
                try:
                    return await _made(claim, key, flight, work)
                except ClaimLostError:
                    log.warning("another process makes the call, because this one was silent too long", **names(key))

    async def _replayed(self, key: RequestKey, earlier: Earlier, requests: Requests, context: Context) -> None:
        listener = Listener(requests)
        async for _ in listener:
            pass
        if listener.fingerprint != earlier.text_fingerprint:
            raise reused("config.request_id")
        packed = await self._store.answer(key, earlier.owner)
        if packed is None:
            raise AnswerNotKeptError("The answer of the call with this request id is not kept any more.")
        telemetry.answer_kept()
        log.info("call answered as before", **names(key))
        for message in unpacked(packed):
            await context.write(message)


async def _made(claim: Claim, key: RequestKey, flight: Flight, work: Callable[[], Awaitable[Message]]) -> bytes:
    async with claim:
        flight.call.before_dispatch = claim.dispatch
        if key.method in OUTLIVING:
            flight.lasts = lambda: claim.dispatched
        answer = (await work()).SerializeToString()
        claim.answered(answer)
        return answer
