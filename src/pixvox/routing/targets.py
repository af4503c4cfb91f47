"""One provider and one of its models at work for one call: the operation span, and receipts that are complete."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from opentelemetry.trace import SpanKind

from pixvox import limits, telemetry
from pixvox.errors import PixvoxError, ProviderInternalError
from pixvox.provider import MAX_REFERENCE_BYTES, ReferenceSpeaker
from pixvox.routing import operations
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from pixvox.prices import PriceTable
    from pixvox.provider import (
        Blob,
        ImageEditor,
        ImageGenerator,
        ImageResult,
        MadeVoice,
        Recording,
        Reference,
        SpeechEvent,
        SpeechInput,
        SpeechStream,
        SpeechStreamer,
        VoiceCloner,
        VoiceDesigner,
    )
    from pixvox.registry import Entry
    from pixvox.telemetry import Telemetry
    from pixvox.v1 import image_service_pb2, model_service_pb2, speech_service_pb2, voice_service_pb2

# Who waited less has not waited.
WORTH_TELLING_SECONDS = 0.005


@dataclass(slots=True)
class Target:
    """A provider and one of its models, ready to serve.

    Attributes:
        entry: The provider.
        model: One of its models.
        signals: Of the operation.
        prices: For receipts that the provider leaves without a cost.
        earlier: The attempts of the same call that failed before this one.
        route: That led here, empty without one.
        queued_seconds: How long the call has waited for its place here.
        entered: Whether the provider was asked; until then nothing was sent.
        first_audio_seconds: From the beginning to the first audio, None before it.
        output_bytes: Of the pictures or of the audio, as they came from the provider.
    """

    entry: Entry
    model: model_service_pb2.Model
    signals: Telemetry
    prices: PriceTable
    earlier: Sequence[media_pb2.Attempt] = ()
    route: str = ""
    queued_seconds: float = 0.0
    entered: bool = False
    first_audio_seconds: float | None = field(default=None)
    output_bytes: int = 0

    async def generate_image(self, request: image_service_pb2.GenerateImageRequest) -> ImageResult:
        """Make pictures; see `pixvox.provider.ImageGenerator`."""
        provider = cast("ImageGenerator", self.entry.provider)
        return await self._image(request, lambda: provider.generate_image(request, self.model))

    async def edit_image(
        self, request: image_service_pb2.EditImageRequest, images: Sequence[Blob], mask: Blob | None
    ) -> ImageResult:
        """Edit pictures; see `pixvox.provider.ImageEditor`."""
        limits.check_edit_inputs(images, mask, self.model)
        provider = cast("ImageEditor", self.entry.provider)
        return await self._image(request, lambda: provider.edit_image(request, images, mask, self.model))

    async def clone_voice(self, request: voice_service_pb2.CloneVoiceRequest, recording: Recording) -> MadeVoice:
        """Make a voice; see `pixvox.provider.VoiceCloner`."""
        provider = cast("VoiceCloner", self.entry.provider)
        return await self._voice((), lambda: provider.clone_voice(request, recording, self.model))

    async def design_voice(self, request: voice_service_pb2.DesignVoiceRequest) -> MadeVoice:
        """Make a voice; see `pixvox.provider.VoiceDesigner`."""
        provider = cast("VoiceDesigner", self.entry.provider)
        texts = (request.description, request.preview_text)
        return await self._voice(texts, lambda: provider.design_voice(request, self.model))

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        reference: Reference | None = None,
    ) -> AsyncIterator[tuple[SpeechStream, AsyncIterator[SpeechEvent]]]:
        """Speak; see `pixvox.provider.SpeechStreamer`, or `ReferenceSpeaker` if there is a reference.

        The events are those of the stream with a completed receipt.
        """
        started = time.monotonic()
        with self._operation("speech") as span:
            span.set_attribute(telemetry.GEN_AI_REQUEST_STREAM, True)
            if reference is not None:
                span.set_attribute(telemetry.PIXVOX_VOICE_BY_REFERENCE, True)
            await self._dispatching()
            async with (
                self._overheard(config, text, span) as passing,
                self._speaking(config, passing, reference) as stream,
                contextlib.aclosing(self._events(stream, span, started)) as events,
            ):
                yield stream, events

    def _speaking(
        self, config: speech_service_pb2.SpeechConfig, text: AsyncIterator[SpeechInput], reference: Reference | None
    ) -> AbstractAsyncContextManager[SpeechStream]:
        if reference is None:
            return cast("SpeechStreamer", self.entry.provider).stream_speech(config, text, self.model)
        provider = cast("ReferenceSpeaker", self.entry.provider)
        return provider.stream_speech_as(reference, config, text, self.model)

    async def _events(self, stream: SpeechStream, span: Span, started: float) -> AsyncGenerator[SpeechEvent, None]:
        async for event in stream.events:
            if isinstance(event, bytes):
                self.output_bytes += len(event)
            if self.first_audio_seconds is None and isinstance(event, bytes):
                self.first_audio_seconds = time.monotonic() - started
                span.set_attribute(telemetry.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, self.first_audio_seconds)
                self.signals.instruments.operation_first_chunk.record(self.first_audio_seconds, self._labels("speech"))
            elif isinstance(event, media_pb2.Receipt):
                event.region = event.region or stream.region
                self._complete(event, span, time.monotonic() - started)
            yield event

    async def _image(
        self,
        request: image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest,
        work: Callable[[], Awaitable[ImageResult]],
    ) -> ImageResult:
        started = time.monotonic()
        with self._operation("image") as span:
            operations.asked(span, request)
            if self.signals.captures_content:
                telemetry.put_content(span, request.prompt, request.negative_prompt)
            await self._dispatching()
            result = await work()
            if not result.images:
                raise ProviderInternalError("The provider answered without a picture.", metadata=self._metadata())
            self.output_bytes = sum(len(image.data) for image in result.images)
            self._complete(result.receipt, span, time.monotonic() - started)
            return result

    async def _voice(self, texts: Sequence[str], work: Callable[[], Awaitable[MadeVoice]]) -> MadeVoice:
        started = time.monotonic()
        with self._operation("speech") as span:
            if self.signals.captures_content:
                telemetry.put_content(span, *texts)
            await self._dispatching()
            made = await work()
            self._check_reference(made)
            self.output_bytes = len(made.preview)
            self._complete(made.receipt, span, time.monotonic() - started)
            return made

    def _check_reference(self, made: MadeVoice) -> None:
        """Refuse what the catalogue could not keep, or what nobody could speak from."""
        if made.reference is None:
            return
        size = len(made.reference.data)
        if not isinstance(self.entry.provider, ReferenceSpeaker):
            what = "a reference to be kept, and speaks from none"
        elif not 0 < size <= MAX_REFERENCE_BYTES:
            what = f"a reference of {size} bytes to be kept; allowed: 1..{MAX_REFERENCE_BYTES}"
        else:
            return
        raise ProviderInternalError(f"The provider gave {what}.", metadata=self._metadata())

    @contextlib.asynccontextmanager
    async def _overheard(
        self, config: speech_service_pb2.SpeechConfig, text: AsyncIterator[SpeechInput], span: Span
    ) -> AsyncIterator[AsyncIterator[SpeechInput]]:
        """Give the text; at the end of the block what was said of it is on the span, if the operator wants that."""
        if not self.signals.captures_content:
            yield text
            return
        overheard = telemetry.Overheard(text)
        try:
            yield overheard
        finally:
            telemetry.put_content(span, overheard.said, instructions=config.instructions)

    async def _dispatching(self) -> None:
        """Have it noted, where somebody cares, that from here on the provider may do billable work."""
        note = telemetry.current_call().before_dispatch
        if note is not None:
            await note()
        self.entered = True

    @contextlib.contextmanager
    def _operation(self, output: str) -> Iterator[Span]:
        call = telemetry.current_call()
        call.provider, call.model = self.entry.name, self.model.id
        labels = self._labels(output)
        started = time.monotonic()
        with self.signals.tracer.start_as_current_span(
            f"generate_content {self.model.id}",
            kind=SpanKind.CLIENT,
            attributes={**labels, **self._circumstances(call.request_id)},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                if isinstance(error, PixvoxError):
                    error.metadata = self._metadata() | error.metadata
                labels[telemetry.ERROR_TYPE] = operations.failed(span, error)
                raise
            finally:
                if self.output_bytes:
                    span.set_attribute(telemetry.PIXVOX_OUTPUT_BYTES, self.output_bytes)
                self.signals.instruments.operation_duration.record(time.monotonic() - started, labels)

    def _circumstances(self, request_id: str) -> dict[str, AttributeValue]:
        """Return what of the call the span says, beside what metrics say as well."""
        circumstances: dict[str, AttributeValue] = {
            telemetry.PIXVOX_REQUEST_ID: request_id,
            telemetry.PIXVOX_ATTEMPT_NUMBER: len(self.earlier) + 1,
        }
        if self.route:
            circumstances[telemetry.PIXVOX_ROUTE] = self.route
        if self.entry.region:
            circumstances[telemetry.PIXVOX_REGION] = self.entry.region
        if self.queued_seconds >= WORTH_TELLING_SECONDS:
            circumstances[telemetry.PIXVOX_QUEUE_WAIT] = self.queued_seconds
        if self.earlier:
            circumstances[telemetry.PIXVOX_EARLIER_ATTEMPTS] = operations.earlier(self.earlier)
        return circumstances

    def _labels(self, output: str) -> dict[str, str | int]:
        return {
            telemetry.GEN_AI_OPERATION_NAME: "generate_content",
            telemetry.GEN_AI_OUTPUT_TYPE: output,
            telemetry.GEN_AI_PROVIDER_NAME: self.entry.name,
            telemetry.GEN_AI_REQUEST_MODEL: self.model.id,
        }

    def _metadata(self) -> dict[str, str]:
        return {"provider": self.entry.name, "model": self.model.id}

    def _complete(self, receipt: media_pb2.Receipt, span: Span, seconds: float) -> None:
        receipt.request_id = telemetry.current_call().request_id
        receipt.provider = self.entry.name
        receipt.model = receipt.model or self.model.id
        if not receipt.HasField("cost"):
            cost = self.prices.cost(self.entry.kind, receipt.region, receipt.model, receipt.usage)
            receipt.cost.CopyFrom(cost)
        receipt.attempts.extend(self.earlier)
        attempt = receipt.attempts.add(
            provider=receipt.provider, model=receipt.model, provider_request_id=receipt.provider_request_id
        )
        attempt.duration.FromMicroseconds(round(seconds * 1_000_000))
        self.signals.instruments.used(receipt, telemetry.current_call().caller)
        operations.billed(span, receipt)
