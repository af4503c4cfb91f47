"""Every metric of the service.

Names without the prefix `pixvox` follow the conventions for RPC, GenAI and HTTP. The values of attributes are bounded: models,
providers and routes come from the configuration, methods and reasons from the contract, callers are the first `MAX_CALLERS`.
"""

from __future__ import annotations

import platform
from decimal import Decimal
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

import pixvox
from pixvox.telemetry import names
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    Observe = Callable[[], Iterable[Observation]]

MAX_CALLERS = 50
OTHER = "other"


class Instruments:
    """What is counted and measured as it happens.

    Args:
        meter: Makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._callers: set[str] = set()
        counter, histogram = meter.create_counter, meter.create_histogram
        self.call_duration = histogram(
            "rpc.server.call.duration", unit="s", description="Duration of calls to this service."
        )
        self.calls_in_flight = meter.create_up_down_counter(
            "pixvox.calls.in_flight", unit="{call}", description="Calls that are running."
        )
        self.calls_failed = counter(
            "pixvox.calls.failed", unit="{call}", description="Calls that failed, whoever was at fault."
        )
        self.operation_duration = histogram(
            "gen_ai.client.operation.duration", unit="s", description="Duration of operations at providers."
        )
        self.operation_first_chunk = histogram(
            "gen_ai.client.operation.time_to_first_chunk", unit="s", description="Time to a provider's first audio."
        )
        self.request_duration = histogram(
            "http.client.request.duration", unit="s", description="Duration of requests to providers."
        )
        self.first_audio = histogram(
            "pixvox.speech.time_to_first_audio",
            unit="s",
            description="From the caller's first text to the first audio that is sent to it.",
        )
        self.real_time_factor = histogram(
            "pixvox.speech.real_time_factor",
            unit="1",
            description="Time that a synthesis took, over its audio's length.",
        )
        self.chunk_gap = histogram(
            "pixvox.speech.chunk_gap", unit="s", description="Time between two pieces of audio of one stream."
        )
        self.underrun = histogram(
            "pixvox.speech.underrun",
            unit="s",
            description="Silence in one stream for a listener who plays from the first audio on.",
        )
        self.attempts = counter("pixvox.attempts", unit="{attempt}", description="Attempts at targets.")
        self.fallbacks = counter(
            "pixvox.fallbacks", unit="{fallback}", description="Calls that left a target for the next."
        )
        self.queue_wait = histogram(
            "pixvox.target.queue.wait", unit="s", description="Time that calls waited for their turn at a target."
        )
        self.rollbacks = counter(
            "pixvox.route.rollbacks", unit="{rollback}", description="Canaries that were rolled back."
        )
        self.images = counter("pixvox.usage.images", unit="{image}", description="Pictures made.")
        self.characters = counter("pixvox.usage.characters", unit="{character}", description="Characters billed.")
        self.audio = counter("pixvox.usage.audio", unit="s", description="Audio made.")
        self.voices = counter("pixvox.usage.voices", unit="{voice}", description="Voices made.")
        self.cost = counter(
            "pixvox.cost", description="Cost by the price table, in the unit of the attribute currency."
        )
        self.unpriced = counter(
            "pixvox.calls.unpriced", unit="{call}", description="Billable calls for which no price is known."
        )
        self.loop_lag = histogram(
            "pixvox.event_loop.lag", unit="s", description="How late the event loop is for what is due."
        )
        self.config_reloads = counter(
            "pixvox.config.reloads", unit="{reload}", description="Readings of the configuration while it was running."
        )
        build = {"version": pixvox.__version__, "python": platform.python_version()}
        self.gauge("pixvox.build.info", "What runs here.", lambda: [Observation(1, build)])

    def gauge(self, name: str, description: str, observe: Observe, unit: str = "") -> None:
        """Have a value looked at whenever metrics are read."""

        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return observe()

        self._meter.create_observable_gauge(name, callbacks=[callback], unit=unit, description=description)

    def used(self, receipt: media_pb2.Receipt, caller: str) -> None:
        """Count what a call consumed and cost."""
        who = {names.PROVIDER: receipt.provider, names.MODEL: receipt.model, names.CALLER: self._named(caller)}
        usage = receipt.usage
        if usage.HasField("images"):
            self.images.add(usage.images, who)
        if usage.HasField("characters"):
            self.characters.add(usage.characters, who)
        if usage.HasField("audio_duration"):
            self.audio.add(usage.audio_duration.ToMicroseconds() / 1e6, who)
        if usage.HasField("voices"):
            self.voices.add(usage.voices, who)
        if receipt.cost.state == media_pb2.COST_STATE_PRICED:
            # A metric is a float; what is billed exactly stands in the receipt.
            self.cost.add(float(Decimal(receipt.cost.amount)), who | {names.CURRENCY: receipt.cost.currency})
        else:
            self.unpriced.add(1, who)

    def _named(self, caller: str) -> str:
        """Return a caller's name, or that of all others after so many."""
        if caller in self._callers:
            return caller
        if len(self._callers) >= MAX_CALLERS:
            return OTHER
        self._callers.add(caller)
        return caller
