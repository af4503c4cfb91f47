"""A service that asks the emulated DashScope, and calls that come more than once."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from calling import Stubs, settings_for_tests, stubs_of
from emulated import failure_of, provider_table
from pixvox import client, server
from pixvox.settings import IdempotencySettings, RouteSettings, RouteTargetSettings, TargetSettings
from pixvox.v1 import media_pb2, voice_service_pb2_grpc
from pixvox.v1.image_service_pb2 import GenerateImageRequest, GenerateImageResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from google.protobuf.message import Message

    from pixvox.testing.dashscope import DashScopeEmulator

INLINE = media_pb2.DELIVERY_INLINE


def picture(request_id: str = "mine", **fields: object) -> GenerateImageRequest:
    """A request whose answer differs from that of any other call: it names the provider's id of the call."""
    return GenerateImageRequest(**{"prompt": "a red bicycle", "delivery": INLINE} | fields, request_id=request_id)


@dataclass
class Place:
    """A running service and the vendor behind it."""

    vendor: DashScopeEmulator
    service: server.Running
    stubs: Stubs

    @property
    def voices(self) -> voice_service_pb2_grpc.VoiceServiceStub:
        return voice_service_pb2_grpc.VoiceServiceStub(self.stubs.channel)

    async def failure(self, request: Message) -> client.Failure:
        """What the making of a picture fails with."""
        return await failure_of(self.stubs.images.GenerateImage(request))

    def raw(self, request: Message) -> Awaitable[bytes]:
        """The answer to the making of a picture as it comes over the wire."""
        path = "/pixvox.v1.ImageService/GenerateImage"
        return self.stubs.channel.unary_unary(path, type(request).SerializeToString, bytes)(request)

    async def same(self, request: Message, times: int) -> GenerateImageResponse:
        """What so many identical calls at once are answered, which is the same for all."""
        answers = await asyncio.gather(*(self.raw(request) for _ in range(times)))
        assert len(set(answers)) == 1
        return GenerateImageResponse.FromString(answers[0])


@contextlib.asynccontextmanager
async def place_of(
    vendor: DashScopeEmulator, url: str = "", *, shared: bool = False, **idempotency: object
) -> AsyncIterator[Place]:
    """A service on the database at `url`, or on one of its own; the other fields are settings of idempotency.

    Pictures are made by way of a route, which shares identical calls if told so.
    """
    route = RouteSettings(verbs=("generate_image",), targets=(RouteTargetSettings(to="qwen"),), single_flight=shared)
    settings = settings_for_tests(**({"database__url": url} if url else {}))
    settings = msgspec.structs.replace(
        settings,
        providers={"qwen": provider_table(vendor)},
        routes={"pictures": route},
        defaults={"generate_image": "pictures"},
        idempotency=IdempotencySettings(**idempotency),
        target_defaults=TargetSettings(requests_per_minute=0, max_in_flight=0, failures=0, error_rate=0),
    )
    async with server.running(settings) as service, stubs_of(service.target) as stubs:
        yield Place(vendor, service, stubs)
