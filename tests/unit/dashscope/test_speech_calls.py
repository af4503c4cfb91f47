"""One call on the realtime lane against a scripted vendor, which counts, ends and breaks off as the emulator never would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json

import pytest
from websockets.asyncio.server import serve

from calling import until
from pixvox import errors
from pixvox.concurrency import alongside
from pixvox.providers.dashscope import realtime_sessions, realtime_speech
from pixvox.providers.dashscope.account import Account
from pixvox.providers.dashscope.config import Config
from pixvox.providers.dashscope.realtime_sessions import Sessions
from pixvox.providers.dashscope.realtime_speech import RealtimeSpeech
from pixvox.providers.dashscope.speech import DashScopeSpeech
from pixvox.v1 import media_pb2, speech_service_pb2
from raw_vendor import opened

MODEL = "qwen3-tts-flash-realtime"


class Vendor:
    """Speaks the letters of each commit as so many samples, and counts and dies as told.

    Attributes:
        miscounts: Added to the characters of each response; None leaves the count out.
        dies_at: The event, "update", "commit" or "finish", in whose answer's place the socket is closed; "idle" closes it
            when the settings hold.
        code: Of that close.
        deaths: How many sessions die.
        complaint: The error that is told before, or None.
        deaf: Whether it does not hear that a session is to finish.
        lingers: Whether it leaves the socket of a finished session to the client.
        sessions: What was said in each: text, or the event's last word.
        open: How many are.
    """

    def __init__(self):
        self.miscounts = 0
        self.dies_at = ""
        self.code = 1000
        self.deaths = 10**9
        self.complaint = None
        self.sessions = []
        self.lingers = False
        self.deaf = False
        self.open = 0

    async def serve(self, connection):
        self.open += 1
        try:
            await self._converse(connection)
        finally:
            self.open -= 1

    async def _converse(self, connection):
        said = []
        self.sessions.append(said)
        await self._tell(connection, "session.created", session={"id": f"sess_{len(self.sessions)}"})
        buffer = ""
        async for message in connection:
            event = json.loads(message)
            kind = event["type"].rpartition(".")[2]
            said.append(event.get("text") or kind)
            if kind == "append":
                buffer += event["text"]
                continue
            if kind == self.dies_at and self.deaths > 0:
                self.deaths -= 1
                return await self._die(connection)
            if kind == "update":
                await self._tell(connection, "session.updated", session={"id": f"sess_{len(self.sessions)}"})
                if self.dies_at == "idle" and self.deaths > 0:
                    self.deaths -= 1
                    return await self._die(connection)
            if kind == "commit":
                await self._speak(connection, buffer)
                buffer = ""
            if kind == "finish" and not self.deaf:
                await self._tell(connection, "session.finished")
                return await (connection.wait_closed() if self.lingers else connection.close())
        return None

    async def _speak(self, connection, text):
        await self._tell(connection, "input_text_buffer.committed", item_id="")
        await self._tell(connection, "response.created", response={"id": "r", "status": "in_progress"})
        audio = base64.b64encode(text.encode("utf-16-le")).decode()
        await self._tell(connection, "response.audio.delta", delta=audio)
        usage = None if self.miscounts is None else {"characters": len(text) + self.miscounts}
        await self._tell(connection, "response.done", response={"id": "r", "status": "completed", "usage": usage})

    async def _die(self, connection):
        if self.complaint is not None:
            await self._tell(connection, "error", error=self.complaint)
        await connection.close(self.code)

    async def _tell(self, connection, kind, **members):
        await connection.send(json.dumps({"event_id": "event_1", "type": kind, **members}))


@pytest.fixture
async def vendor():
    vendor = Vendor()
    async with serve(vendor.serve, "127.0.0.1", 0) as server:
        vendor.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/api-ws/v1"
        yield vendor


@contextlib.asynccontextmanager
async def speech_by(vendor, **options):
    async with opened() as upstream:
        account = Account(Config(api_key="sk-test", ws_base=vendor.url), upstream)
        speech = DashScopeSpeech(account, **options)
        try:
            yield speech
        finally:
            await speech.aclose()


async def said(vendor, *items, **options):
    """All events of a call; a number among the items is a pause in seconds. Audio is read as the letters that it is."""

    async def text():
        for item in items:
            if isinstance(item, float):
                await asyncio.sleep(item)
            else:
                yield item

    async with speech_by(vendor, **options) as speech, asyncio.timeout(20):
        heard = await events_of(speech, text())
    return [event.decode("utf-16-le") if isinstance(event, bytes) else event for event in heard]


async def events_of(speech, text):
    model = next(model for model in speech.models() if model.id == MODEL)
    async with speech.stream_speech(speech_service_pb2.SpeechConfig(), text, model) as stream:
        return [event async for event in stream.events]


def flush(identifier):
    return speech_service_pb2.Flush(id=identifier)


def without_receipt(heard):
    assert isinstance(heard[-1], media_pb2.Receipt)
    return ["".join(event) if isinstance(event, str) else f"[{event.id}]" for event in heard[:-1]]


async def test_where_the_characters_add_up_a_flush_leaves_the_session_open(vendor):
    heard = await said(vendor, "One ", flush("a"), "two ", flush("b"), "three")
    assert without_receipt(heard) == ["One ", "[a]", "two ", "[b]", "three"]
    assert vendor.sessions == [["update", "One ", "commit", "two ", "commit", "three", "commit", "finish"]]


@pytest.mark.parametrize("miscounts", [1, -1, None])
async def test_where_they_do_not_a_flush_is_answered_by_the_end_of_the_session(vendor, miscounts):
    vendor.miscounts = miscounts
    heard = await said(vendor, "One ", flush("a"), flush("b"), "two ", flush("c"), "three")
    assert without_receipt(heard) == ["One ", "[a]", "[b]", "two ", "[c]", "three"]
    assert vendor.sessions == [
        ["update", "One ", "commit", "finish"],
        ["update", "two ", "commit", "finish"],
        ["update", "three", "commit", "finish"],
    ]
    receipt = heard[-1]
    assert receipt.provider_request_id == "sess_1,sess_2,sess_3"
    assert receipt.usage.characters == len("One two three") + 3 * (miscounts or 0)


async def test_without_a_flush_a_miscount_needs_no_second_session(vendor):
    vendor.miscounts = 2
    heard = await said(vendor, "One. Two", 0.1, ". Three")
    assert "".join(without_receipt(heard)) == "One. Two. Three"
    assert len(vendor.sessions) == 1


@pytest.mark.parametrize("code", [1000, 1011])
async def test_only_session_finished_is_the_end_even_if_everything_else_was_there(vendor, code):
    vendor.dies_at, vendor.code = "finish", code
    with pytest.raises(errors.ProviderDisconnectedError) as raised:
        await said(vendor, "One two three")
    assert raised.value.metadata["provider_code"] == str(code)
    assert raised.value.metadata["replay"] == "committed"


async def test_a_session_that_dies_with_a_commit_is_an_error_and_the_text_is_not_said_again(vendor):
    vendor.dies_at = "commit"
    with pytest.raises(errors.ProviderDisconnectedError) as raised:
        await said(vendor, "One two three")
    assert raised.value.metadata["replay"] == "ambiguous"
    assert vendor.sessions == [["update", "One two three", "commit"]]


@pytest.mark.parametrize(
    "complaint", [None, {"code": "session_expired", "message": "request timeout after 23 seconds."}]
)
async def test_a_session_that_dies_in_silence_is_replaced_once_there_is_text(vendor, complaint):
    vendor.dies_at, vendor.deaths, vendor.complaint = "idle", 1, complaint
    heard = await said(vendor, 0.2, "One two", 0.05, " three")
    assert without_receipt(heard) == ["One two three"]
    assert vendor.sessions == [["update"], ["update", "One two three", "commit", "finish"]]


async def test_a_silent_call_leaves_a_session_in_which_nothing_was_said(vendor, monkeypatch):
    for module in (realtime_sessions, realtime_speech):
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    heard = await said(vendor, 0.3, "One. ", 0.05, flush("a"))
    assert without_receipt(heard) == ["One. ", "[a]"]
    assert vendor.sessions[0] == ["update"]


async def test_a_vendor_that_does_not_let_a_silent_session_go_does_not_hold_up_the_call(vendor, monkeypatch):
    for module in (realtime_sessions, realtime_speech):
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(realtime_speech, "FAREWELL_SECONDS", 0.2)
    vendor.deaf = True
    task = asyncio.create_task(said(vendor, "One. ", 0.2, "Two. ", 1.0))
    await until(lambda: len(vendor.sessions) == 2 and "Two. " in vendor.sessions[1])
    vendor.deaf = False
    assert without_receipt(await task) == ["One. ", "Two. "]
    assert vendor.sessions[0] == ["update", "One. ", "commit", "finish"]


async def test_text_that_comes_just_as_the_session_dies_is_spoken_once_or_fails(vendor):
    for _ in range(20):
        vendor.dies_at, vendor.deaths, vendor.sessions = "idle", 1, []
        (outcome,) = await asyncio.gather(said(vendor, "One two three"), return_exceptions=True)
        if isinstance(outcome, errors.ProviderError):
            assert outcome.code.name == "UNAVAILABLE"
            assert len(vendor.sessions) == 1
        else:
            assert without_receipt(outcome) == ["One two three"]
            assert len(vendor.sessions) == 2


async def test_a_vendor_whose_sessions_all_die_is_not_asked_for_ever(vendor):
    vendor.dies_at = "idle"
    with pytest.raises(errors.ProviderUnavailableError):
        await said(vendor, 0.2, "One two three")
    assert len(vendor.sessions) <= 3


async def test_a_call_that_ends_without_text_says_nothing_and_is_over(vendor):
    heard = await said(vendor, flush("a"), " ", flush("b"))
    assert without_receipt(heard) == ["[a]", "[b]"]
    assert heard[-1].usage.characters == 0
    assert vendor.sessions == [["update"]]


async def test_more_flushes_than_are_kept_are_all_answered(vendor):
    flushes = [flush(str(number)) for number in range(200)]
    heard = await said(vendor, "One", *flushes, "two")
    assert without_receipt(heard) == ["One", *(f"[{number}]" for number in range(200)), "two"]


async def test_an_error_of_the_text_comes_out_of_the_block_and_closes_the_session(vendor):
    async def text():
        yield "One. "
        raise errors.StreamOrderError("no")

    async with speech_by(vendor) as speech:
        with pytest.raises(errors.StreamOrderError):
            await events_of(speech, text())
    assert "finish" not in vendor.sessions[0]


async def test_leaving_the_block_at_any_time_leaves_no_task_behind(vendor):
    async def text():
        yield "One. "
        await asyncio.sleep(60)

    async with speech_by(vendor) as speech:
        before = asyncio.all_tasks()
        for reads in range(3):
            async with speech.stream_speech(speech_service_pb2.SpeechConfig(), text(), speech.models()[0]) as stream:
                for _ in range(min(reads, 1)):
                    await anext(stream.events)
                if reads == 2:
                    await asyncio.sleep(0.05)
        # The vendor's own side of the sockets may take a moment.
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() <= before


async def test_sessions_are_closed_when_they_are_over_and_when_the_call_is(vendor):
    vendor.miscounts, vendor.lingers = 1, True
    held = []
    async with opened() as upstream:
        account = Account(Config(api_key="sk-test", ws_base=vendor.url), upstream)
        sessions = Sessions(account.sockets, account.region)

        async def begun():
            # Held here, so that it is not the garbage collector that closes them.
            held.append(await sessions.begun(MODEL, {"voice": "Cherry"}))
            return held[-1]

        async def text():
            for number in range(2):
                yield "One. "
                yield flush(str(number))
            yield "Two. "
            await asyncio.sleep(60)

        call = RealtimeSpeech(begun, [""])
        await call.open()
        async with alongside(call.write()), alongside(call.read(text())), contextlib.aclosing(call.events()) as events:
            answers = [await anext(events) for _ in range(5)]
            assert vendor.open == 1
        await call.aclose()
        await until(lambda: vendor.open == 0, 1.0)
    assert [type(answer) for answer in answers] == [bytes, *[speech_service_pb2.Flushed, bytes] * 2]
    assert len(held) == 3


async def test_nothing_is_said_ahead_of_a_reader_who_takes_nothing(vendor):
    async def text():
        for _ in range(20):
            yield "A sentence. "

    async with speech_by(vendor) as speech:
        config = speech_service_pb2.SpeechConfig()
        async with speech.stream_speech(config, text(), speech.models()[0]) as stream:
            await asyncio.sleep(0.2)
            assert vendor.sessions[0].count("commit") == 1
            heard = [event async for event in stream.events if isinstance(event, bytes)]
    assert b"".join(heard).decode("utf-16-le") == "A sentence. " * 20


async def test_the_call_needs_a_key(vendor):
    async with opened() as upstream:
        speech = DashScopeSpeech(Account(Config(ws_base=vendor.url), upstream))
        with pytest.raises(errors.ProviderNotConfiguredError):
            await events_of(speech, None)
    assert vendor.sessions == []
