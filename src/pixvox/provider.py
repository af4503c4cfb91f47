"""The provider specification: one protocol per verb, and what goes in and comes out.

A provider is an object with `models` and with the verbs that it has; it inherits from nothing. Request messages are the
domain model: a verb gets the caller's message, already checked against the model's capabilities, and reads the fields it
knows; a field that is unset means the provider's own default. Media travel beside the message as `Blob`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pixvox.v1 import media_pb2, speech_service_pb2

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from pixvox.v1 import image_service_pb2, model_service_pb2, voice_service_pb2

# Of `Reference.data`; a capability table whose clones are references allows recordings of no more.
MAX_REFERENCE_BYTES = 10 * 1024 * 1024

SpeechInput = str | speech_service_pb2.Flush
SpeechEvent = bytes | speech_service_pb2.Flushed | media_pb2.Warning | media_pb2.Receipt


@dataclass(frozen=True, slots=True)
class Blob:
    """One picture on its way in or out.

    Attributes:
        mime_type: Of the file, for example ``image/png``.
        data: The encoded file. Empty if only `uri` is known, which happens on the way out alone.
        uri: The provider's temporary address. Empty if `data` is set.
        width: In pixels, 0 if unknown.
        height: In pixels, 0 if unknown.
        seed: That made the picture, or None.
        expire_time: When `uri` stops working; aware of its zone.
    """

    mime_type: str
    data: bytes = b""
    uri: str = ""
    width: int = 0
    height: int = 0
    seed: int | None = None
    expire_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What an image verb gives.

    Attributes:
        images: At least one.
        receipt: With `region`, `provider_request_id`, `usage` and `cost` as far as the provider knows them; the router
            fills in the rest.
        warnings: What was done otherwise than asked.
        effective_size: (width, height) that was asked of the provider, or None where the provider chose.
    """

    images: tuple[Blob, ...]
    receipt: media_pb2.Receipt
    warnings: tuple[media_pb2.Warning, ...] = ()
    effective_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SpeechStream:
    """A running synthesis.

    Attributes:
        voice: The id of the voice that speaks.
        sample_rate_hertz: Of the audio.
        events: In order: bytes are whole 16-bit signed little-endian mono samples; a `Flushed` follows the last audio of
            the text before its flush; the `Receipt` comes last, and only when all the text was spoken. Iterating raises
            `ProviderError` if the synthesis fails.
        region: Of the provider, empty if it has none.
    """

    voice: str
    sample_rate_hertz: int
    events: AsyncIterator[SpeechEvent]
    region: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording to clone, which is decodable and within the model's limits.

    Attributes:
        data: The file.
        mime_type: Of the file: ``audio/wav``, ``audio/mpeg`` or ``audio/mp4``.
        seconds: Its length.
    """

    data: bytes
    mime_type: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Reference:
    """How a voice sounds, for a provider that keeps no voices: it is given along whenever the voice speaks.

    Attributes:
        data: The file, of at most `MAX_REFERENCE_BYTES`.
        mime_type: Of the file, one of those of `Recording`.
        transcript: What is said in it; empty if that is not known.
        language_code: BCP-47 tag of what is said; empty if that is not known.
    """

    # Is the voice of a person, and what that person has said: no text that is made of a reference shows it.
    data: bytes = field(repr=False)
    mime_type: str
    transcript: str = field(default="", repr=False)
    language_code: str = ""


@dataclass(frozen=True, slots=True)
class MadeVoice:
    """What a voice verb gives.

    Attributes:
        provider_voice_id: What the provider calls the voice; no two voices have the same.
        receipt: With `region`, `provider_request_id`, `usage` and `cost` as far as the provider knows them.
        preview: 16-bit signed little-endian mono samples of a designed voice's preview; empty for a clone.
        preview_rate_hertz: Of the preview, 0 for a clone.
        warnings: What was done otherwise than asked.
        reference: For the catalogue to keep with the voice, from a provider that is a `ReferenceSpeaker`; or None.
    """

    provider_voice_id: str
    receipt: media_pb2.Receipt
    preview: bytes = b""
    preview_rate_hertz: int = 0
    warnings: tuple[media_pb2.Warning, ...] = ()
    reference: Reference | None = None


class Provider(Protocol):
    """What every provider has; the verbs are separate protocols."""

    def models(self) -> Sequence[model_service_pb2.Model]:
        """Return the capability table, each model with the verbs it has; `Model.provider` is left empty."""
        ...

    async def aclose(self) -> None:
        """Release connections, threads and files. Is called once, after the last call has ended."""
        ...


@runtime_checkable
class Located(Protocol):
    """Has one region, which its receipts name, too."""

    @property
    def region(self) -> str:
        """The region's name, as the settings say it."""
        ...


