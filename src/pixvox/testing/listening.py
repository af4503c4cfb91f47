"""Has an emulator listen, in the one way that all of them do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web  # a server, not upstream traffic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Three pictures of 10 MB in base64, and some room.
_MOST_BODY_BYTES = 64 * 1024 * 1024


async def listening(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], port: int = 0, host: str = "127.0.0.1"
) -> tuple[web.AppRunner, int]:
    """Listen, and return what is to be cleaned up in the end, and the port.

    Args:
        handle: Answers every request, whatever its method and path are; it is cancelled when the client leaves.
        port: To listen at; 0 takes a free one.
        host: To listen at.

    Raises:
        OSError: The port cannot be had.
    """
    app = web.Application(client_max_size=_MOST_BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", handle)
    # Without handler_cancellation, a client that leaves is noticed at the next write only.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    taken: int = runner.addresses[0][1]
    return runner, taken
