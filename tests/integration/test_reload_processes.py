"""Reloads of the command itself: signals, workers, a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from calling import stubs_of, until
from reloaded import DIGEST, SANDBOX, SMALL

if TYPE_CHECKING:
    from pathlib import Path


class Process:
    """A `pixvox serve` of its own, whose log is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, object]] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(json.loads(line))

    def lines(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.log if line["event"] == event]

    async def said(self, event: str, times: int = 1) -> list[dict[str, object]]:
        try:
            await until(lambda: len(self.lines(event)) >= times, seconds=20)
        except TimeoutError:
            pytest.fail(f"{event!r} was not said {times} times: {self.log}")
        return self.lines(event)

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)


@contextlib.asynccontextmanager
async def process(tmp_path: Path, *arguments: str, text: str, watch: float = 0.0, **options: object):
    file = tmp_path / "pixvox.toml"
    file.write_text(f"[server]\nwatch_seconds = {watch}\n{text}")
    vendor = ("QWEN_", "DASHSCOPE_", "PIXVOX_", "TTS_")
    machine = {name: value for name, value in os.environ.items() if not name.startswith(vendor)}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pixvox.cli", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments),
        cwd=tmp_path,
        env=machine | {"PIXVOX_LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
        **options,
    )
    running = Process(started)
    try:
        yield running, file
    finally:
        if started.returncode is None:
            started.terminate()
        await started.wait()
        await running.reading


def holds_hangups(pid: int) -> bool:
    (mask,) = re.findall(r"SigBlk:\s*(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) & 1 << signal.SIGHUP - 1)


def rewritten(file: Path, text: str) -> None:
    """Swap the file for another one, as careful tools do."""
    head = file.read_text().partition("\n[providers")[0]
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{head}\n{text}")
    fresh.replace(file)


async def test_a_hangup_has_the_file_read_again_and_a_bad_one_is_survived(tmp_path):
    async with process(tmp_path, text=SANDBOX.format("true")) as (running, file):
        (start,) = await running.said("serving")
        rewritten(file, SANDBOX.format("false"))
        running.hang_up()
        (line,) = await running.said("configuration reloaded")
        assert line["old_digest"] == start["digest"] != line["digest"]
        rewritten(file, "[providers")
        running.hang_up()
        await running.said("configuration refused")
        running.hang_up()
        await running.said("configuration refused", times=2)
        async with stubs_of(str(start["listen"])) as stubs:
            call = stubs.images.GenerateImage(SMALL)
            await call
            assert dict(await call.trailing_metadata())[DIGEST] == line["digest"]
        running.process.terminate()
        assert await running.process.wait() == 0


async def test_a_hangup_while_starting_is_kept_for_later(tmp_path):
    async with process(tmp_path, text=SANDBOX.format("true")) as (running, file):
        # The interpreter itself dies of it until it has come to the command.
        await until(lambda: holds_hangups(running.process.pid), seconds=20)
        for _ in range(30):
            running.hang_up()
            await asyncio.sleep(0.02)
        await running.said("serving")
        rewritten(file, SANDBOX.format("false"))
        running.hang_up()
        await running.said("configuration reloaded")


async def test_a_watched_file_is_read_again_by_every_worker(tmp_path):
    async with process(tmp_path, "--workers", "2", text=SANDBOX.format("true"), watch=0.1) as (running, file):
        starts = await running.said("serving", times=2)
        rewritten(file, SANDBOX.format("false"))
        lines = await running.said("configuration reloaded", times=2)
        assert {line["digest"] for line in lines}.isdisjoint({line["digest"] for line in starts})
        assert len({line["digest"] for line in lines}) == 1
        # The supervisor gave each its own ports, which is no change of the file.
        assert running.lines("configuration needs a restart") == []


async def test_a_hangup_reaches_every_worker_and_one_that_is_replaced_has_what_the_others_have(tmp_path):
    async with process(tmp_path, "--workers", "2", text=SANDBOX.format("true")) as (running, file):
        starts = await running.said("serving", times=2)
        # A worker that dies sooner ends everything.
        await asyncio.sleep(5.1)
        rewritten(file, SANDBOX.format("false"))
        running.hang_up()
        lines = await running.said("configuration reloaded", times=2)
        os.kill(int(str(starts[0]["pid"])), signal.SIGKILL)
        await running.said("serving", times=3)
        lines = await running.said("configuration reloaded", times=3)
        assert len({line["digest"] for line in lines}) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_terminal_that_is_closed_ends_the_service(tmp_path, workers):
    keyboard, terminal = pty.openpty()
    options = {"stdin": terminal, "start_new_session": True}
    async with process(tmp_path, "--workers", workers, text=SANDBOX.format("true"), **options) as (running, _):
        os.close(terminal)
        await running.said("serving", times=int(workers))
        os.close(keyboard)
        # It was not the controlling terminal, which would send this by itself.
        running.hang_up()
        async with asyncio.timeout(10):
            assert await running.process.wait() == 0
