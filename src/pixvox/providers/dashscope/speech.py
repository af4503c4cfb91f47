"""Speech by the vendor's models: what a request says in the vendor's words, and the lane that its model has.

- The realtime lane speaks while the text is still arriving, and takes rate, pitch and volume.
- The HTTP lanes speak a text that is complete: all of it, or what is before a flush.

The vendor is asked for 16-bit PCM at 24 kHz, whatever the caller wants, so that pieces of several answers can follow one
another, and every model has every encoding.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Protocol

from google.protobuf import json_format

from pixvox import telemetry
from pixvox.concurrency import alongside
from pixvox.errors import InvalidRequestError, ProviderInternalError, Violation
from pixvox.languages import language_name
from pixvox.provider import SpeechStream
from pixvox.providers.dashscope.realtime_sessions import Sessions
from pixvox.providers.dashscope.realtime_speech import RealtimeSpeech
from pixvox.providers.dashscope.speech_http import Downloaded, HttpSpeech, Speaker, Streamed
from pixvox.providers.dashscope.speech_models import DEFAULT_VOICE, SAMPLE_RATE_HERTZ, Lane, lane_of, speech_models
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from pixvox.provider import SpeechEvent, SpeechInput
    from pixvox.providers.dashscope.account import Account
    from pixvox.providers.dashscope.speech_models import HttpLane
    from pixvox.v1 import model_service_pb2, speech_service_pb2

KIND = "dashscope"

# Members of the vendor's requests that the service sets.
_OWN_MEMBERS = frozenset(
    {
        *("text", "voice", "language_type", "instructions", "mode", "response_format", "sample_rate", "speech_rate"),
        *("pitch_rate", "volume"),
    }
)
# Of a call with many sessions the first ids are enough to find the rest.
_MOST_IDS = 8


class _Call(Protocol):
    """What both kinds of lane tell when everything was spoken."""

    ids: list[str]

    @property
    def characters(self) -> int: ...

    @property
    def samples(self) -> int: ...


class DashScopeSpeech:
    """The verb of `pixvox.provider.SpeechStreamer`.

    Args:
        account: With the vendor.
        lane: By which models without a WebSocket are reached.
        prewarm: How many realtime sessions of each model that is in use are kept open for the next calls.
        max_text_characters: Of one call, where that is less than what a model takes; 0 leaves it to the model.
    """

    def __init__(
        self, account: Account, *, lane: HttpLane = "sse", prewarm: int = 0, max_text_characters: int = 0
    ) -> None:
        self._account = account
        self._lane = lane
        self._max_text_characters = max_text_characters
        self._sessions = Sessions(account.sockets, account.region, warm=prewarm)

    @property
    def reused_sessions(self) -> int:
        """How many calls got a realtime session that had been open before them."""
        return self._sessions.reused

    def models(self) -> list[model_service_pb2.Model]:
        """Return the capability table; the first model is the default."""
        return speech_models(self._max_text_characters, self._lane)

    @contextlib.asynccontextmanager
    async def stream_speech(
        self,
        config: speech_service_pb2.SpeechConfig,
        text: AsyncIterator[SpeechInput],
        model: model_service_pb2.Model,
    ) -> AsyncIterator[SpeechStream]:
        """Speak `text`; see `pixvox.provider.SpeechStreamer`. A realtime session is open when the block is entered.

        Raises:
            InvalidRequestError: There is no voice, or the provider options are wrong.
            PixvoxError: The vendor refused, failed or broke off; or what `text` raises.
        """
        self._account.check_ready()
        voice = _voice(config, model)
        manner = _manner(config, voice)
        lane = lane_of(model.id, self._lane)
        telemetry.took_lane(lane.name.lower())
        realtime = lane is Lane.REALTIME
        running = self._realtime(manner, text, model.id) if realtime else self._http(manner, text, model.id)
        async with running as (call, events), contextlib.aclosing(self._told(config, call, events)) as told:
            yield SpeechStream(voice, SAMPLE_RATE_HERTZ, told, self._account.region)

    async def aclose(self) -> None:
        """Close the sessions that no call has."""
        await self._sessions.aclose()

    @contextlib.asynccontextmanager
    async def _realtime(
        self, manner: Mapping[str, object], text: AsyncIterator[SpeechInput], model: str
    ) -> AsyncIterator[tuple[_Call, AsyncIterator[SpeechEvent]]]:
        private = [str(manner.get("instructions", "")), ""]
        speech = RealtimeSpeech(partial(self._sessions.begun, model, manner, private), private)
        async with contextlib.aclosing(speech):
            await speech.open()
            async with (
                alongside(speech.write()),
                alongside(speech.read(text)),
                contextlib.aclosing(speech.events()) as events,
            ):
                yield speech, events

    @contextlib.asynccontextmanager
    async def _http(
        self, manner: Mapping[str, object], text: AsyncIterator[SpeechInput], model: str
    ) -> AsyncIterator[tuple[_Call, AsyncIterator[SpeechEvent]]]:
        account = self._account
        speaker = Speaker(account.http, account.results, account.region, model, manner)
        utterance = Streamed if lane_of(model, self._lane) is Lane.SSE else Downloaded
        speech = HttpSpeech(partial(utterance, speaker))
        async with contextlib.aclosing(speech), contextlib.aclosing(speech.events(text)) as events:
            yield speech, events

    async def _told(
        self, config: speech_service_pb2.SpeechConfig, call: _Call, events: AsyncIterator[SpeechEvent]
    ) -> AsyncGenerator[SpeechEvent, None]:
        """Give the events, what the caller has to know before them, and the receipt behind them."""
        for warning in _warnings(config):
            yield warning
        async for event in events:
            yield event
        ids = ",".join(call.ids[:_MOST_IDS])
        if call.characters and not call.samples:
            raise ProviderInternalError(
                "The provider says that it has spoken the text, and gave no audio.",
                metadata={"provider_request_id": ids, "replay": "committed"},
            )
        receipt = media_pb2.Receipt(region=self._account.region, provider_request_id=ids)
        receipt.usage.characters = call.characters
        receipt.usage.audio_duration.FromNanoseconds(call.samples * 1_000_000_000 // SAMPLE_RATE_HERTZ)
        yield receipt


def _voice(config: speech_service_pb2.SpeechConfig, model: model_service_pb2.Model) -> str:
    if config.voice:
        return config.voice
    if model.stream_speech.needs_made_voice:
        raise InvalidRequestError(
            f"{model.id} speaks only with voices that were made for it.",
            Violation("config.voice", "is empty; name a voice that was made for this model"),
        )
    return DEFAULT_VOICE


def _manner(config: speech_service_pb2.SpeechConfig, voice: str) -> dict[str, object]:
    """Return how to speak, in the vendor's words; what the caller leaves open is left to the vendor."""
    manner: dict[str, object] = {"voice": voice, "language_type": language_name(config.language_code)}
    if config.HasField("speaking_rate"):
        manner["speech_rate"] = config.speaking_rate
    if config.HasField("pitch"):
        manner["pitch_rate"] = config.pitch
    if config.HasField("volume"):
        manner["volume"] = round(config.volume)
    if config.instructions:
        manner["instructions"] = config.instructions
    return manner | _options(config)


def _options(config: speech_service_pb2.SpeechConfig) -> dict[str, object]:
    """Return the members that the caller gives under this kind of provider, such as ``optimize_instructions``."""
    path = f"config.provider_options.{KIND}"
    given = json_format.MessageToDict(config.provider_options).get(KIND, {})
    if not isinstance(given, dict):
        raise _invalid(path, "has to be an object of the vendor's parameters")
    if clashes := sorted(_OWN_MEMBERS.intersection(given)):
        raise _invalid(f"{path}.{clashes[0]}", "is set by the service; use the field of the config")
    # A Struct has no whole numbers, and the vendor takes no other for some of its parameters.
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in given.items()
    }


def _invalid(path: str, description: str) -> InvalidRequestError:
    return InvalidRequestError("The provider's options are not as documented.", Violation(path, description))


def _warnings(config: speech_service_pb2.SpeechConfig) -> list[media_pb2.Warning]:
    if not config.HasField("volume") or config.volume.is_integer():
        return []
    return [
        media_pb2.Warning(
            reason=media_pb2.WARNING_REASON_VALUE_ADJUSTED,
            field="config.volume",
            message=f"The provider takes whole numbers; {round(config.volume)} was used.",
        )
    ]
