"""The HTTP clients of a service, which are loaded and made when the first of them is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.upstream.downloads import Downloads, PublicAddresses, public_tls
from pixvox.upstream.exchange import Connections

if TYPE_CHECKING:
    import ssl

    from pixvox.upstream.addresses import AddressRules
    from pixvox.upstream.downloads import Resolver


class Clients:
    """All clients together; have to be made while the event loop runs.

    Args:
        rules: Which addresses callers may name.
        seconds: The time that one download may take.
        resolver: Finds IP addresses of hosts that others name; unset means the system's.
        tls: Whom to trust.

    Attributes:
        downloads: For what callers name.
        connections: To vendors' own addresses, which an operator chose.
    """

    def __init__(self, rules: AddressRules, *, seconds: float, resolver: Resolver | None, tls: ssl.SSLContext) -> None:
        self.downloads = Downloads(rules, seconds=seconds, resolver=resolver, tls=tls)
        self.connections = Connections(tls)
        self._guarded: dict[AddressRules, Connections] = {}
        self._resolver = resolver
        self._tls = tls

    def guarded(self, rules: AddressRules) -> Connections:
        """Return connections that lead to public hosts and those that `rules` allow, the same each time."""
        if rules not in self._guarded:
            self._guarded[rules] = Connections(self._tls, PublicAddresses(rules, self._resolver))
        return self._guarded[rules]

    async def aclose(self) -> None:
        """Close all connections."""
        await self.downloads.aclose()
        for connections in (self.connections, *self._guarded.values()):
            await connections.aclose()


def prepared(tls: ssl.SSLContext | None) -> tuple[type[Clients], ssl.SSLContext]:
    """Return what is needed to make the clients. Blocks while it reads the authorities of the system."""
    return Clients, tls or public_tls()
