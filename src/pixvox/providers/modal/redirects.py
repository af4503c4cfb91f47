"""Follows the redirects of a web function by hand: to where the result of work will be, and never anywhere else.

A web function answers ``303`` after 150 seconds; the work goes on, and a GET of the address in ``Location`` waits for it, for
another 150 seconds. A POST to that address is an error, and the work itself is never asked for again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from pixvox.errors import OutcomeUnknownError, ProviderConfigError
from pixvox.providers.modal.refusals import call_id
from pixvox.upstream import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from urllib.parse import SplitResult

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 5.0
_GROWTH = 1.5
_REDIRECTED, _NOT_YET = 303, 202
_PORTS = {"http": 80, "https": 443}


def redirected(reply: Reply) -> bool:
    """Tell whether a reply sends elsewhere."""
    return 300 <= reply.status < 400


async def followed(
    first: Reply, url: str, ask: Callable[[str], Awaitable[Reply | T]], clock: Callable[[], float]
) -> Reply | T:
    """Ask for the result of work that is under way, until it is there; how long that may take is the caller's deadline.

    Args:
        first: The redirect.
        url: That was asked for the work.
        ask: Sends a GET for a path of the same host with its query, and returns the reply, or what else came of it.
        clock: Tells the time in seconds.

    Returns:
        The first answer that neither redirects nor puts off.

    Raises:
        ProviderConfigError: The address redirects elsewhere; no work was accepted.
        OutcomeUnknownError: A redirect that names work leads elsewhere, or one behind it does.
    """
    target = _target(first, url)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        await asyncio.sleep(pause)
        asked = clock()
        answer = await ask(target)
        if not isinstance(answer, Reply):
            return answer
        if answer.status == _REDIRECTED:
            target = _target(answer, url, accepted=True)
        elif answer.status != _NOT_YET:
            return answer
        # The edge holds each question for long; the pauses grow for one that does not.
        held = clock() - asked >= pause
        pause = _FIRST_PAUSE_SECONDS if held else min(pause * _GROWTH, _LAST_PAUSE_SECONDS)


def _target(reply: Reply, url: str, *, accepted: bool = False) -> str:
    """Return the path with the query that a redirect names."""
    named = bool(call_id(reply))
    try:
        location = urlsplit(urljoin(url, reply.headers.get("Location", "")))
        target = f"{location.path}?{location.query}"
        if reply.status == _REDIRECTED and named and target.isascii() and _place(location) == _place(urlsplit(url)):
            return target
    except ValueError:
        # It is no address.
        pass
    if accepted or (named and reply.status == _REDIRECTED):
        message = "Modal's redirects lead elsewhere; the work was accepted and may be billed."
        raise OutcomeUnknownError(message, metadata={"replay": "accepted"})
    # The keys are for this address alone.
    message = f"The configured address redirects elsewhere (status {reply.status})."
    raise ProviderConfigError(message)


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
