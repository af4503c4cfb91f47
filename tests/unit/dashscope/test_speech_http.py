"""The HTTP lanes against a bare server that says what the emulator never would, and against the emulator's files."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json

import pytest

from pixvox import errors
from pixvox.errors import OutcomeUnknownError
from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.config import Config
from pixvox.providers.dashscope.speech_http import Downloaded, HttpSpeech, Speaker, Streamed
from pixvox.testing.dashscope import (
    Cut,
    DashScopeEmulator,
    Expired,
    Fault,
    NoResult,
    PlacedAt,
    Redirected,
    Refused,
    Retyped,
    expected_pcm,
)
from pixvox.testing.dashscope.sound import wav_of
from pixvox.upstream import replay
from pixvox.v1 import speech_service_pb2
from raw_vendor import opened, reply, then_close, then_silence, vendor

MODEL = "qwen3-tts-flash"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\nConnection: close\r\n\r\n"
PCM = bytes(range(200)) * 48


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Time between attempts does not pass."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(replay, "sleep", sleep)
    return waits


def frame(data=b"", finish="null", characters=None, event="result", **members):
    audio = {"data": base64.b64encode(data).decode(), "url": "", "id": "audio_r", "expires_at": 1}
    usage = None if characters is None else {"characters": characters}
    body = {"output": {"audio": audio, "finish_reason": finish}, "usage": usage, "request_id": "r-1"} | members
    return b"id:1\nevent:%s\n:HTTP_STATUS/200\ndata:%s\n\n" % (event.encode(), json.dumps(body).encode())


STOP = frame(finish="stop", characters=5)


@contextlib.asynccontextmanager
async def speaking(http_base, utterance=Streamed, **config):
    async with opened() as upstream:
        settings = {"api_key": "sk-test", "http_base": http_base, "result_hosts": (http_base.split("/")[2],)} | config
        account = Account(Config(**settings), upstream)
        manner = {"voice": "Cherry", "language_type": "Auto"}
        speaker = Speaker(account.http, account.results, account.region, MODEL, manner)
        speech = HttpSpeech(lambda text: utterance(speaker, text))
        try:
            yield speech
        finally:
            await speech.aclose()


async def said(speech, *items):
    """All events of what is said, audio joined where nothing stands between."""

    async def text():
        for item in items:
            yield item

    heard = []
    async for event in speech.events(text()):
        if isinstance(event, bytes):
            assert event
            assert len(event) % 2 == 0
        if heard and isinstance(event, bytes) and isinstance(heard[-1], bytes):
            heard[-1] += event
        else:
            heard.append(event)
    return heard


def flush(identifier):
    return speech_service_pb2.Flush(id=identifier)


async def test_a_stream_is_spoken_to_its_stop():
    frames = frame(PCM[:999]) + frame(PCM[999:], characters=7) + STOP
    async with vendor(then_close(HEAD + frames)) as one, speaking(one.url) as speech:
        assert await said(speech, "Hel", "lo") == [PCM]
        assert (speech.characters, speech.samples, speech.ids) == (5, len(PCM) // 2, ["r-1"])
    (request,) = one.requests
    assert request.headers["x-dashscope-sse"] == "enable"
    assert request.headers["accept"] == "text/event-stream"
    assert json.loads(request.body) == {
        "model": MODEL,
        "input": {"text": "Hello", "voice": "Cherry", "language_type": "Auto"},
    }


async def test_audio_beside_the_stop_is_spoken_and_nothing_behind_it():
    frames = frame(PCM) + frame(PCM, finish="stop", characters=5) + frame(PCM)
    async with vendor(then_close(HEAD + frames)) as one, speaking(one.url) as speech:
        assert await said(speech, "Hello") == [PCM + PCM]


async def test_a_header_before_the_samples_is_taken_off():
    file = wav_of(PCM)
    async with (
        vendor(then_close(HEAD + frame(file[:30]) + frame(file[30:]) + STOP)) as one,
        speaking(one.url) as speech,
    ):
        assert await said(speech, "Hello") == [PCM]


async def test_characters_that_the_vendor_does_not_count_are_counted_here():
    async with vendor(then_close(HEAD + frame(PCM) + frame(finish="stop"))) as one, speaking(one.url) as speech:
        await said(speech, "汉字ok")
        assert speech.characters == 6


@pytest.mark.parametrize("finish", ["null", "", "length", None])
async def test_a_stream_that_ends_without_stop_is_broken_off(finish):
    async with vendor(then_close(HEAD + frame(PCM) + frame(finish=finish))) as one, speaking(one.url) as speech:
        with pytest.raises(errors.ProviderDisconnectedError) as raised:
            await said(speech, "Hello")
    assert raised.value.metadata["provider_request_id"] == "r-1"
    assert len(one.requests) == 1


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (
            b'event:error\n:HTTP_STATUS/400\ndata:{"code":"DataInspectionFailed","message":"Output data x","request_id":"r-1"}\n\n',
            errors.OutputBlockedError,
        ),
        (
            b'event: error\nstatus:429\ndata: {"code":"Throttling.RateQuota","message":"","request_id":"r-1"}\n\n',
            errors.RateLimitedError,
        ),
        (
            b'event:error\n:HTTP_STATUS/503\ndata:{"code":"","message":null,"request_id":"r-1"}\n\n',
            errors.ProviderUnavailableError,
        ),
        (frame(code="InternalError.Algo", message="x", output=None), errors.ProviderInternalError),
    ],
)
async def test_an_error_in_the_stream_says_what_it_means(last, error):
    async with vendor(then_close(HEAD + frame(PCM) + last + STOP)) as one, speaking(one.url) as speech:
        with pytest.raises(error) as raised:
            await said(speech, "Hello")
    assert raised.value.metadata["provider_request_id"] == "r-1"
    assert "provider_code" in raised.value.metadata


@pytest.mark.parametrize(
    "last",
    [b"data:no JSON\n\n", b"data:[]\n\n", frame(output={"audio": {"data": "%%"}}), frame(wav_of(PCM, 8000))],
    ids=["no JSON", "no object", "no base64", "another rate"],
)
async def test_an_event_that_makes_no_sense_is_a_failure(last):
    async with vendor(then_close(HEAD + last + STOP)) as one, speaking(one.url) as speech:
        with pytest.raises(errors.ProviderInternalError):
            await said(speech, "Hello")


async def test_a_success_without_audio_is_a_failure():
    async with vendor(then_close(HEAD + STOP)) as one, speaking(one.url) as speech:
        with pytest.raises(errors.ProviderInternalError, match="no audio"):
            await said(speech, "Hello")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b'{"code":"InvalidApiKey","message":"No.","request_id":"r-9"}', 401), errors.ProviderCredentialsError),
        (reply(b'{"code":"InvalidParameter","message":"Model not exist."}'), errors.ModelNotFoundError),
        (reply(b"{}", 200), errors.ProviderInternalError),
        (reply(b"<html>", 502, Content_Type="text/html"), OutcomeUnknownError),
    ],
)
async def test_a_reply_in_place_of_a_stream_says_what_it_means(answer, error):
    async with vendor(answer) as one, speaking(one.url) as speech:
        with pytest.raises(error):
            await said(speech, "Hello")
    assert len(one.requests) == 1


async def test_the_vendors_words_do_not_repeat_the_callers():
    body = json.dumps({"code": "InvalidParameter", "message": "bad text: my secret diary"}).encode()
    async with vendor(reply(body, 400)) as one, speaking(one.url) as speech:
        with pytest.raises(errors.InvalidParameterError) as raised:
            await said(speech, "my secret", " diary")
    assert "secret" not in raised.value.message


@pytest.mark.parametrize("utterance", [Streamed, Downloaded])
async def test_each_flush_has_the_text_before_it_spoken(utterance):
    async with DashScopeEmulator() as emulator, speaking(emulator.http_base, utterance) as speech:
        heard = await said(speech, "One.", flush("a"), " ", flush("b"), "Two.", flush("c"))
        assert heard == [
            expected_pcm("One.", "Cherry"),
            speech_service_pb2.Flushed(id="a"),
            speech_service_pb2.Flushed(id="b"),
            expected_pcm(" Two.", "Cherry"),
            speech_service_pb2.Flushed(id="c"),
        ]
        assert speech.characters == len("One. Two.")
        assert len(speech.ids) == 2
    asked = [record.json["input"]["text"] for record in emulator.requests if record.operation.startswith("speech")]
    assert asked == ["One.", " Two."]


async def test_the_connection_of_an_answer_that_ends_a_little_later_serves_the_next_call():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    frames = frame(PCM) + STOP

    async def conversation(_reader, writer):
        writer.write(head + b"%x\r\n%s\r\n" % (len(frames), frames))
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")

    async with vendor(conversation) as one, speaking(one.url) as speech:
        await said(speech, "One.", flush("a"), "Two.")
    assert (len(one.requests), one.connections) == (2, 1)


async def test_a_call_does_not_wait_for_a_vendor_that_leaves_its_answer_open():
    async with vendor(then_silence(HEAD + frame(PCM) + STOP)) as one, speaking(one.url) as speech, asyncio.timeout(1.0):
        assert await said(speech, "One.") == [PCM]


async def test_blank_text_is_not_spoken():
    async with DashScopeEmulator() as emulator, speaking(emulator.http_base) as speech:
        assert await said(speech, " ", "\n") == []
    assert emulator.count() == 0


async def test_a_file_is_downloaded_and_handed_on_in_pieces_of_100_ms():
    async with DashScopeEmulator() as emulator, speaking(emulator.http_base, Downloaded) as speech:

        async def text():
            yield "Hello there."

        pieces = [piece async for piece in speech.events(text())]
    assert b"".join(pieces) == expected_pcm("Hello there.", "Cherry")
    assert [len(piece) for piece in pieces[:-1]] == [4800] * (len(pieces) - 1)
    assert [record.operation for record in emulator.requests] == ["speech_http", "download"]
    assert "authorization" not in emulator.requests[1].headers


@pytest.mark.parametrize(
    ("operation", "effect", "error", "calls", "downloads"),
    [
        ("speech_http", Refused(429, "Throttling.RateQuota"), None, 2, 1),
        ("speech_http", Refused(401, "InvalidApiKey"), errors.ProviderCredentialsError, 1, 0),
        ("speech_http", Refused(200, "InternalError"), errors.ProviderInternalError, 1, 0),
        ("speech_http", Cut(), OutcomeUnknownError, 1, 0),
        ("speech_http", NoResult(), errors.ProviderInternalError, 1, 0),
        ("speech_http", PlacedAt("http://10.0.0.1"), errors.ProviderInternalError, 1, 0),
        ("download", Cut(), None, 1, 2),
        ("download", Cut(1000), None, 1, 2),
        ("download", Refused(503, "ServiceUnavailable"), None, 1, 2),
        ("download", Expired(), errors.ProviderInternalError, 1, 1),
        ("download", Redirected(), errors.ProviderInternalError, 1, 1),
        ("download", Retyped("text/plain"), None, 1, 1),
    ],
    ids=str,
)
async def test_the_billed_call_is_never_repeated_blindly_and_the_free_download_is(
    operation, effect, error, calls, downloads
):
    async with DashScopeEmulator() as emulator, speaking(emulator.http_base, Downloaded) as speech:
        emulator.faults.add(Fault(operation, effect))
        if error is None:
            assert await said(speech, "Hello.") == [expected_pcm("Hello.", "Cherry")]
        else:
            with pytest.raises(error) as raised:
                await said(speech, "Hello.")
            assert (calls, downloads) == (1, 0) or raised.value.metadata["provider_request_id"]
        assert (emulator.count("speech_http"), emulator.count("download")) == (calls, downloads)


@pytest.mark.parametrize("file", [b"", wav_of(PCM)[:-2], b"<html>no</html>" * 9, wav_of(PCM, 8000), wav_of(b"")])
async def test_a_file_that_is_not_the_audio_is_a_failure(file):
    body = {
        "output": {"audio": {"url": "URL"}, "finish_reason": "stop"},
        "usage": {"characters": 5},
        "request_id": "r-1",
    }
    async with vendor(b"") as one:
        answer = json.dumps(body).replace("URL", f"{one.url}/x.wav").encode()
        one.answers = [reply(answer), reply(file, Content_Type="audio/wav")]
        async with speaking(one.url, Downloaded) as speech:
            with pytest.raises(errors.ProviderError) as raised:
                await said(speech, "Hello")
    assert raised.value.metadata["provider_request_id"] == "r-1"
