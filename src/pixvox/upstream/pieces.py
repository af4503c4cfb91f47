"""Replies of bare bytes that are read while they come in, such as sound without any frame around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.errors import ProviderDisconnectedError
from pixvox.upstream.replay import LostError, Replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from pixvox.upstream.exchange import Exchange
    from pixvox.upstream.replay import Ids


class ByteStream:
    """The body of a reply, given as it comes in pieces of at least one byte; iterated once.

    No more of it is read than some hundred kilobytes ahead of the reader, so that a slow reader holds up the vendor.

    The end of the iteration is the end that HTTP knows (RFC 9112, section 6): as many bytes as the reply said, or the last of
    its chunks. Whether the vendor had said all by then is for the provider to see.

    Attributes:
        headers: Of the reply, by their names in any case.
        media_type: Of the body in lower case, without its parameters; maybe empty.
        end_is_told: Whether the reply says where its body ends. Without that, a connection that was lost in good order looks
            like an end.
        received: How many bytes there were so far.

    Raises:
        ProviderDisconnectedError: While iterating: the body broke off, or nothing came for too long.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.headers: Mapping[str, str] = exchange.headers
        self.media_type = exchange.media_type
        # A reply with a length cannot have chunks; one with neither ends with its connection.
        self.end_is_told = "Content-Length" in exchange.headers or "Transfer-Encoding" in exchange.headers
        self.received = 0
        self._exchange = exchange

    def identified(self, ids: Ids) -> None:
        """Put on the span of the request what the vendor calls it."""
        self._exchange.identified(ids)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._exchange.piece()
        except LostError as error:
            message = f"The provider {error.what} in the middle of its answer."
            raise ProviderDisconnectedError(message, metadata={"replay": Replay.COMMITTED.value}) from error
        if not piece:
            raise StopAsyncIteration
        self.received += len(piece)
        return piece
