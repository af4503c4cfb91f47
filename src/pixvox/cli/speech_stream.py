"""Reads the service's half of StreamSpeech and holds it to the contract: what broke off never passes for finished."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from pixvox.client import Failure, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pixvox.v1 import media_pb2, speech_service_pb2


class IncompleteStreamError(Exception):
    """The audio is not the whole audio.

    Attributes:
        failure: What the call raised, or None if the service broke the contract instead.
    """

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Heard:
    """A complete stream without its audio.

    Attributes:
        started: The first message.
        summary: The last message; its numbers and checksum agree with the audio.
        flushed: Ids of the flushes that were answered, in order.
        warnings: In order.
    """

    started: speech_service_pb2.SpeechStarted
    summary: speech_service_pb2.SpeechSummary
    flushed: tuple[str, ...]
    warnings: tuple[media_pb2.Warning, ...]


def listen(
    responses: Iterable[speech_service_pb2.StreamSpeechResponse],
    write: Callable[[bytes], object],
    heard: Callable[[float], object] = lambda _: None,
) -> Heard:
    """Read a stream to its end.

    Args:
        responses: The call.
        write: Is given each piece of audio the moment it arrives.
        heard: Is told the seconds of audio before the piece that has just arrived.

    Raises:
        IncompleteStreamError: The stream broke off after audio had arrived, ended without a summary, or contradicts
            itself.
        grpc.RpcError: The call failed before any audio.
    """
    reading = _Reading(write, heard)
    try:
        for response in responses:
            reading.take(response)
    except grpc.RpcError as error:
        if not reading.chunks:
            raise
        raise IncompleteStreamError(
            f"The stream broke off after {reading.size_bytes} bytes of audio.", failure(error)
        ) from error
    return reading.finished()


class _Reading:
    def __init__(self, write: Callable[[bytes], object], heard: Callable[[float], object]) -> None:
        self._write = write
        self._heard = heard
        self._started: speech_service_pb2.SpeechStarted | None = None
        self._summary: speech_service_pb2.SpeechSummary | None = None
        self._flushed: list[str] = []
        self._warnings: list[media_pb2.Warning] = []
        self._digest = hashlib.sha256()
        self.chunks = 0
        self.size_bytes = 0

    def take(self, response: speech_service_pb2.StreamSpeechResponse) -> None:
        _require(self._summary is None, "something came after the summary")
        match response.WhichOneof("message"):
            case "started":
                _require(self._started is None, "it started twice")
                self._started = response.started
            case "audio":
                self._take_audio(response.audio)
            case "flushed":
                self._flushed.append(response.flushed.id)
            case "warning":
                self._warnings.append(response.warning)
            case "summary":
                self._summary = response.summary
            case _:
                # A later contract may add kinds of messages; this one gives them no meaning.
                pass

    def _take_audio(self, chunk: speech_service_pb2.AudioChunk) -> None:
        if self._started is None:
            raise IncompleteStreamError("The stream breaks the contract: audio came before it started.")
        _require(chunk.sequence == self.chunks, f"chunk {chunk.sequence} came where chunk {self.chunks} was due")
        self.chunks += 1
        self.size_bytes += len(chunk.data)
        self._digest.update(chunk.data)
        self._write(chunk.data)
        self._heard(chunk.offset_samples / (self._started.format.sample_rate_hertz or 1))

    def finished(self) -> Heard:
        if self._started is None or self._summary is None:
            raise IncompleteStreamError(
                f"The stream ended after {self.size_bytes} bytes without a summary: the audio is not complete."
            )
        summary = self._summary
        _require(
            summary.size_bytes == self.size_bytes,
            f"{self.size_bytes} bytes came and the summary counts {summary.size_bytes}",
        )
        _require(summary.chunks == self.chunks, f"{self.chunks} chunks came and the summary counts {summary.chunks}")
        _require(summary.sha256 == self._digest.hexdigest(), "the checksum of the audio is not the summary's")
        return Heard(self._started, summary, tuple(self._flushed), tuple(self._warnings))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise IncompleteStreamError(f"The stream breaks the contract: {otherwise}.")
