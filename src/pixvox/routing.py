"""Which provider and model serve a call, and the operation span around what they do."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from opentelemetry.trace import SpanKind, StatusCode

from pixvox import limits, telemetry
from pixvox.errors import (
    ModelNotFoundError,
    NoProviderError,
    PixvoxError,
    ProviderInternalError,
    ProviderNotFoundError,
    UnsupportedError,
    Violation,
    reason_name,
)
from pixvox.settings import SettingsError
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence

    from opentelemetry.trace import Span, Tracer

    from pixvox.prices import PriceTable
    from pixvox.provider import (
        Blob,
        ImageEditor,
        ImageGenerator,
        ImageResult,
        MadeVoice,
        Recording,
        SpeechEvent,
        SpeechInput,
        SpeechStream,
        SpeechStreamer,
        VoiceCloner,
        VoiceDesigner,
    )
    from pixvox.registry import Entry
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

Verb = Literal["generate_image", "edit_image", "stream_speech", "clone_voice", "design_voice"]
VERB_NAMES: tuple[Verb, ...] = ("generate_image", "edit_image", "stream_speech", "clone_voice", "design_voice")
MAX_NAMED = 20


class Router:
    """Resolves the provider and model of a request to a `Target`.

    A request may name a model (an id or alias; the first provider that has it serves), a provider, both, or neither; then
    the default of the verb serves, which is the first model that has the verb unless the settings say otherwise.
    """

    def __init__(
        self, entries: Sequence[Entry], defaults: Mapping[Verb, str], tracer: Tracer, prices: PriceTable
    ) -> None:
        """Check the defaults.

        Raises:
            SettingsError: A default names something that is not there or lacks the verb.
        """
        self.entries = tuple(entries)
        self._tracer = tracer
        self._prices = prices
        self._defaults: dict[Verb, tuple[Entry, model_service_pb2.Model]] = {}
        for verb in VERB_NAMES:
            chosen = self._default(verb, defaults[verb]) if verb in defaults else self._first(verb, self.entries)
            if chosen is not None:
                self._defaults[verb] = chosen

    def generate_image(self, request: image_service_pb2.GenerateImageRequest) -> Target:
        """Return the target of `request`, which is checked against the target's limits."""
        target = self._target("generate_image", request.provider, request.model)
        limits.check_generate_image(request, target.model)
        return target

    def edit_image(self, request: image_service_pb2.EditImageRequest) -> Target:
        """Return the target of `request`, which is checked against the target's limits."""
        target = self._target("edit_image", request.provider, request.model)
        limits.check_edit_image(request, target.model)
        return target

    def stream_speech(self, config: speech_service_pb2.SpeechConfig) -> Target:
        """Return the target of `config`, which is checked against the target's limits."""
        target = self._target("stream_speech", config.provider, config.model, prefix="config.")
        limits.check_speech(config, target.model)
        return target

    def clone_voice(self, request: voice_service_pb2.CloneVoiceRequest) -> Target:
        """Return the target of `request`, which is not checked yet: the recording has to be seen first."""
        return self._target("clone_voice", request.provider, request.model)

    def design_voice(self, request: voice_service_pb2.DesignVoiceRequest) -> Target:
        """Return the target of `request`, which is not checked yet."""
        return self._target("design_voice", request.provider, request.model)

    def default(self, verb: Verb) -> tuple[Entry, model_service_pb2.Model] | None:
        """Return what serves `verb` when a request names neither provider nor model."""
        return self._defaults.get(verb)

    def find(self, model: str, provider: str = "", prefix: str = "") -> tuple[Entry, model_service_pb2.Model]:
        """Return the model of that id or alias.

        Raises:
            ProviderNotFoundError: There is no such provider.
            ModelNotFoundError: There is no such model.
        """
        entries = (self.entry(provider, prefix),) if provider else self.entries
        found = self._named(model, entries)
        if found is None:
            raise ModelNotFoundError(
                "There is no such model; ListModels lists them.",
                Violation(f"{prefix}model", f"allowed: {_joined(one.id for entry in entries for one in entry.models)}"),
                metadata={"model": model, "provider": provider},
                resource=("pixvox.v1.Model", model),
            )
        return found

    def _target(self, verb: Verb, provider: str, model: str, prefix: str = "") -> Target:
        if model:
            entry, chosen = self.find(model, provider, prefix)
            if not chosen.HasField(verb):
                raise self._lacking(verb, f"{prefix}model", f"{chosen.id} of {entry.name}")
        elif provider:
            entry, chosen = self._of_provider(verb, provider, prefix)
        elif verb in self._defaults:
            entry, chosen = self._defaults[verb]
        else:
            raise NoProviderError(f"No configured provider has a model for {verb}; configure one that has.")
        return Target(entry, chosen, self._tracer, self._prices)

    def _of_provider(self, verb: Verb, provider: str, prefix: str) -> tuple[Entry, model_service_pb2.Model]:
        entry = self.entry(provider, prefix)
        default = self._defaults.get(verb)
        found = default if default and default[0] is entry else self._first(verb, (entry,))
        if found is None:
            raise self._lacking(verb, f"{prefix}provider", entry.name)
        return found

    def entry(self, provider: str, prefix: str = "") -> Entry:
        """Return the provider of that name.

        Raises:
            ProviderNotFoundError: There is none.
        """
        for entry in self.entries:
            if entry.name == provider:
                return entry
        raise ProviderNotFoundError(
            "No provider of that name is configured; ListProviders lists them.",
            Violation(f"{prefix}provider", f"allowed: {_joined(entry.name for entry in self.entries)}"),
            metadata={"provider": provider},
        )

    def _lacking(self, verb: Verb, path: str, what: str) -> UnsupportedError:
        able = (model.id for entry in self.entries for model in entry.models if model.HasField(verb))
        return UnsupportedError(f"{what} cannot do {verb}.", Violation(path, f"allowed: {_joined(able) or 'none'}"))

    def _default(self, verb: Verb, text: str) -> tuple[Entry, model_service_pb2.Model]:
        provider, _, model = text.partition("/")
        try:
            if not model:
                return self._of_provider(verb, provider, "")
            entry, found = self.find(model, provider)
        except PixvoxError as error:
            details = "; ".join(violation.description for violation in error.violations)
            raise SettingsError(f"defaults.{verb}: {text!r}: {error.message} {details}") from error
        if not found.HasField(verb):
            raise SettingsError(f"defaults.{verb}: {text!r} cannot do {verb}")
        return entry, found

    @staticmethod
    def _first(verb: Verb, entries: Iterable[Entry]) -> tuple[Entry, model_service_pb2.Model] | None:
        for entry in entries:
            for model in entry.models:
                if model.HasField(verb):
                    return entry, model
        return None

    @staticmethod
    def _named(name: str, entries: Iterable[Entry]) -> tuple[Entry, model_service_pb2.Model] | None:
        for entry in entries:
            for model in entry.models:
                if name == model.id or name in model.aliases:
                    return entry, model
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """A provider and one of its models, ready to serve; every receipt that comes out is complete."""

    entry: Entry
    model: model_service_pb2.Model
    tracer: Tracer
    prices: PriceTable

    async def generate_image(self, request: image_service_pb2.GenerateImageRequest) -> ImageResult:
        """Make pictures; see `pixvox.provider.ImageGenerator`."""
        provider = cast("ImageGenerator", self.entry.provider)
        return await self._image(request, provider.generate_image(request, self.model))

    async def edit_image(
        self, request: image_service_pb2.EditImageRequest, images: Sequence[Blob], mask: Blob | None
    ) -> ImageResult:
        """Edit pictures; see `pixvox.provider.ImageEditor`."""
        limits.check_edit_inputs(images, mask, self.model)
        provider = cast("ImageEditor", self.entry.provider)
        return await self._image(request, provider.edit_image(request, images, mask, self.model))

    async def clone_voice(self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording) -> MadeVoice:
        """Make a voice; see `pixvox.provider.VoiceCloner`."""
        provider = cast("VoiceCloner", self.entry.provider)
        return await self._voice(provider.clone_voice(request, recording, self.model))

    async def design_voice(self, request: voice_service_pb2.DesignVoiceRequest) -> MadeVoice:
        """Make a voice; see `pixvox.provider.VoiceDesigner`."""
        provider = cast("VoiceDesigner", self.entry.provider)
        return await self._voice(provider.design_voice(request, self.model))

    @contextlib.asynccontextmanager
    async def stream_speech(
        self, config: speech_service_pb2.SpeechConfig, text: AsyncIterator[SpeechInput]
    ) -> AsyncIterator[tuple[SpeechStream, AsyncIterator[SpeechEvent]]]:
        """Speak; see `pixvox.provider.SpeechStreamer`. The events are those of the stream with a completed receipt."""
        provider = cast("SpeechStreamer", self.entry.provider)
        started = time.monotonic()
        with self._operation("speech") as span:
            span.set_attribute(telemetry.GEN_AI_REQUEST_STREAM, True)
            async with (
                provider.stream_speech(config, text, self.model) as stream,
                contextlib.aclosing(self._events(stream, span, started)) as events,
            ):
                yield stream, events

    async def _events(self, stream: SpeechStream, span: Span, started: float) -> AsyncGenerator[SpeechEvent, None]:
        first = True
        async for event in stream.events:
            if first and isinstance(event, bytes):
                first = False
                span.set_attribute(telemetry.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, time.monotonic() - started)
            elif isinstance(event, media_pb2.Receipt):
                event.region = event.region or stream.region
                self._complete(event, span, time.monotonic() - started)
            yield event

    async def _image(
        self,
        request: image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest,
        work: Awaitable[ImageResult],
    ) -> ImageResult:
        started = time.monotonic()
        with self._operation("image") as span:
            if request.n > 1:
                span.set_attribute(telemetry.GEN_AI_REQUEST_CHOICE_COUNT, request.n)
            if request.HasField("seed"):
                span.set_attribute(telemetry.GEN_AI_REQUEST_SEED, request.seed)
            result = await work
            if not result.images:
                raise ProviderInternalError("The provider answered without a picture.", metadata=self._metadata())
            self._complete(result.receipt, span, time.monotonic() - started)
            return result

    async def _voice(self, work: Awaitable[MadeVoice]) -> MadeVoice:
        started = time.monotonic()
        with self._operation("speech") as span:
            made = await work
            self._complete(made.receipt, span, time.monotonic() - started)
            return made

    @contextlib.contextmanager
    def _operation(self, output: str) -> Iterator[Span]:
        call = telemetry.current_call()
        call.provider, call.model = self.entry.name, self.model.id
        with self.tracer.start_as_current_span(
            f"generate_content {self.model.id}",
            kind=SpanKind.CLIENT,
            attributes={
                telemetry.GEN_AI_OPERATION_NAME: "generate_content",
                telemetry.GEN_AI_OUTPUT_TYPE: output,
                telemetry.GEN_AI_PROVIDER_NAME: self.entry.name,
                telemetry.GEN_AI_REQUEST_MODEL: self.model.id,
                telemetry.PIXVOX_REQUEST_ID: call.request_id,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except PixvoxError as error:
                error.metadata = self._metadata() | error.metadata
                span.set_attribute(telemetry.ERROR_TYPE, reason_name(error.reason))
                span.set_status(StatusCode.ERROR, error.message)
                raise

    def _metadata(self) -> dict[str, str]:
        return {"provider": self.entry.name, "model": self.model.id}

    def _complete(self, receipt: media_pb2.Receipt, span: Span, seconds: float) -> None:
        receipt.request_id = telemetry.current_call().request_id
        receipt.provider = self.entry.name
        receipt.model = receipt.model or self.model.id
        if not receipt.HasField("cost"):
            cost = self.prices.cost(self.entry.kind, receipt.region, receipt.model, receipt.usage)
            receipt.cost.CopyFrom(cost)
        attempt = receipt.attempts.add(
            provider=receipt.provider, model=receipt.model, provider_request_id=receipt.provider_request_id
        )
        attempt.duration.FromMicroseconds(round(seconds * 1_000_000))
        span.set_attribute(telemetry.GEN_AI_RESPONSE_ID, receipt.provider_request_id)
        usage = receipt.usage
        if usage.HasField("images"):
            span.set_attribute(telemetry.PIXVOX_IMAGES, usage.images)
        if usage.HasField("characters"):
            span.set_attribute(telemetry.PIXVOX_CHARACTERS, usage.characters)
        if usage.HasField("audio_duration"):
            span.set_attribute(telemetry.PIXVOX_AUDIO_SECONDS, usage.audio_duration.ToMicroseconds() / 1_000_000)


def _joined(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    return ", ".join(listed[:MAX_NAMED]) + (", …" if len(listed) > MAX_NAMED else "")