@runtime_checkable
class Unready(Protocol):
    """Can tell that its calls fail at once, for example because it has no key."""

    def unready(self) -> str:
        """Return the reason, a sentence for the operator; empty if it is ready."""
        ...


class Warmth(enum.Enum):
    """Whether a provider can begin at once."""

    WARM = enum.auto()
    STARTING = enum.auto()
    COLD = enum.auto()


@runtime_checkable
class Warmable(Protocol):
    """Sleeps when it is not used, and takes a while to start."""

    def warmth(self) -> Warmth:
        """Return how it is now, by what is known without asking."""
        ...

    async def warm_up(self) -> None:
        """Start it, and return when it is warm; several at once start it once. Nothing is billed but its own time.

        Raises:
            ProviderError: It could not be started.
        """
        ...


@runtime_checkable
class ImageGenerator(Protocol):
    """Makes pictures from a prompt."""

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Make `request.n` pictures with `model`, one of `models()`.

        Raises:
            ProviderError: The pictures could not be made.
        """
        ...


@runtime_checkable
class ImageEditor(Protocol):
    """Changes pictures as a prompt says."""

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Edit `images`, which are decodable and within the model's limits.

        Raises:
            ProviderError: The result could not be made.
        """
        ...


@runtime_checkable
class SpeechStreamer(Protocol):
    """Speaks text while it arrives."""

    def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak `text`, whose end is the end of the synthesis.

        Entering the block opens the upstream; leaving it, for whatever reason, closes it and ends every task. The events
        are read at the caller's pace: a slow reader slows the synthesis rather than filling memory.

        Raises:
            ProviderError: The synthesis could not be started, or broke off.
        """
        ...


@runtime_checkable
class ReferenceSpeaker(Protocol):
    """Speaks with voices that the catalogue keeps for it."""

    def stream_speech_as(
        self,
        reference: Reference,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AbstractAsyncContextManager[SpeechStream]:
        """Speak with the voice of `reference`, whose `MadeVoice.provider_voice_id` is `config.voice`.

        Everything else is as of `SpeechStreamer.stream_speech`.

        Raises:
            ProviderError: The synthesis could not be started, or broke off.
        """
        ...


@runtime_checkable
class VoiceCloner(Protocol):
    """Makes voices from recordings."""

    async def clone_voice(
        self,
        request: voice_service_pb2.CloneVoiceRequest,
        recording: Recording,
        model: model_service_pb2.Model,
    ) -> MadeVoice:
        """Make a voice that speaks with `model`.

        Raises:
            ProviderError: The voice could not be made, or it is not known whether it was.
        """
        ...


@runtime_checkable
class VoiceDesigner(Protocol):
    """Makes voices from descriptions."""

    async def design_voice(
        self, request: voice_service_pb2.DesignVoiceRequest, model: model_service_pb2.Model
    ) -> MadeVoice:
        """Make a voice that speaks with `model`, and its preview, in one billable call.

        Raises:
            ProviderError: The voice could not be made, or it is not known whether it was.
        """
        ...


@runtime_checkable
class VoiceDeleter(Protocol):
    """Deletes voices that it made."""

    async def delete_voice(self, voice: voice_service_pb2.Voice) -> None:
        """Delete the voice for good; one that the provider no longer has is no error.

        Raises:
            ProviderError: The voice could not be deleted.
        """
        ...


@runtime_checkable
class VoiceFinder(Protocol):
    """A provider that can tell which of its voices came from one making."""

    async def find_voices(self, voice: voice_service_pb2.Voice) -> Sequence[MadeVoice]:
        """Return what the making of `voice` has made, by its kind, model, name and request id; without a preview. Free.

        Raises:
            ProviderError: It could not be asked.
        """
        ...
