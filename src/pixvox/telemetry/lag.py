"""How late the event loop is: what holds it up holds up every call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pixvox.telemetry.instruments import Instruments

EVERY_SECONDS = 0.5


async def watch_loop(instruments: Instruments, seconds: float = EVERY_SECONDS) -> NoReturn:
    """Measure the lag again and again until the task is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        instruments.loop_lag.record(max(0.0, loop.time() - due))
