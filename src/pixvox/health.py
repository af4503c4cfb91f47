"""grpc.health.v1 for the whole service, each proto service, and, as `providers/NAME`, each provider."""

from __future__ import annotations

import asyncio
import collections

from grpc_health.v1 import health, health_pb2

SERVICE_NAME = health.SERVICE_NAME
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]  # grpcio-health-checking has no types
    """The library's servicer, whose other watchers of a service go on when one of them leaves.

    The library (1.85.0) forgets the condition that all of them wait for, and none would learn of a drain.
    """

    def __init__(self) -> None:
        super().__init__()
        self._server_watchers = _Conditions(self._server_status)


class _Conditions(collections.defaultdict[str, asyncio.Condition]):
    """Keeps the conditions of services that there are; those of other names go with their watcher, as before."""

    def __init__(self, services: dict[str, int]) -> None:
        super().__init__(asyncio.Condition)
        self._services = services

    def __delitem__(self, name: str) -> None:
        if name not in self._services:
            super().__delitem__(name)
