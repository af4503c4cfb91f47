"""A request id holds across processes: one that is killed in the middle, and several that share a database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import grpc
import pytest
import sqlalchemy as sa

from calling import stubs_of, until
from databases import database_url, postgres, postgres_url
from emulated import failure_of, provider_table
from pixvox.database.address import address_of
from pixvox.testing.dashscope import DashScopeEmulator, Fault, Stalled
from pixvox.v1 import media_pb2, voice_service_pb2_grpc
from recording import cloning, recording
from repeating import picture, place_of

__all__ = ["database_url", "postgres", "postgres_url"]

LEASE_SECONDS = 1.5


@pytest.fixture
async def vendor():
    async with DashScopeEmulator() as running:
        yield running


@contextlib.asynccontextmanager
async def process_of(vendor, url, folder, *allowed):
    """A `pixvox serve` of its own, and stubs for it."""
    table = provider_table(vendor)
    (folder / "pixvox.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:0"\nhttp = ""\n[log]\nformat = "json"\n[database]\nurl = "{url}"\n'
        f"[fetch]\nallowed_hosts = {json.dumps(allowed)}\n"
        f"[idempotency]\nlease_seconds = {LEASE_SECONDS}\n[target_defaults]\nrequests_per_minute = 0\n"
        "[providers.qwen]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
    )
    command = [sys.executable, "-m", "pixvox.cli", "serve", "--config", str(folder / "pixvox.toml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=folder, stderr=subprocess.PIPE)
    try:
        async with stubs_of(await listening(process)) as stubs:
            yield process, stubs
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def listening(process):
    """The address at which a service that was started listens."""
    said = []
    async for line in process.stderr:
        said.append(line.decode())
        with contextlib.suppress(ValueError):
            if (entry := json.loads(line)).get("event") == "serving":
                return entry["listen"]
    raise AssertionError("".join(said))


async def test_a_call_whose_process_was_killed_after_it_was_sent_is_not_sent_again(vendor, database_url, tmp_path):
    vendor.faults.add(Fault("generate", Stalled(30)))
    async with process_of(vendor, database_url, tmp_path) as (process, stubs):
        call = stubs.images.GenerateImage(picture())
        await until(lambda: vendor.count("generate") == 1)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    started = time.monotonic()
    async with process_of(vendor, database_url, tmp_path) as (_, stubs):
        failures = await asyncio.gather(*(failure_of(stubs.images.GenerateImage(picture())) for _ in range(3)))
    assert {(one.reason, one.metadata["earlier_reason"]) for one in failures} == {("OUTCOME_UNKNOWN", "INSTANCE_LOST")}
    assert time.monotonic() - started < 10 * LEASE_SECONDS
    assert vendor.count("generate") == 1


async def test_a_call_whose_process_was_killed_before_it_was_sent_is_made(vendor, database_url, tmp_path):
    async with slow_at_first() as (place, asked):
        request = cloning(request_id="mine", audio=media_pb2.MediaInput(uri=f"http://{place}/voice.wav"))
        async with process_of(vendor, database_url, tmp_path, place) as (process, stubs):
            call = voices_of(stubs).CloneVoice(request)
            await until(lambda: asked)
            assert rows(database_url) == 1
            process.send_signal(signal.SIGKILL)
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        async with process_of(vendor, database_url, tmp_path, place) as (_, stubs):
            await voices_of(stubs).CloneVoice(request)
    assert vendor.count("voice_create") == 1


@contextlib.asynccontextmanager
async def slow_at_first():
    """HOST:PORT of a recording whose first download comes to no end, and the requests for it."""
    asked = []

    async def answer(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) > 1:
            data = recording()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(data) + data)
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def voices_of(stubs):
    return voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)


def rows(url):
    """How many calls the database knows."""
    engine = sa.create_engine(address_of(url).blocking_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM requests").scalar()


async def test_calls_spread_over_two_services_on_one_database_are_one_call_upstream(vendor, postgres_url):
    vendor.faults.add(Fault("generate", Stalled(0.5)))
    async with place_of(vendor, postgres_url) as one, place_of(vendor, postgres_url) as other:
        answers = await asyncio.gather(*(place.raw(picture()) for _ in range(10) for place in (one, other)))
        assert len(set(answers)) == 1
    assert vendor.count("generate") == 1


async def test_many_ids_over_two_services_on_one_database_are_one_call_each(vendor, postgres_url):
    async with place_of(vendor, postgres_url) as one, place_of(vendor, postgres_url) as other:
        ids = [f"id-{number}" for number in range(40)]
        calls = [place.raw(picture(name)) for name in ids for place in (one, other)]
        answers = await asyncio.gather(*calls)
    assert answers[::2] == answers[1::2]
    assert len(set(answers)) == vendor.count("generate") == len(ids)
