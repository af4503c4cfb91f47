"""What the service adds to our own worker: a picture, and the first sound of a sentence, through it and past it.

The worker paints and hums by numbers (`ENGINE=fake`), so that what is measured is the way and not the model. Every piece of
sound takes a fixed time, as a model's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.startup import wait_until_serving
from pixvox import client
from pixvox.v1 import (
    image_service_pb2,
    image_service_pb2_grpc,
    media_pb2,
    speech_service_pb2,
    speech_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

ROUNDS = 60
PORT = 52400
PIECE_SECONDS = "0.02"
TEXT = "The first sound of a sentence is what its listener waits for."
SETTINGS = f"""
[server]
listen = "127.0.0.1:{PORT + 1}"
http = "127.0.0.1:{PORT + 2}"
[providers.gpu]
kind = "worker"
url = "http://127.0.0.1:{PORT}"
[providers.gpu.models.fake-model]
tasks = ["text-to-image"]
[providers.gpu.models.fake-voice]
name = "fake-model"
tasks = ["custom-voice"]
voices = ["vivian"]
"""
PICTURE = {"prompt": "a lighthouse", "size": "256x256", "num_inference_steps": 1, "seed": 1, "stream": True}
SPEECH = {"input": TEXT, "voice": "vivian", "response_format": "pcm", "stream": True, "stream_format": "sse"}


def main() -> None:
    """Print the medians of both ways, taken in turn, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixvox.toml"
        file.write_text(SETTINGS)
        worker = {"ENGINE": "fake", "MODEL_NAME": "fake-model", "PORT": str(PORT), "FAKE_STEP_SECONDS": PIECE_SECONDS}
        serve = [sys.executable, "-m", "pixvox.cli", "serve", "--config", str(file)]
        with (
            _process([sys.executable, "-m", "pixvox_worker"], folder, worker | {"HOST": "127.0.0.1"}),
            _process(serve, folder, {}),
        ):
            wait_until_serving(f"127.0.0.1:{PORT + 1}")
            asyncio.run(_compared())


async def _compared() -> None:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{PORT}") as worker,
        client.connect_aio(f"127.0.0.1:{PORT + 1}") as channel,
    ):
        await _until_ready(worker)
        images = image_service_pb2_grpc.ImageServiceStub(channel)
        speech = speech_service_pb2_grpc.SpeechServiceStub(channel)
        await _told("picture, 256x256, to the last byte", lambda: _painted(worker), lambda: _generated(images))
        await _told("first sound of a streamed sentence", lambda: _hummed(worker), lambda: _spoken(speech))


async def _told(what: str, past: Callable[[], Awaitable[float]], through: Callable[[], Awaitable[float]]) -> None:
    for _ in range(3):
        await past()
        await through()
    pairs = [(await past(), await through()) for _ in range(ROUNDS)]
    direct, own = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"{what}: through pixvox {own * 1e3:.1f} ms, straight {direct * 1e3:.1f} ms, ratio {own / direct:.2f}")


async def _painted(worker: aiohttp.ClientSession) -> float:
    started = time.perf_counter()
    async with worker.post("/v1/images/generations", json=PICTURE) as answer:
        assert answer.status == 200
        assert b"image_generation.completed" in await answer.read()
    return time.perf_counter() - started


async def _generated(images: image_service_pb2_grpc.ImageServiceStub) -> float:
    request = image_service_pb2.GenerateImageRequest(
        model="fake-model", prompt="a lighthouse", size=media_pb2.Size(width=256, height=256), seed=1
    )
    request.provider_options.update({"worker": {"steps": 1}})
    started = time.perf_counter()
    assert (await images.GenerateImage(request)).images
    return time.perf_counter() - started


async def _hummed(worker: aiohttp.ClientSession) -> float:
    started = time.perf_counter()
    async with worker.post("/v1/audio/speech", json=SPEECH) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if b"speech.audio.delta" in line:
                return time.perf_counter() - started
    raise AssertionError


async def _spoken(speech: speech_service_pb2_grpc.SpeechServiceStub) -> float:
    config = speech_service_pb2.SpeechConfig(model="fake-voice", voice="vivian")
    messages = [
        speech_service_pb2.StreamSpeechRequest(config=config),
        speech_service_pb2.StreamSpeechRequest(text=TEXT),
    ]
    started = time.perf_counter()
    call = speech.StreamSpeech(iter(messages))
    async for answer in call:
        if answer.HasField("audio"):
            call.cancel()
            return time.perf_counter() - started
    raise AssertionError


async def _until_ready(worker: aiohttp.ClientSession) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with worker.get("/health") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def _process(command: list[str], folder: str, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
