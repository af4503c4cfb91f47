"""The making of voices, carried through to their record: a voice that was paid for is in the catalogue, or in the log.

A voice is noted before its provider is asked and finished afterwards. Once the provider is asked, the caller may leave: a
request that is cut off in the middle can make a voice that nobody knows, so it goes on without the caller. What a process
leaves unfinished when it dies is looked for at the provider by whichever process next makes or lists voices. A voice that its
provider does not keep exists once it is recorded, and is forgotten if it is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime
import time
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from pixvox.database import DatabaseError
from pixvox.errors import (
    InternalError,
    OutcomeUnknownError,
    PixvoxError,
    ProviderError,
    ProviderNotFoundError,
    SwitchedOffError,
    reason_name,
)
from pixvox.provider import MadeVoice, ReferenceSpeaker, VoiceDeleter, VoiceFinder
from pixvox.v1 import error_reason_pb2 as reasons
from pixvox.v1 import media_pb2, voice_service_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from pixvox.provider import Reference
    from pixvox.registry import Entry
    from pixvox.services.current import Current
    from pixvox.v1.voice_service_pb2 import Voice
    from pixvox.voices import VoiceStore

log = structlog.get_logger("pixvox.voices")

T = TypeVar("T")

# The longest that a provider may take.
MAKING_SECONDS = 300.0
# How long a service that is shutting down waits for what it has begun.
CLOSING_SECONDS = 5.0
# Between two looks for what other processes left unfinished.
SETTLING_SECONDS = 60.0

# Between attempts to record a voice that was made.
_SAVE_WAITS = (0.1, 1.0)
# With any other error the provider has made nothing.
_UNCERTAIN = frozenset(
    {
        reasons.ERROR_REASON_OUTCOME_UNKNOWN,
        reasons.ERROR_REASON_PROVIDER_DISCONNECTED,
        reasons.ERROR_REASON_PROVIDER_INTERNAL,
        reasons.ERROR_REASON_PROVIDER_TIMEOUT,
    }
)


class VoiceMakings:
    """Makes voices.

    Args:
        store: The catalogue.
        current: Whose router knows the providers.
        seconds: The longest that a provider may take.
        abandoned_seconds: How long after its beginning a voice that is unfinished has no process any more that makes it.
    """

    def __init__(
        self,
        store: VoiceStore,
        current: Current,
        *,
        seconds: float = MAKING_SECONDS,
        abandoned_seconds: float = MAKING_SECONDS + 60.0,
    ) -> None:
        self._store = store
        self._current = current
        self._seconds = seconds
        self._abandoned_seconds = abandoned_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._settled_at = -SETTLING_SECONDS
        self._settling: asyncio.Task[None] | None = None

    async def made(
        self, voice: Voice, entry: Entry, make: Callable[[], Awaitable[MadeVoice]]
    ) -> tuple[Voice, MadeVoice]:
        """Make a voice and record it; goes on if the caller leaves.

        Args:
            voice: As far as it is known; is completed.
            entry: The provider.
            make: Asks it.

        Raises:
            DatabaseError: It could not be noted; the provider was not asked.
            InternalError: It was made and could not be recorded; the metadata has the provider's ids of it.
            PixvoxError: The provider could not make it; if it may have, it stays noted.
        """
        task = self._started(self._through(voice, entry, make))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                log.info("voice is made without its caller, who has left", **_names(voice))
                task.add_done_callback(_tell)
            raise

    def settle(self) -> None:
        """Look, beside the call, for voices that were left unfinished; does nothing shortly after it was done."""
        due = time.monotonic() - self._settled_at >= SETTLING_SECONDS
        if due and (self._settling is None or self._settling.done()):
            self._settled_at = time.monotonic()
            # In a context of its own: what is looked for has nothing to do with the call that happens to come along.
            # As of now: what is begun after this is still being made.
            before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=self._abandoned_seconds)
            self._settling = self._started(self._settled(before), contextvars.Context())

    def running(self) -> set[asyncio.Task[Any]]:
        """Return everything that was begun and has not ended."""
        return set(self._tasks)

    async def aclose(self) -> None:
        """Wait a little for what was begun, then break it off; what is broken off stays noted."""
        if self._settling is not None:
            self._settling.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
        for task in self._tasks:
            log.error("the making of a voice was broken off; it is looked for when the service runs again")
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _started(self, work: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> asyncio.Task[T]:
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _through(
        self, voice: Voice, entry: Entry, make: Callable[[], Awaitable[MadeVoice]]
    ) -> tuple[Voice, MadeVoice]:
        await self._store.begin(voice)
        try:
            made = await self._asked(make)
        except PixvoxError as error:
            if error.reason not in _UNCERTAIN or _keeps_nothing(entry):
                await self._forgotten(voice)
                raise
            found = await self._looked_for(voice, entry, error)
            if found is None:
                raise
            await self._recorded(voice, found, entry)
            if voice.kind == voice_service_pb2.VOICE_KIND_DESIGNED:
                # Its preview is lost; the caller is told where the voice is.
                error.metadata = error.metadata | {"voice": voice.id}
                raise
            return voice, found
        await self._recorded(voice, made, entry)
        return voice, made

    async def _asked(self, make: Callable[[], Awaitable[MadeVoice]]) -> MadeVoice:
        try:
            async with asyncio.timeout(self._seconds):
                return await make()
        except TimeoutError as error:
            raise OutcomeUnknownError(
                f"The provider did not answer within {self._seconds:g} s; the voice may have been made and billed."
            ) from error

    async def _forgotten(self, voice: Voice) -> None:
        # The log has the database's failure; the voice is looked for later, and not found.
        with contextlib.suppress(DatabaseError):
            await self._store.forget(voice.id)

    async def _looked_for(self, voice: Voice, entry: Entry, error: PixvoxError) -> MadeVoice | None:
        """Return what was made after all by a call that failed in an uncertain way, None if that is not known."""
        log.warning("it is not known whether a voice was made", reason=reason_name(error.reason), **_names(voice))
        try:
            found = await self._found(voice, entry)
        except PixvoxError as failure:
            log.warning("the provider could not be asked", reason=reason_name(failure.reason), **_names(voice))
            return None
        return found[0] if found is not None and len(found) == 1 else None

    async def _found(self, voice: Voice, entry: Entry) -> list[MadeVoice] | None:
        """Return what a making has made and nobody has recorded, None if the provider cannot tell."""
        if _keeps_nothing(entry):
            return []
        if not isinstance(entry.provider, VoiceFinder):
            return None
        found = await entry.provider.find_voices(voice)
        known = await self._store.known(entry.name, [one.provider_voice_id for one in found])
        return [one for one in found if one.provider_voice_id not in known]

    async def _recorded(self, voice: Voice, made: MadeVoice, entry: Entry) -> None:
        """Complete a voice and record it, or undo its making.

        Raises:
            InternalError: It could not be recorded.
        """
        _complete(voice, made)
        kept = deleted = False
        try:
            kept = await self._kept(voice, made.reference)
            deleted = not kept and await self._undone(voice, made, entry)
        finally:
            if not kept and not deleted:
                log.error("orphaned voice", **_ids(voice), **_names(voice))
        if not kept:
            then = "it is gone again" if deleted else "the operator has to delete it at the provider"
            raise InternalError(
                f"The voice was made and could not be recorded; {then}.",
                metadata={**_ids(voice), "deleted": str(deleted).lower()},
            )

    async def _kept(self, voice: Voice, reference: Reference | None) -> bool:
        for wait in (*_SAVE_WAITS, None):
            try:
                return await self._store.finish(voice, reference)
            except DatabaseError:
                if wait is None:
                    return False
                await asyncio.sleep(wait)
        raise AssertionError

    async def _undone(self, voice: Voice, made: MadeVoice, entry: Entry) -> bool:
        """Return whether a voice that could not be recorded is gone."""
        if made.reference is not None:
            log.warning("a voice could not be recorded and is gone", **_names(voice))
            return True
        if not isinstance(entry.provider, VoiceDeleter):
            return False
        try:
            await entry.provider.delete_voice(voice)
        except PixvoxError as error:
            log.warning("a voice could not be deleted again", reason=reason_name(error.reason), **_names(voice))
            return False
        log.warning("a voice could not be recorded and was deleted again", **_ids(voice), **_names(voice))
        return True

    async def _settled(self, before: datetime.datetime) -> None:
        # What fails here was logged, and is tried again the next time.
        with contextlib.suppress(DatabaseError):
            for voice in await self._store.unfinished(before):
                try:
                    await self._settle(voice)
                except (ProviderError, SwitchedOffError) as error:
                    log.warning("the provider could not be asked", reason=reason_name(error.reason), **_names(voice))

    async def _settle(self, voice: Voice) -> None:
        entry = self._entry(voice)
        found = None if entry is None else await self._found(voice, entry)
        if found == []:
            if await self._store.forget(voice.id):
                log.info("a voice that was begun was never made", **_names(voice))
        elif found is not None and len(found) == 1:
            _complete(voice, found[0])
            if await self._store.finish(voice, found[0].reference):
                log.warning("a voice that was made without a record was recovered", **_ids(voice), **_names(voice))
        elif await self._store.lose(voice.id):
            ids = [one.provider_voice_id for one in found or ()]
            log.error("orphaned voice", provider_voice_ids=ids, **_names(voice))

    def _entry(self, voice: Voice) -> Entry | None:
        """Return where a voice was begun, None if that is not configured any more."""
        try:
            entry = self._current.router.entry(voice.provider)
        except ProviderNotFoundError:
            return None
        return entry if entry.region == voice.region else None


def _keeps_nothing(entry: Entry) -> bool:
    """Tell whether a provider keeps no voice: it speaks with those of the catalogue, and can neither find nor delete one."""
    provider = entry.provider
    return isinstance(provider, ReferenceSpeaker) and not isinstance(provider, VoiceFinder | VoiceDeleter)


def _complete(voice: Voice, made: MadeVoice) -> None:
    """Write into a voice what its provider says of it."""
    receipt = made.receipt
    # What was found later has not come through the router, which fills these.
    receipt.request_id = receipt.request_id or voice.receipt.request_id
    receipt.provider = receipt.provider or voice.provider
    receipt.model = receipt.model or voice.model
    if not receipt.HasField("cost"):
        receipt.cost.state = media_pb2.COST_STATE_UNPRICED
    voice.state = voice_service_pb2.VOICE_STATE_ACTIVE
    voice.region = receipt.region or voice.region
    voice.model = receipt.model
    voice.provider_voice_id = made.provider_voice_id
    voice.provider_request_id = receipt.provider_request_id
    voice.receipt.CopyFrom(receipt)


def _names(voice: Voice) -> dict[str, str]:
    return {
        "voice": voice.id,
        "provider": voice.provider,
        "model": voice.model,
        "request_id": voice.receipt.request_id,
    }


def _ids(voice: Voice) -> dict[str, str]:
    return {"provider_voice_id": voice.provider_voice_id, "provider_request_id": voice.provider_request_id}


def _tell(task: asyncio.Task[Any]) -> None:
    """Log how a task failed that nobody waits for."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a voice whose caller had left was not made or not recorded", exc_info=error)
