"""A real service whose only provider keeps no voices: that of `tests/fixtures/echo_provider`, installed by its folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

import serving
from calling import config_message, stubs_of, text_message
from pixvox import server
from pixvox.database.address import address_of
from pixvox.provider import Reference
from pixvox.v1 import speech_service_pb2, voice_service_pb2
from pixvox.v1.voice_service_pb2 import CloneVoiceRequest, ListVoicesRequest, Voice
from pixvox.v1.voice_service_pb2_grpc import VoiceServiceStub
from recording import cloning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from calling import Stubs
    from pixvox.settings import Settings

FOLDER = Path(__file__).parent / "fixtures" / "echo_provider"


@pytest.fixture
def echo_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the kind `echo` found, in processes that are started as well."""
    monkeypatch.syspath_prepend(FOLDER)
    yield
    sys.modules.pop("echo_pixvox", None)


@dataclass
class Echoing:
    """Stubs of a service with the provider."""

    stubs: Stubs
    running: server.Running | None = None

    @property
    def voices(self) -> VoiceServiceStub:
        return VoiceServiceStub(self.stubs.channel)

    @property
    def provider(self) -> Any:
        return self.running.current.router.entry("echo").provider

    async def cloned(self, **fields: object) -> Voice:
        return (await self.voices.CloneVoice(cloning(**fields))).voice

    async def listed(self) -> list[Voice]:
        request = ListVoicesRequest(kind=voice_service_pb2.VOICE_KIND_CLONED, show_deleted=True)
        return list((await self.voices.ListVoices(request)).voices)

    async def synthesized(self, voice: Voice, text: str = "abc", **config: object) -> bytes:
        request = speech_service_pb2.SynthesizeSpeechRequest(
            text=text, config=speech_service_pb2.SpeechConfig(voice=voice.id, **config)
        )
        return (await self.stubs.speech.SynthesizeSpeech(request)).data

    async def streamed(self, voice: Voice, text: str = "abc") -> list[speech_service_pb2.StreamSpeechResponse]:
        messages = iter([config_message(voice=voice.id), *map(text_message, text)])
        return [answer async for answer in self.stubs.speech.StreamSpeech(messages)]


def settings(url: str = "", **table: object) -> Settings:
    """Settings of a service; `table` is the provider's."""
    tables = {"database": {"url": url}} if url else {}
    return serving.settings_with({"echo": {"kind": "echo", **table}}, {}, **tables)


@contextlib.asynccontextmanager
async def echoing(url: str = "", **table: object) -> AsyncIterator[Echoing]:
    """A service in this process."""
    async with server.running(settings(url, **table)) as running, stubs_of(running.target) as stubs:
        yield Echoing(stubs, running)


@contextlib.asynccontextmanager
async def echoing_process(
    url: str, folder: Path, **table: object
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Echoing]]:
    """A service in a process of its own."""
    file = folder / "pixvox.toml"
    file.write_text(
        f'[server]\nlisten = "127.0.0.1:0"\nhttp = ""\n[log]\nformat = "json"\n[database]\nurl = "{url}"\n'
        '[providers.echo]\nkind = "echo"\n'
        + "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
    )
    command = [sys.executable, "-m", "pixvox.cli", "serve", "--config", str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=folder, stderr=subprocess.PIPE)
    try:
        async with stubs_of(await _listening(process)) as stubs:
            yield process, Echoing(stubs)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def sound_of(request: CloneVoiceRequest, text: str = "abc") -> bytes:
    """What a voice that was cloned by a request says a text like, if its whole reference arrives."""
    return sound_from(Reference(request.audio.data, "audio/wav", request.transcript, request.language_code), text)


def sound_from(reference: Reference, text: str = "abc") -> bytes:
    import echo_pixvox  # is found where a test has installed it

    return echo_pixvox.hum(echo_pixvox.digest_of(reference), text)


def rows(url: str, statement: str = "SELECT voice_id, data FROM voice_references") -> list[tuple]:
    """What another process finds in the database."""
    with sa.create_engine(address_of(url).blocking_url, poolclass=sa.NullPool).begin() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


async def _listening(process: asyncio.subprocess.Process) -> str:
    said = []
    async for line in process.stderr:
        said.append(line.decode())
        with contextlib.suppress(ValueError):
            if (entry := json.loads(line)).get("event") == "serving":
                return entry["listen"]
    raise AssertionError("".join(said))
