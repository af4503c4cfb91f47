"""A provider on trial: called as the service calls it, and what was found out about it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pixvox import limits, registry, telemetry, voice_limits
from pixvox.errors import PixvoxError, RateLimitedError
from pixvox.testing.conformance import speaking
from pixvox.testing.conformance.ending import Ending, ending_of, told
from pixvox.testing.conformance.findings import CheckFailedError, CheckSkippedError, Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.provider import (
        Blob,
        ImageEditor,
        ImageGenerator,
        ImageResult,
        MadeVoice,
        Recording,
        ReferenceSpeaker,
        SpeechStream,
        SpeechStreamer,
        VoiceCloner,
        VoiceDesigner,
    )
    from pixvox.registry import Entry
    from pixvox.testing.conformance.hints import Hints
    from pixvox.testing.conformance.speaking import Spoken, Text
    from pixvox.testing.conformance.subject import Subject
    from pixvox.upstream import Upstream
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

T = TypeVar("T")

ALL_MODELS = "all"
# How long a provider may take to close.
CLOSE_SECONDS = 10.0
BARE = "Whatever a verb raises is a PixvoxError with a reason, so that callers and routes know what to do."

# As asyncio calls tasks.
_GIVEN_NAME = re.compile(r"Task-\d+")
_SECRET_FIELDS = ("key", "token", "secret", "password")
_PATIENCE = 3
_LONGEST_PAUSE = 30.0
_SERVED = "A lawful request is served."


@dataclass(slots=True)
class Trial:
    """What a check works with.

    Attributes:
        subject: Which provider.
        table: Of the settings, without the kind.
        hints: What it tells of itself.
        upstream: The provider's door to the network.
        entry: The provider.
        foreign: Tells whether a task belongs to something else, such as an emulator.
        findings: What is wrong.
        notes: What else was seen.
        calls: How many calls were made.
    """

    subject: Subject
    table: Mapping[str, Any]
    hints: Hints
    upstream: Upstream
    entry: Entry
    foreign: Callable[[asyncio.Task[Any]], bool]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    calls: int = 0

    @property
    def kind(self) -> str:
        """Of the provider."""
        return self.subject.kind

    @property
    def seconds(self) -> float:
        """The longest that one call may take."""
        return self.subject.seconds or self.hints.seconds

    @property
    def secrets(self) -> list[str]:
        """What is secret among the settings, by the names of the fields."""
        return [
            value
            for name, value in self.table.items()
            if isinstance(value, str) and len(value) > 3 and any(part in name.lower() for part in _SECRET_FIELDS)
        ]

    def find(self, finding: Finding) -> None:
        """Report something that is wrong, once, and without the secrets that it may hold."""
        seen = finding.seen
        for secret in self.secrets:
            seen = seen.replace(secret, "[secret]")
        finding = dataclasses.replace(finding, seen=seen)
        if finding not in self.findings:
            self.findings.append(finding)

    def note(self, text: str) -> None:
        """Tell what was seen."""
        if text not in self.notes:
            self.notes.append(text)

    def models(self, verb: str) -> list[model_service_pb2.Model]:
        """Return the models to call for a verb.

        Raises:
            CheckSkippedError: There is none.
        """
        able = self.usual_models(verb)
        if not able:
            raise CheckSkippedError(
                f"no model has {verb}" if verb != "stream_speech" else "no model has a voice of its own"
            )
        chosen = self.subject.models
        found = able[:1] if not chosen else able if ALL_MODELS in chosen else [one for one in able if one.id in chosen]
        if not found:
            raise CheckSkippedError(f"none of the chosen models has {verb}")
        return found

    def usual_models(self, verb: str) -> list[model_service_pb2.Model]:
        """Return all models of a verb that can be called without anything else; none of those that need a made voice."""
        able = [model for model in self.entry.models if registry.has_capability(model, verb)]
        # They are tried with a voice where the making of voices is.
        return [model for model in able if verb != "stream_speech" or not model.stream_speech.needs_made_voice]

    def has(self, verb: str) -> bool:
        """Tell whether there is a model that `usual_models` gives."""
        return bool(self.usual_models(verb))

    def tasks(self) -> set[asyncio.Task[Any]]:
        """Return the tasks that run now, but for those of emulators."""
        return {task for task in asyncio.all_tasks() if not self.foreign(task)}

    async def left(self, before: set[asyncio.Task[Any]], *, within: float = 1.0) -> list[str]:
        """Return what tasks that are not in `before` are about, once they have had time to end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while (tasks := self.tasks() - before) and loop.time() < until:
            await asyncio.wait(tasks, timeout=0.05)
        return sorted(_about(task) for task in tasks)

    async def generating(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Call the verb as the service does; raises whatever it does."""
        limits.check_generate_image(request, model)
        provider = cast("ImageGenerator", self.entry.provider)
        with self._call("ImageService/GenerateImage", request.request_id):
            return await provider.generate_image(request, model)

    async def editing(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Call the verb as the service does; raises whatever it does."""
        limits.check_edit_image(request, model)
        limits.check_edit_inputs(images, mask, model)
        provider = cast("ImageEditor", self.entry.provider)
        with self._call("ImageService/EditImage", request.request_id):
            return await provider.edit_image(request, images, mask, model)

    async def speaking(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: Text,
        model: model_service_pb2.Model,
        *,
        made: MadeVoice | None = None,
    ) -> Spoken:
        """Call the verb as the service does, to the end of the stream; raises whatever it does."""
        async with self.stream(config, text, model, made=made) as stream:
            return await speaking.collected(stream)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: Text,
        model: model_service_pb2.Model,
        *,
        made: MadeVoice | None = None,
    ) -> AsyncIterator[SpeechStream]:
        """Give a running synthesis; raises whatever the verb does.

        Args:
            config: How to speak.
            text: What to speak.
            model: To speak with.
            made: The voice if it is a made one, which is not in the model's list.
        """
        if made is None:
            limits.check_speech(config, model)
        with self._call("SpeechService/StreamSpeech", config.request_id):
            async with self._stream(config, text, model, made) as stream:
                yield stream

    async def cloning(
        self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Call the verb as the service does; raises whatever it does."""
        voice_limits.check_clone_voice(request, model)
        provider = cast("VoiceCloner", self.entry.provider)
        with self._call("VoiceService/CloneVoice", request.request_id):
            return await provider.clone_voice(request, recording, model)

    async def designing(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Call the verb as the service does; raises whatever it does."""
        voice_limits.check_design_voice(request, model)
        provider = cast("VoiceDesigner", self.entry.provider)
        with self._call("VoiceService/DesignVoice", request.request_id):
            return await provider.design_voice(request, model)

    async def ending(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Ending[T]:
        """Make a call and return how it ended; a rate limit is waited for."""
        for left in reversed(range(_PATIENCE)):
            self.calls += 1
            ending = await ending_of(make(), within=self.seconds)
            if not left or not isinstance(ending.error, RateLimitedError):
                break
            await asyncio.sleep(min(ending.error.retry_after or 1.0, _LONGEST_PAUSE))
        return ending

    async def served(self, method: str, model: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a call that has to succeed, and return what it gives.

        Raises:
            CheckFailedError: It raised, or did not end.
        """
        ending = await self.ending(make)
        if not ending.succeeded:
            raise CheckFailedError(self.failure(ending, method, model))
        return cast("T", ending.value)

    def failure(self, ending: Ending[Any], method: str, model: str) -> Finding:
        """Return the finding for a call that should have succeeded."""
        if ending.late or ending.stuck:
            then = " and went on although it was cancelled" if ending.stuck else ""
            return Finding(f"did not end within {self.seconds:g} s{then}", _SERVED, method, model)
        if ending.cancelled:
            return Finding("raised CancelledError although nobody had cancelled it", BARE, method, model)
        error = cast("BaseException", ending.error)
        if isinstance(error, CheckFailedError):
            return Finding(error.finding.seen, error.finding.contract, method, model)
        return Finding(f"raised {told(error)}", _SERVED if isinstance(error, PixvoxError) else BARE, method, model)

    @contextlib.asynccontextmanager
    async def another(self, table: Mapping[str, Any] | None = None, *, close: bool = True) -> AsyncIterator[Trial]:
        """Give a trial of another provider of the kind, which shares what is found.

        Args:
            table: Instead of this one's.
            close: Whether the provider is closed after the block, which else has to do it.

        Raises:
            SettingsError: The table is wrong.
        """
        given = self.table if table is None else table
        upstream = self.subject.upstream()
        try:
            entry = self.subject.entry(given, upstream)
            trial = dataclasses.replace(self, table=given, upstream=upstream, entry=entry, calls=0)
            try:
                yield trial
            finally:
                self.calls += trial.calls
                if close:
                    await ending_of(entry.provider.aclose(), within=CLOSE_SECONDS)
        finally:
            await upstream.aclose()

    def _stream(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: Text,
        model: model_service_pb2.Model,
        made: MadeVoice | None,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        if made is None or made.reference is None:
            return cast("SpeechStreamer", self.entry.provider).stream_speech(config, text, model)
        provider = cast("ReferenceSpeaker", self.entry.provider)
        return provider.stream_speech_as(made.reference, config, text, model)

    @contextlib.contextmanager
    def _call(self, method: str, request_id: str) -> Iterator[None]:
        call = telemetry.Call(f"pixvox.v1.{method}", request_id=request_id, caller="conformance")
        with telemetry.calling(call):
            yield


def _about(task: asyncio.Task[Any]) -> str:
    """Return what a task runs, and its name if somebody gave it one."""
    coroutine = task.get_coro()
    runs = getattr(coroutine, "__qualname__", None) or repr(coroutine)
    return runs if _GIVEN_NAME.fullmatch(task.get_name()) else f"{runs} ({task.get_name()})"
