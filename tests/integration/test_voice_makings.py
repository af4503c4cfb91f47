"""A voice that was paid for is in the catalogue or in the log, whatever breaks: the network, the database, the process."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import msgspec
import pytest
from structlog.testing import capture_logs

from calling import settings_for_tests, until
from databases import database, database_url, postgres
from emulated import provider_table
from pixvox import client, registry, telemetry
from pixvox.database import Database, DatabaseError
from pixvox.errors import InternalError, PixvoxError, ProviderNotConfiguredError, reason_name
from pixvox.prices import PriceTable
from pixvox.reloading import Generation
from pixvox.routing import Router, TargetStates
from pixvox.routing.rollbacks import Rollbacks
from pixvox.services import voice_makings
from pixvox.services.voice_makings import VoiceMakings
from pixvox.services.voices import VoiceService
from pixvox.telemetry import Telemetry
from pixvox.testing.dashscope import Cut, DashScopeEmulator, Fault, Raw, Refused, Stalled
from pixvox.upstream import Upstream
from pixvox.v1 import voice_service_pb2, voice_service_pb2_grpc
from pixvox.v1.voice_service_pb2 import GetVoiceRequest, ListVoicesRequest, Voice
from pixvox.voices import VoiceStore
from recording import cloning, designing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from google.protobuf.message import Message

__all__ = ["database", "database_url", "postgres"]

CLONED = voice_service_pb2.VOICE_KIND_CLONED
DESIGNED = voice_service_pb2.VOICE_KIND_DESIGNED
CONTEXT: grpc.aio.ServicerContext = None  # type: ignore[assignment]  # the service does not look at it
ORPHANED = "orphaned voice"
FAR_AWAY = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)


@dataclass
class Workshop:
    """A service without its transport, whose parts can be reached."""

    service: VoiceService
    makings: VoiceMakings
    store: VoiceStore
    url: str

    async def call(self, method: str, request: Message) -> Message:
        call = telemetry.Call(method)
        call.request_id = getattr(request, "request_id", "") or call.request_id
        with telemetry.calling(call):
            return await getattr(self.service, method)(request, CONTEXT)

    async def made(self, kind: int) -> list[Voice]:
        """All voices of a kind in the catalogue."""
        return list((await self.call("ListVoices", ListVoicesRequest(kind=kind, show_deleted=True))).voices)

    async def settled(self) -> None:
        """Have looked for what was left unfinished."""
        self.makings._settled_at = -1e9
        self.makings.settle()
        await self.makings._settling


@contextlib.asynccontextmanager
async def working(
    emulator: DashScopeEmulator, url: str, *, name: str = "qwen", table: dict | None = None, **makings: float
) -> AsyncIterator[Workshop]:
    upstream = Upstream()
    database = await Database.open(url)
    providers = {name: table or provider_table(emulator)}
    entries = registry.build(providers, upstream)
    settings = msgspec.structs.replace(settings_for_tests(), providers=providers)
    signals = Telemetry()
    router = Router(settings, entries, signals, PriceTable.load(), TargetStates(Rollbacks(None), signals.instruments))
    router.activate()
    current = Generation(settings, "", entries, router)
    store = VoiceStore(database)
    making = VoiceMakings(store, current, **makings)
    service = VoiceService(current, upstream, store, makings=making)
    try:
        yield Workshop(service, making, store, url)
    finally:
        await service.aclose()
        for entry in entries:
            await entry.provider.aclose()
        await upstream.aclose()
        await database.aclose()


@pytest.fixture
async def emulator() -> AsyncIterator[DashScopeEmulator]:
    async with DashScopeEmulator() as running:
        yield running


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/voices.db"


@pytest.fixture
async def workshop(emulator, url) -> AsyncIterator[Workshop]:
    async with working(emulator, url, abandoned_seconds=0.0) as opened:
        yield opened


async def failed(work) -> PixvoxError:
    with pytest.raises(PixvoxError) as caught:
        await work
    return caught.value


def break_table(url: str, *events: str) -> None:
    """Make the database refuse to change the voices."""
    with contextlib.closing(sqlite3.connect(url.partition("///")[2])) as connection, connection:
        for event in events:
            connection.execute(
                f"CREATE TRIGGER broken_{event} BEFORE {event} ON voices BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )


def repair_table(url: str, *events: str) -> None:
    with contextlib.closing(sqlite3.connect(url.partition("///")[2])) as connection, connection:
        for event in events:
            connection.execute(f"DROP TRIGGER broken_{event}")


async def test_a_database_that_fails_beforehand_costs_nothing(workshop, emulator, url):
    break_table(url, "INSERT")
    assert isinstance(await failed(workshop.call("CloneVoice", cloning())), DatabaseError)
    assert emulator.count() == 0


async def test_a_voice_that_cannot_be_recorded_is_deleted_again(workshop, emulator, url):
    break_table(url, "UPDATE")
    with capture_logs() as logs:
        error = await failed(workshop.call("CloneVoice", cloning()))
    assert isinstance(error, InternalError)
    create, delete = emulator.requests
    assert (create.operation, delete.operation, emulator.voices) == ("voice_create", "voice_delete", ())
    assert error.metadata["provider_voice_id"] == delete.json["input"]["voice"]
    assert error.metadata["provider_request_id"]
    assert error.metadata["deleted"] == "true"
    assert ORPHANED not in [line["event"] for line in logs]
    assert "a voice could not be recorded and was deleted again" in [line["event"] for line in logs]


async def test_a_voice_that_can_neither_be_recorded_nor_deleted_is_an_error_in_the_log_with_its_ids(
    workshop, emulator, url
):
    break_table(url, "UPDATE")
    emulator.faults.add(Fault("voice_delete", Refused(401, "InvalidApiKey"), times=None))
    with capture_logs() as logs:
        error = await failed(workshop.call("CloneVoice", cloning(request_id="mine-1")))
    assert isinstance(error, InternalError)
    (voice,) = emulator.voices
    (line,) = [line for line in logs if line["event"] == ORPHANED]
    assert line["log_level"] == "error"
    assert (line["provider"], line["provider_voice_id"], line["request_id"]) == ("qwen", voice.name, "mine-1")
    assert line["provider_request_id"] == error.metadata["provider_request_id"] != ""
    assert error.metadata["provider_voice_id"] == voice.name
    assert error.metadata["deleted"] == "false"


async def test_an_orphan_is_taken_in_when_the_database_works_again(workshop, emulator, url):
    break_table(url, "UPDATE")
    emulator.faults.add(Fault("voice_delete", Refused(401, "InvalidApiKey")))
    await failed(workshop.call("CloneVoice", cloning(labels={"team": "audio"})))
    repair_table(url, "UPDATE")
    await workshop.settled()
    (voice,) = await workshop.made(CLONED)
    assert voice.provider_voice_id == emulator.voices[0].name
    assert (voice.consent.speaker, dict(voice.labels)) == ("Ann", {"team": "audio"})


async def test_a_moment_of_weakness_of_the_database_is_waited_out(workshop, emulator, url):
    break_table(url, "UPDATE")
    making = asyncio.create_task(workshop.call("CloneVoice", cloning()))
    await until(lambda: emulator.voices)
    await asyncio.sleep(0.2)
    repair_table(url, "UPDATE")
    answer = await making
    assert (await workshop.store.get(answer.voice.id)) == answer.voice
    assert emulator.count() == 1


@pytest.mark.parametrize("method", ["CloneVoice", "DesignVoice"])
async def test_a_caller_who_leaves_while_the_provider_works_does_not_lose_the_voice(workshop, emulator, method):
    emulator.faults.add(Fault("voice_create", Stalled(0.5, after=1)))
    request, kind = (cloning(), CLONED) if method == "CloneVoice" else (designing(), DESIGNED)
    calling = asyncio.create_task(workshop.call(method, request))
    await until(lambda: emulator.voices)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await workshop.made(kind) == []
    await asyncio.wait(workshop.makings._tasks)
    (voice,) = await workshop.made(kind)
    assert voice.provider_voice_id == emulator.voices[0].name
    assert voice.receipt.provider_request_id
    assert emulator.count("voice_create") == 1


async def test_a_caller_who_leaves_before_the_provider_is_asked_costs_nothing(workshop, emulator):
    calling = asyncio.create_task(workshop.call("CloneVoice", cloning()))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.sleep(0.2)
    assert emulator.count() == 0


async def test_a_failure_after_the_caller_has_left_is_in_the_log(workshop, emulator):
    emulator.faults.add(Fault("voice_create", (Stalled(0.3), Refused(400, "Audio.AudioShortError"))))
    calling = asyncio.create_task(workshop.call("CloneVoice", cloning()))
    await emulator.until(lambda: emulator.count("voice_create"))
    with capture_logs() as logs:
        calling.cancel()
        await asyncio.wait(workshop.makings._tasks)
        await asyncio.sleep(0)
    assert [line["event"] for line in logs] == [
        "voice is made without its caller, who has left",
        "a voice whose caller had left was not made or not recorded",
    ]
    assert await workshop.store.unfinished(FAR_AWAY) == []


async def test_a_clone_whose_answer_was_lost_is_found_and_not_made_again(workshop, emulator):
    emulator.faults.add(Fault("voice_create", Cut()))
    answer = await workshop.call("CloneVoice", cloning())
    (upstream,) = emulator.voices
    assert answer.voice.provider_voice_id == upstream.name
    assert (await workshop.call("GetVoice", GetVoiceRequest(id=answer.voice.id))).voice == answer.voice
    assert answer.voice.receipt.usage.voices == 1
    assert emulator.count("voice_create") == 1


async def test_a_design_whose_answer_was_lost_is_kept_and_the_caller_is_told_where(workshop, emulator):
    emulator.faults.add(Fault("voice_create", Cut()))
    error = await failed(workshop.call("DesignVoice", designing()))
    (voice,) = await workshop.made(DESIGNED)
    assert error.metadata["voice"] == voice.id
    assert voice.provider_voice_id == emulator.voices[0].name
    assert emulator.count("voice_create") == 1


async def test_what_cannot_be_found_at_once_is_found_later(workshop, emulator):
    emulator.faults.add(Fault("voice_create", Cut()))
    emulator.faults.add(Fault("voice_list", Refused(401, "InvalidApiKey"), times=2))
    error = await failed(workshop.call("CloneVoice", cloning()))
    assert error.metadata["replay"] == "ambiguous"
    with capture_logs() as logs:
        await workshop.settled()
    assert [line["event"] for line in logs] == ["the provider could not be asked"]
    assert await workshop.made(CLONED) == []
    with capture_logs() as logs:
        await workshop.settled()
    assert [line["event"] for line in logs] == ["a voice that was made without a record was recovered"]
    assert [voice.provider_voice_id for voice in await workshop.made(CLONED)] == [emulator.voices[0].name]


async def test_what_was_never_made_is_forgotten(workshop, emulator):
    emulator.faults.add(Fault("voice_create", Raw(502)))
    await failed(workshop.call("CloneVoice", cloning()))
    assert len(await workshop.store.unfinished(FAR_AWAY)) == 1
    await workshop.settled()
    assert await workshop.store.unfinished(FAR_AWAY) == []
    assert await workshop.made(CLONED) == []


async def test_a_refusal_leaves_nothing_to_look_for(workshop, emulator):
    emulator.faults.add(Fault("voice_create", Refused(400, "InvalidParameter")))
    error = await failed(workshop.call("CloneVoice", cloning()))
    assert reason_name(error.reason) == "INVALID_PARAMETER"
    assert await workshop.store.unfinished(FAR_AWAY) == []
    assert emulator.count("voice_list") == 0


async def test_without_a_key_nothing_is_asked_and_nothing_is_left(emulator, url):
    async with working(emulator, url, table=provider_table(emulator, api_key="")) as workshop:
        assert isinstance(await failed(workshop.call("CloneVoice", cloning())), ProviderNotConfiguredError)
        assert await workshop.store.unfinished(FAR_AWAY) == []
    assert emulator.count() == 0


async def test_a_provider_that_never_answers_is_given_up_and_its_voice_found(emulator, url):
    emulator.faults.add(Fault("voice_create", Stalled(30.0, after=1)))
    async with working(emulator, url, seconds=0.5) as workshop:
        answer = await workshop.call("CloneVoice", cloning())
        assert answer.voice.provider_voice_id == emulator.voices[0].name


async def test_what_is_being_made_now_is_left_alone(emulator, url):
    emulator.faults.add(Fault("voice_create", Stalled(0.5)))
    async with working(emulator, url, abandoned_seconds=300.0) as workshop:
        making = asyncio.create_task(workshop.call("CloneVoice", cloning()))
        await emulator.until(lambda: emulator.count("voice_create"))
        await workshop.settled()
        assert emulator.count("voice_list") == 0
        assert (await making).voice.provider_voice_id == emulator.voices[0].name


async def test_several_voices_of_one_call_are_all_reported_once(workshop, emulator, url):
    request = cloning(request_id="twice")
    await workshop.call("CloneVoice", request)
    break_table(url, "UPDATE")
    emulator.faults.add(Fault("voice_delete", Refused(401, "InvalidApiKey"), times=None))
    for _ in range(2):
        await failed(workshop.call("CloneVoice", request))
    repair_table(url, "UPDATE")
    with capture_logs() as logs:
        await workshop.settled()
        await workshop.settled()
    lines = [line for line in logs if line["event"] == ORPHANED]
    assert len(lines) == 2
    assert set(lines[0]["provider_voice_ids"]) == {voice.name for voice in emulator.voices[1:]}
    assert len(await workshop.made(CLONED)) == 1


@pytest.mark.parametrize("changed", [{"name": "other"}, {"region": "bj"}])
async def test_a_voice_of_a_provider_or_region_that_is_gone_is_reported_once(emulator, url, changed):
    emulator.faults.add(Fault("voice_create", Cut()))
    emulator.faults.add(Fault("voice_list", Refused(401, "InvalidApiKey")))
    async with working(emulator, url) as workshop:
        await failed(workshop.call("CloneVoice", cloning()))
    name, table = changed.get("name", "qwen"), provider_table(emulator, region=changed.get("region", "sg"))
    async with working(emulator, url, name=name, table=table, abandoned_seconds=0.0) as workshop:
        with capture_logs() as logs:
            await workshop.settled()
            await workshop.settled()
        (line,) = [line for line in logs if line["event"] == ORPHANED]
        assert (line["provider"], line["log_level"]) == ("qwen", "error")


async def test_closing_waits_for_a_voice_whose_caller_has_left(emulator, url):
    emulator.faults.add(Fault("voice_create", Stalled(0.5, after=1)))
    async with working(emulator, url) as workshop:
        calling = asyncio.create_task(workshop.call("CloneVoice", cloning()))
        await until(lambda: emulator.voices)
        calling.cancel()
    async with working(emulator, url) as workshop:
        assert [voice.provider_voice_id for voice in await workshop.made(CLONED)] == [emulator.voices[0].name]


async def test_closing_breaks_off_what_takes_too_long_and_it_is_found_afterwards(emulator, url, monkeypatch):
    monkeypatch.setattr(voice_makings, "CLOSING_SECONDS", 0.2)
    emulator.faults.add(Fault("voice_create", Stalled(30.0, after=1)))
    with capture_logs() as logs:
        async with working(emulator, url) as workshop:
            calling = asyncio.create_task(workshop.call("CloneVoice", cloning()))
            await until(lambda: emulator.voices)
            calling.cancel()
    assert logs[-1]["log_level"] == "error"
    assert "broken off" in logs[-1]["event"]
    async with working(emulator, url, abandoned_seconds=0.0) as workshop:
        await workshop.settled()
        assert [voice.provider_voice_id for voice in await workshop.made(CLONED)] == [emulator.voices[0].name]


async def test_a_voice_survives_the_death_of_its_process_between_making_and_record(emulator, database_url, tmp_path):
    """kill -9 after the vendor has made the voice and before the service has heard of it."""
    emulator.faults.add(Fault("voice_create", Stalled(60.0, after=1)))
    table = provider_table(emulator)
    (tmp_path / "pixvox.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:0"\nhttp = ""\n[log]\nformat = "json"\n[database]\nurl = "{database_url}"\n'
        "[providers.qwen]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
    )
    with started(tmp_path / "pixvox.toml") as process:
        target = await asyncio.to_thread(listening, process)
        async with client.connect_aio(target) as channel:
            stub = voice_service_pb2_grpc.VoiceServiceStub(channel)
            call = stub.CloneVoice(cloning(request_id="mine-1", labels={"team": "audio"}))
            await until(lambda: emulator.voices)
            process.send_signal(signal.SIGKILL)
            with pytest.raises(grpc.aio.AioRpcError):
                await call
    async with working(emulator, database_url, abandoned_seconds=0.0) as workshop:
        await workshop.call("ListVoices", ListVoicesRequest())
        await workshop.makings._settling
        (voice,) = await workshop.made(CLONED)
    assert voice.provider_voice_id == emulator.voices[0].name
    assert (voice.consent.speaker, dict(voice.labels)) == ("Ann", {"team": "audio"})
    assert voice.receipt.request_id == "mine-1"
    assert emulator.count("voice_create") == 1


def started(config: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "pixvox.cli", "serve", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, cwd=config.parent, stderr=subprocess.PIPE, text=True)


def listening(process: subprocess.Popen) -> str:
    """Return the address at which a service that was started listens."""
    for line in process.stderr:
        with contextlib.suppress(ValueError):
            if (entry := json.loads(line)).get("event") == "serving":
                return entry["listen"]
    raise AssertionError("the service did not start")
