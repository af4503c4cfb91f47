"""What stands on the span of an operation: what was asked of whom, what it took, and how it failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.trace import StatusCode

from pixvox import telemetry
from pixvox.errors import PixvoxError, reason_name
from pixvox.v1 import media_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from pixvox.v1 import image_service_pb2

# What errors tell of the provider, by the key of their metadata.
_OF_METADATA = {
    "provider_request_id": telemetry.PIXVOX_PROVIDER_REQUEST_ID,
    "provider_task_id": telemetry.PIXVOX_PROVIDER_TASK_ID,
    "provider_code": telemetry.PIXVOX_PROVIDER_CODE,
    "replay": telemetry.PIXVOX_REPLAY_CLASS,
}


def earlier(attempts: Sequence[media_pb2.Attempt]) -> list[str]:
    """Return why the call has come here: each target that was tried or passed over before, and the reason."""
    return [f"{one.provider}/{one.model} {reason_name(one.reason)}" for one in attempts]


def asked(span: Span, request: image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest) -> None:
    """Put on a span what pictures were asked for; what is to be seen on them is not told."""
    if request.n > 1:
        span.set_attribute(telemetry.GEN_AI_REQUEST_CHOICE_COUNT, request.n)
    if request.HasField("seed"):
        span.set_attribute(telemetry.GEN_AI_REQUEST_SEED, request.seed)
    if request.HasField("size"):
        span.set_attribute(telemetry.GEN_AI_REQUEST_IMAGE_WIDTH, request.size.width)
        span.set_attribute(telemetry.GEN_AI_REQUEST_IMAGE_HEIGHT, request.size.height)


def billed(span: Span, receipt: media_pb2.Receipt) -> None:
    """Put on a span what a receipt says."""
    if not span.is_recording():
        return
    usage, cost = receipt.usage, receipt.cost
    told: dict[str, AttributeValue] = {
        telemetry.GEN_AI_RESPONSE_MODEL: receipt.model,
        telemetry.PIXVOX_COST_STATE: media_pb2.CostState.Name(cost.state),
    }
    if receipt.provider_request_id:
        told[telemetry.GEN_AI_RESPONSE_ID] = receipt.provider_request_id
    if cost.amount:
        told[telemetry.PIXVOX_COST_AMOUNT] = cost.amount
        told[telemetry.PIXVOX_COST_CURRENCY] = cost.currency
        told[telemetry.PIXVOX_PRICE_TABLE] = cost.price_table
    if usage.HasField("images"):
        told[telemetry.PIXVOX_IMAGES] = usage.images
    if usage.HasField("characters"):
        told[telemetry.PIXVOX_CHARACTERS] = usage.characters
    if usage.HasField("audio_duration"):
        told[telemetry.PIXVOX_AUDIO_SECONDS] = usage.audio_duration.ToMicroseconds() / 1_000_000
    if usage.HasField("voices"):
        told[telemetry.PIXVOX_VOICES] = usage.voices
    # At once: each attribute by itself takes the span's lock.
    span.set_attributes(told)


def failed(span: Span, error: BaseException) -> str:
    """Put on a span how an operation ended that did not succeed, and return the type of its error.

    No message is told: those of exceptions that nobody foresaw may hold anything.
    """
    if isinstance(error, PixvoxError):
        kind = reason_name(error.reason)
        told = {name: error.metadata.get(key, "") for key, name in _OF_METADATA.items()}
        span.set_attributes({name: value for name, value in told.items() if value})
    elif isinstance(error, asyncio.CancelledError):
        kind = telemetry.cancellation()
    else:
        kind = type(error).__qualname__
    span.set_attribute(telemetry.ERROR_TYPE, kind)
    # That the caller has left is nobody's error here.
    if kind != telemetry.CANCELLED:
        span.set_status(StatusCode.ERROR, kind)
    return kind
