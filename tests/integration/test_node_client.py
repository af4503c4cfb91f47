"""The contract as a caller in another language sees it: Node, with the protos and no generated code."""

from __future__ import annotations

import asyncio
import json
import pathlib
import shutil

import pytest

from machine import lacks

NODE_CLIENT = pathlib.Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        lacks("Node", "nodejs")
    return found


async def test_a_node_client_makes_edits_and_speaks_with_nothing_but_the_protos(node, service):
    if not (NODE_CLIENT / "node_modules").is_dir():
        await run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    results = json.loads(await run(node, "client.mjs", service.target))

    assert results["generate_image"]["provider"] == "sandbox"
    assert results["generate_image"]["size"] == [320, 200]
    assert results["edit_image"]["size"] == [200, 320]
    assert results["edit_image"]["warnings"] == []
    assert results["stream_speech"]["audio_before_last_text_ms"] > 0
    assert results["stream_speech"]["order"] == ["started", "audio", "flushed", "audio", "summary"]
    error = results["error"]
    assert (error["code"], error["reason"], error["field"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "prompt")
    assert results["stream_error"]["reason"] == "STREAM_ORDER"


async def run(*command: str) -> str:
    """Run a program in the client's folder and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=NODE_CLIENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    return printed.decode()
