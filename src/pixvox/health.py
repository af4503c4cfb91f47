"""grpc.health.v1 for the whole service, each proto service, and, as `providers/NAME`, each provider."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import grpc

SERVICE_NAME = health.SERVICE_NAME
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PROVIDER = "providers/"
# Under which answers tell which configuration gave them.
DIGEST_KEY = "pixvox-config-digest"


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]  # grpcio-health-checking has no types
    """The library's servicer, whose other watchers of a service go on when one of them leaves.

    The library (1.85.0) forgets the condition that all of them wait for, and none would learn of a drain.
    """

    def __init__(self, digest: Callable[[], str]) -> None:
        """Serve nothing yet; `digest` goes into the trailers of every check."""
        super().__init__()
        self._server_watchers = _Conditions(self._server_status)
        self._digest = digest

    async def Check(  # noqa: N802  # its name in the proto
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse | None:
        """Tell how a service is."""
        context.set_trailing_metadata(((DIGEST_KEY, self._digest()),))
        return await super().Check(request, context)

    async def set_providers(self, ready: Mapping[str, bool]) -> None:
        """Tell of these providers, by name, and of no others; their watchers learn that they are gone."""
        gone = {name for name in self._server_status if name.startswith(PROVIDER)} - {
            f"{PROVIDER}{one}" for one in ready
        }
        for name in gone:
            await self.set(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            self._server_status.pop(name, None)
        for name, is_ready in ready.items():
            await self.set(f"{PROVIDER}{name}", SERVING if is_ready else NOT_SERVING)


class _Conditions(collections.defaultdict[str, asyncio.Condition]):
    """Keeps the conditions of services that there are; those of other names go with their watcher, as before."""

    def __init__(self, services: dict[str, int]) -> None:
        super().__init__(asyncio.Condition)
        self._services = services

    def __delitem__(self, name: str) -> None:
        if name not in self._services:
            super().__delitem__(name)
