"""`pixvox emulate dashscope` runs the emulator as a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys

from click.testing import CliRunner

from pixvox.cli.emulate import emulate


async def test_the_command_serves_logs_each_request_and_ends_on_sigterm(session):
    command = [
        sys.executable,
        "-m",
        "pixvox.cli",
        "emulate",
        "dashscope",
        "--listen",
        "127.0.0.1:0",
        "--api-key",
        "sk-mine",
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        base = (await process.stdout.readline()).decode().split()[1]
        assert (await process.stdout.readline()).startswith(b"WebSocket  ws://127.0.0.1:")
        async with session.get(f"{base}/tasks/x", headers={"Authorization": "Bearer sk-mine"}) as answered:
            assert (await answered.json())["output"]["task_status"] == "UNKNOWN"
        line = json.loads(await process.stdout.readline())
        assert (line["operation"], line["status"], line["finished"]) == ("task_get", 200, True)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"")


def test_an_address_in_use_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(emulate, ["dashscope", "--listen", address])
    assert result.exit_code == 1
    assert f"Cannot listen at {address}" in result.output


def test_an_address_without_a_port_is_refused():
    result = CliRunner().invoke(emulate, ["dashscope", "--listen", "localhost"])
    assert result.exit_code == 2
    assert "HOST:PORT" in result.output
