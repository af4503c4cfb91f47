"""Writes answers to the socket, with the stalls, cuts and drips that were ordered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web  # a server, not upstream traffic

from pixvox.testing.dashscope.faults import Cut, Dripped, Retyped, Stalled

if TYPE_CHECKING:
    from pixvox.testing.dashscope.envelope import Answer
    from pixvox.testing.dashscope.record import Exchange
    from pixvox.testing.dashscope.speech import EventStream
    from pixvox.testing.dashscope.vendor import Call


class CutError(Exception):
    """The connection has been closed because it was ordered so."""


async def deliver(request: web.Request, call: Call, answer: Answer) -> web.StreamResponse:
    """Write a whole answer.

    Raises:
        CutError: It was to be cut.
        ConnectionError: The client has left.
    """
    cut = call.effects.one(Cut)
    if cut is not None and cut.after is None:
        hang_up(request, call.exchange)
    retyped = call.effects.one(Retyped)
    content_type = retyped.content_type if retyped is not None else answer.content_type
    response = web.StreamResponse(status=answer.status, headers={**answer.headers, "Content-Type": content_type})
    response.content_length = len(answer.body)
    await response.prepare(request)
    call.exchange.status = answer.status
    await _write(request, response, answer.body, call)
    await response.write_eof()
    call.exchange.finished()
    return response


async def deliver_events(request: web.Request, call: Call, stream: EventStream) -> web.StreamResponse:
    """Write server-sent events at the pace of the emulated vendor.

    Raises:
        CutError: It was to be cut.
        ConnectionError: The client has left.
    """
    cut = call.effects.one(Cut)
    if cut is not None and cut.after is None:
        hang_up(request, call.exchange)
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream;charset=UTF-8", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    call.exchange.status = 200
    for sent, chunk in enumerate((*stream.chunks, None)):
        await _incident(request, call, sent)
        if stream.error is not None and stream.error[0] == sent:
            call.exchange.break_off()
            await response.write(stream.error[1])
            break
        if chunk is None:
            await response.write(stream.last)
            break
        if sent:
            await asyncio.sleep(call.vendor.behaviour.chunk_interval)
        call.exchange.sending_chunk()
        await response.write(chunk)
    await response.write_eof()
    call.exchange.finished()
    return response


def hang_up(request: web.Request, exchange: Exchange) -> None:
    """Close the connection when what was written has gone out.

    Raises:
        CutError: Always.
    """
    exchange.break_off()
    if request.transport is not None:
        request.transport.close()
    raise CutError


async def _incident(request: web.Request, call: Call, sent: int) -> None:
    """Let happen what is ordered for after so many chunks, or bytes."""
    stall, cut = call.effects.one(Stalled), call.effects.one(Cut)
    if stall is not None and stall.after == sent:
        await asyncio.sleep(stall.seconds)
    if cut is not None and cut.after == sent:
        hang_up(request, call.exchange)


async def _write(request: web.Request, response: web.StreamResponse, body: bytes, call: Call) -> None:
    effects = call.effects
    stall, cut, drip = effects.one(Stalled), effects.one(Cut), effects.one(Dripped)
    marks = [effect.after for effect in (stall, cut) if effect is not None and effect.after is not None]
    size = drip.size if drip is not None else max(1, len(body))
    start = 0
    await _incident(request, call, start)
    while start < len(body):
        end = min(start + size, len(body), *(mark for mark in marks if mark > start))
        await response.write(body[start:end])
        start = end
        if drip is not None and start < len(body):
            await asyncio.sleep(drip.seconds)
        await _incident(request, call, start)
