"""Reading a speech stream, with the test in the service's place and no server."""

from __future__ import annotations

import hashlib
import threading

import grpc
import grpc_testing
import pytest

from pixvox.cli.speech_stream import IncompleteStreamError, listen
from pixvox.v1 import speech_service_pb2, speech_service_pb2_grpc

SERVICE = speech_service_pb2.DESCRIPTOR.services_by_name["SpeechService"]
STARTED = {"started": {"provider": "box", "format": {"sample_rate_hertz": 100}}}


def audio(sequence, data=b"ab", offset=0):
    return {"audio": {"sequence": sequence, "data": data, "offset_samples": offset}}


def summary(data=b"ab", chunks=1):
    digest = hashlib.sha256(data).hexdigest()
    return {"summary": {"size_bytes": len(data), "chunks": chunks, "sha256": digest}}


class Stream:
    """A call in progress: the test sends what the service would."""

    def __init__(self):
        channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
        call = speech_service_pb2_grpc.SpeechServiceStub(channel).StreamSpeech(iter(()))
        _, self._rpc = channel.take_stream_stream(SERVICE.methods_by_name["StreamSpeech"])
        self._rpc.send_initial_metadata(())
        self._thread = threading.Thread(target=self._listen, args=(call,))
        self.written = []
        self.seconds = []
        self.heard = threading.Event()
        self.result = None
        self._thread.start()

    def _listen(self, call):
        try:
            self.result = listen(call, self.written.append, self._hear)
        except (IncompleteStreamError, grpc.RpcError) as error:
            self.result = error

    def _hear(self, seconds):
        self.seconds.append(seconds)
        self.heard.set()

    def send(self, *messages):
        for message in messages:
            self._rpc.send_response(speech_service_pb2.StreamSpeechResponse(**message))
        return self

    def end(self, code=grpc.StatusCode.OK, details=""):
        self._rpc.terminate((), code, details)
        self._thread.join(5)
        return self.result


def test_a_complete_stream_gives_what_was_said_beside_the_audio():
    stream = Stream().send(
        STARTED, audio(0), {"flushed": {"id": "f"}}, {"warning": {"message": "w"}}, audio(1, b"cd", 50)
    )
    heard = stream.send(summary(b"abcd", 2)).end()
    assert stream.written == [b"ab", b"cd"]
    assert stream.seconds == [0.0, 0.5]
    assert heard.started.provider == "box"
    assert heard.flushed == ("f",)
    assert [warning.message for warning in heard.warnings] == ["w"]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([audio(0)], "audio came before it started"),
        ([STARTED, STARTED], "it started twice"),
        ([STARTED, audio(0), audio(2)], "chunk 2 came where chunk 1 was due"),
        ([STARTED, audio(0), summary(), audio(1)], "something came after the summary"),
        ([STARTED, audio(0), summary(b"abc")], "2 bytes came and the summary counts 3"),
        ([STARTED, audio(0), summary(chunks=2)], "1 chunks came and the summary counts 2"),
        ([STARTED, audio(0), summary(b"xy")], "the checksum of the audio is not the summary's"),
        ([STARTED, audio(0)], "ended after 2 bytes without a summary"),
        ([], "ended after 0 bytes without a summary"),
    ],
)
def test_a_stream_against_the_contract_is_incomplete(messages, words):
    result = Stream().send(*messages).end()
    assert isinstance(result, IncompleteStreamError)
    assert words in str(result)
    assert result.failure is None


def test_a_failure_after_audio_makes_the_stream_incomplete_and_keeps_the_cause():
    stream = Stream().send(STARTED, audio(0))
    # The test channel drops what was not read yet when a call fails.
    assert stream.heard.wait(5)
    result = stream.end(grpc.StatusCode.UNAVAILABLE, "gone")
    assert isinstance(result, IncompleteStreamError)
    assert (result.failure.code, result.failure.message) == (grpc.StatusCode.UNAVAILABLE, "gone")


def test_a_failure_before_audio_is_the_calls_own():
    result = Stream().send(STARTED).end(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many")
    assert isinstance(result, grpc.RpcError)
    assert result.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
