"""Tells whether two payloads are the same without keeping either."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from pixvox.v1 import speech_service_pb2

# Below this a hash is done sooner than a thread is asked for it.
THREAD_BYTES = 256 * 1024


async def fingerprint_of(request: Message) -> str:
    """Return the SHA-256, in hexadecimal, of a request as it is apart from its `request_id`.

    The field may stand in the request itself or in its `config`. Every other field counts, labels included.
    """
    data = _without_id(request)
    if len(data) < THREAD_BYTES:
        return hashlib.sha256(data).hexdigest()
    # Hashing releases the interpreter lock, so megabytes of input pictures need not hold up the other calls.
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


class TextFingerprint:
    """Takes in the messages of one stream after its config.

    How text is cut into messages does not count, for it is up to the network; where a flush stands between two characters
    does.
    """

    def __init__(self) -> None:
        self._text = hashlib.sha256()
        self._flushes = hashlib.sha256()
        self._characters = 0

    def add(self, message: speech_service_pb2.StreamSpeechRequest) -> None:
        """Take in a text or a flush; what else there is, is no part of a payload that can be spoken."""
        if message.HasField("text"):
            self._text.update(message.text.encode())
            self._characters += len(message.text)
        elif message.HasField("flush"):
            flush = message.flush.SerializeToString(deterministic=True)
            self._flushes.update(f"{self._characters} {len(flush)} ".encode() + flush)

    def hexdigest(self) -> str:
        """Return the SHA-256, in hexadecimal, of what was taken in."""
        return hashlib.sha256(self._text.digest() + self._flushes.digest()).hexdigest()


def _without_id(request: Message) -> bytes:
    # Which field it is, depends on the method.
    holder: Any = getattr(request, "config", request)
    given = getattr(holder, "request_id", "")
    if not given:
        return request.SerializeToString(deterministic=True)
    # A copy without the field would be one more of all the media. (To clear a field of a config that is not there would
    # make the config be there.)
    holder.ClearField("request_id")
    try:
        return request.SerializeToString(deterministic=True)
    finally:
        holder.request_id = given
