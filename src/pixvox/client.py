"""How a program reaches a pixvox service: channels with the right options, and failures that can be read.

    with pixvox.client.connect() as channel:
        images = pixvox.v1.image_service_pb2_grpc.ImageServiceStub(channel)
        try:
            answer = images.GenerateImage(GenerateImageRequest(prompt="a red bicycle"), timeout=120)
        except grpc.RpcError as error:
            print(pixvox.client.failure(error))

Needs nothing but grpcio and protobuf. The meaning of the options is in gRPC's
include/grpc/impl/channel_arg_names.h and https://github.com/grpc/grpc/blob/master/doc/service_config.md.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from pixvox.failures import Failure, FieldViolation, failure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEFAULT_TARGET",
    "MAX_REQUEST_BYTES",
    "MAX_RESPONSE_BYTES",
    "Failure",
    "FieldViolation",
    "channel_options",
    "connect",
    "connect_aio",
    "failure",
]

DEFAULT_TARGET = "127.0.0.1:50051"
# What the service takes and gives by default.
MAX_REQUEST_BYTES = 48 * 1024 * 1024
MAX_RESPONSE_BYTES = 64 * 1024 * 1024

# Calls that cost nothing may be repeated. The others never: a provider may have begun the work.
_FREE_CALLS = ({"service": "pixvox.v1.ModelService"}, {"service": "grpc.health.v1.Health", "method": "Check"})


def connect(
    target: str = DEFAULT_TARGET,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    max_request_bytes: int = MAX_REQUEST_BYTES,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    options: Sequence[tuple[str, object]] = (),
) -> grpc.Channel:
    """Return a channel for blocking code; connects with the first call, closes as a context manager.

    Args:
        target: HOST:PORT or any other name that gRPC resolves. Several addresses of one name share the calls.
        credentials: For TLS. None speaks plain text.
        max_request_bytes: Largest message to send.
        max_response_bytes: Largest message to receive.
        options: More channel options, which win over the ones made here.
    """
    chosen = channel_options(target, max_request_bytes, max_response_bytes, options)
    if credentials is None:
        return grpc.insecure_channel(target, options=chosen)
    return grpc.secure_channel(target, credentials, options=chosen)


def connect_aio(
    target: str = DEFAULT_TARGET,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    max_request_bytes: int = MAX_REQUEST_BYTES,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    options: Sequence[tuple[str, object]] = (),
) -> grpc.aio.Channel:
    """Return a channel for asyncio; everything else is as in `connect`."""
    chosen = channel_options(target, max_request_bytes, max_response_bytes, options)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=chosen)
    return grpc.aio.secure_channel(target, credentials, options=chosen)


def channel_options(
    target: str = DEFAULT_TARGET,
    max_request_bytes: int = MAX_REQUEST_BYTES,
    max_response_bytes: int = MAX_RESPONSE_BYTES,
    options: Sequence[tuple[str, object]] = (),
) -> list[tuple[str, object]]:
    """Return the gRPC channel options, for programs that make their channel themselves."""
    chosen: dict[str, object] = {
        "grpc.max_send_message_length": max_request_bytes,
        "grpc.max_receive_message_length": max_response_bytes,
        # A picture takes minutes in which nothing is sent; without pings a load balancer drops the connection, and a
        # dead peer is noticed only at the deadline. The service permits a ping every 10 seconds.
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 0,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.enable_retries": 1,
        "grpc.service_config": json.dumps(_service_config()),
    }
    if _is_loopback(target):
        # gRPC would otherwise send even these through $http_proxy, which cannot reach them.
        chosen["grpc.enable_http_proxy"] = 0
    return list((chosen | dict(options)).items())


def _service_config() -> dict[str, object]:
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": list(_FREE_CALLS),
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }


def _is_loopback(target: str) -> bool:
    host = target.rpartition(":")[0].rpartition("/")[2].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
