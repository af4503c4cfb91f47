"""The real worker as a process, with its fake engine: the emulator answers like it, and the provider works with it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import dataclass
from functools import partial

import aiohttp
import grpc
import pytest
from google.protobuf import struct_pb2
from PIL import Image

import fake_worker
from calling import check_invariants, config_message, photo, spoken, text_message
from emulated import failure_of
from pixvox.media.audio import decoded
from pixvox.testing.worker import WorkerEmulator
from pixvox.v1 import media_pb2, voice_service_pb2_grpc
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from recording import cloning, designing, recording
from workers import CLONER, EDITOR, PAINTER, SPEAKER, pcm_of, service

NAME = "everything"
# One process with the fake engine does what several containers do.
MODELS = {
    PAINTER: {"name": NAME, "steps": 3},
    EDITOR: {"name": NAME, "steps": 3},
    SPEAKER: {"name": NAME},
    CLONER: {"name": NAME, "design_name": NAME},
}
SMALL = media_pb2.Size(width=128, height=64)
TEXT = "Hello there. How are you today?"


@dataclass(frozen=True)
class Real:
    """A worker's process, as the provider's settings name it."""

    url: str


def real_worker(**environment):
    port = fake_worker.free_port()
    given = {"PORT": str(port), "MODEL_NAME": NAME, "MAX_CONCURRENT_REQUESTS": "8", **environment}
    return port, fake_worker.process(**given)


@pytest.fixture(scope="module")
def worker():
    port, process = real_worker(FAKE_STEP_SECONDS="0.01")
    with process:
        fake_worker.wait_until_ready(port)
        yield Real(f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def slow_worker():
    """One that takes a second for ten steps, and four requests at a time."""
    port, process = real_worker(FAKE_STEP_SECONDS="0.1", MAX_CONCURRENT_REQUESTS="4")
    with process:
        fake_worker.wait_until_ready(port)
        yield Real(f"http://127.0.0.1:{port}")


async def metric(real, name):
    async with aiohttp.ClientSession() as session, session.get(f"{real.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def until(condition, seconds=30):
    """Wait until what a worker says of itself makes a condition true."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.05)


async def running(real):
    return await metric(real, "worker_running ") > 0


async def idle(real):
    return not await running(real)


# The emulator.

DRAWN = {"prompt": "a cat", "size": "64x64", "num_inference_steps": 2, "seed": 1}
SAID = {"input": "Hi there.", "language": "English", "response_format": "pcm"}
STREAMED = {"stream": True, "stream_format": "sse"}
WAV = f"data:audio/wav;base64,{base64.b64encode(recording()).decode()}"
ASKED = [
    ("/v1/images/generations", DRAWN),
    ("/v1/images/generations", {**DRAWN, "stream": True, "n": 2}),
    ("/v1/images/generations", {**DRAWN, "stream": True, "output_format": "jpeg", "quality": "low"}),
    ("/v1/images/generations", {**DRAWN, "prompt": ""}),
    ("/v1/images/generations", {**DRAWN, "model": "another"}),
    ("/v1/images/generations", {**DRAWN, "size": "big"}),
    ("/v1/images/generations", {**DRAWN, "output_format": "gif"}),
    ("/v1/images/edits", {**DRAWN, "stream": True, "image": "PNG"}),
    ("/v1/images/edits", DRAWN),
    ("/v1/images/edits", {**DRAWN, "image": base64.b64encode(b"no picture").decode()}),
    ("/process", {"prompt": "a cat", "image_base64": "PNG", "num_inference_steps": 2, "seed": 1}),
    ("/process", {"prompt": "a cat", "image_base64": "PNG", "num_inference_steps": 2, "prefer": "respond-async"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "CustomVoice", "voice": "ryan"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "Base", "ref_audio": WAV, "ref_text": "aaa"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "Base", "ref_audio": WAV, "x_vector_only_mode": True}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "VoiceDesign", "instructions": "low and slow"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "CustomVoice", "voice": "Ryan", "sample_rate": 8000}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "CustomVoice", "voice": "nobody"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "CustomVoice"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "VoiceDesign"}),
    ("/v1/audio/speech", {**SAID, **STREAMED, "task_type": "CustomVoice", "input": " "}),
    ("/nowhere", DRAWN),
]
TASKS = {"CustomVoice": "custom-voice", "VoiceDesign": "voice-design", "Base": "voice-clone"}


@dataclass(frozen=True)
class Answer:
    """As much of an answer as a client goes by."""

    status: int
    kind: str
    headers: frozenset[str]
    shape: object


async def answer_of(url, path, body):
    """What a worker answers."""
    body = dict(body)
    for name in ("image", "image_base64"):
        if body.get(name) == "PNG":
            body[name] = base64.b64encode(photo()).decode()
    headers = {"Prefer": body.pop("prefer")} if "prefer" in body else {}
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body, headers=headers) as response:
        text = await response.text()
        told = {"X-Request-Id", "X-Job-Id", "X-Sample-Rate", "Location"} & set(map(_usual, response.headers))
        shape = _events(text) if response.content_type == "text/event-stream" else _keys(json.loads(text))
        return Answer(response.status, response.content_type, frozenset(told), shape)


def _usual(name):
    return "-".join(part.capitalize() for part in name.split("-"))


def _events(text):
    """The names of events with their members, each once, in the order in which they first come."""
    seen = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(": ", 1) for line in lines)
            seen.append((fields["event"], _keys(json.loads(fields["data"]))))
    return list(dict.fromkeys(seen))


def _keys(content):
    """The names of members, and of an error what it is."""
    if "error" in content and isinstance(content["error"], dict):
        error = content["error"]
        return (*sorted(content), error["type"], error["code"], *sorted(error))
    return tuple(sorted(content))


@pytest.mark.parametrize(("path", "body"), ASKED, ids=lambda value: value if isinstance(value, str) else "")
async def test_the_emulator_answers_like_the_real_worker(path, body, worker):
    fits = TASKS.get(body.get("task_type"), "image-editing" if path == "/v1/images/edits" else "text-to-image")
    async with WorkerEmulator(models={NAME: fits}) as emulator:
        expected = await answer_of(worker.url, path, body)
        assert await answer_of(emulator.url, path, body) == expected
    assert expected.status in {200, 202, 400, 404, 415}


async def test_the_emulator_says_how_it_is_like_the_real_worker(worker):
    async with WorkerEmulator(models={NAME: "text-to-image"}) as emulator, aiohttp.ClientSession() as session:
        for path in ("/health", "/v1/models", "/livez"):
            answers = []
            for url in (worker.url, emulator.url):
                async with session.get(url + path) as response:
                    text = await response.text()
                    found = json.loads(text) if response.content_type == "application/json" else text
                    answers.append((response.status, sorted(found) if isinstance(found, dict) else found))
            assert answers[0] == answers[1]


# The provider.


def everything(real, **fields):
    return service(real, models=MODELS, **fields)


async def test_pictures_are_made_and_edited(worker):
    drawing = GenerateImageRequest(prompt="a red bicycle", size=SMALL, seed=7, n=2)
    editing = EditImageRequest(prompt="at night", images=[media_pb2.MediaInput(data=photo(128, 64))], seed=3)
    async with everything(worker) as stubs:
        drawn = await stubs.images.GenerateImage(drawing, timeout=60)
        again = await stubs.images.GenerateImage(drawing, timeout=60)
        edited = await stubs.images.EditImage(editing, timeout=60)
    assert [image.seed for image in drawn.images] == [7, 8]
    assert [image.data for image in drawn.images] == [image.data for image in again.images]
    assert Image.open(io.BytesIO(drawn.images[0].data)).size == (128, 64)
    assert Image.open(io.BytesIO(edited.images[0].data)).size == (128, 64)
    assert drawn.receipt.provider_request_id != again.receipt.provider_request_id
    assert not drawn.warnings


async def test_what_the_real_worker_refuses_has_its_reason(worker):
    steps = struct_pb2.Struct()
    steps.update({"worker": {"steps": 5000}})
    odd = {PAINTER: {"name": "another"}}
    async with everything(worker) as stubs:
        request = GenerateImageRequest(prompt="x", size=SMALL, provider_options=steps)
        refused = await failure_of(stubs.images.GenerateImage(request))
    async with service(worker, models=odd) as stubs:
        unknown = await failure_of(stubs.images.GenerateImage(GenerateImageRequest(prompt="x", size=SMALL)))
    assert refused.reason == "INVALID_PARAMETER"
    assert unknown.reason == "PROVIDER_CONFIG"


async def test_speech_is_heard_with_a_voice_of_the_model(worker):
    messages = [config_message(model=SPEAKER, voice="Ryan", language_code="en"), text_message(TEXT)]
    async with everything(worker) as stubs:
        answers = await spoken(stubs, messages, timeout=60)
    check_invariants(answers)
    assert any(pcm_of(answers))
    assert answers[-1].summary.receipt.usage.characters == len(TEXT)
    assert answers[-1].summary.chunks > 1


async def test_voices_are_cloned_and_designed_and_speak(worker):
    async with everything(worker) as stubs:
        voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
        cloned = (await voices.CloneVoice(cloning(model=CLONER, transcript="aaa"), timeout=60)).voice
        designed = await voices.DesignVoice(designing(model=CLONER), timeout=60)
        assert any(decoded(designed.preview)[0])
        heard = []
        for voice in (cloned, designed.voice):
            answers = await spoken(stubs, [config_message(voice=voice.id), text_message(TEXT)], timeout=60)
            check_invariants(answers)
            heard.append(pcm_of(answers))
    assert all(map(any, heard))
    assert heard[0] != heard[1]


async def test_ten_edits_at_once_are_all_done_or_refused_and_none_is_lost(slow_worker):
    models = {EDITOR: {"name": NAME, "steps": 3}}
    request = EditImageRequest(prompt="at night", images=[media_pb2.MediaInput(data=photo())])
    async with service(slow_worker, models=models) as stubs:
        calls = [stubs.images.EditImage(request, timeout=60) for _ in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert len(done) + len(refused) == 10
    assert all(error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED for error in refused)
    assert len(done) >= 4
    assert all(len(answer.images) == 1 for answer in done)


@pytest.mark.parametrize("bare", [False, True])
async def test_a_caller_that_leaves_frees_the_worker(bare, slow_worker):
    steps = struct_pb2.Struct()
    steps.update({"worker": {"steps": 200}})
    images = [media_pb2.MediaInput(data=photo())]
    request = EditImageRequest(prompt="at night", images=images, provider_options=steps)
    fields = {"contract": "process", "jobs": True, "poll_seconds": 0.05} if bare else {}
    async with service(slow_worker, models={EDITOR: {"name": NAME}}, **fields) as stubs:
        before = await metric(slow_worker, "worker_cancelled_total")
        call = stubs.images.EditImage(request)
        await until(partial(running, slow_worker))
        call.cancel()

        async def called_off():
            return await metric(slow_worker, "worker_cancelled_total") > before

        # 200 steps take 20 seconds; it is over long before.
        await until(called_off, seconds=10)
        await until(partial(idle, slow_worker), seconds=10)


async def test_a_deadline_is_the_workers_own_too(slow_worker):
    steps = struct_pb2.Struct()
    steps.update({"worker": {"steps": 200}})
    request = GenerateImageRequest(prompt="x", size=SMALL, provider_options=steps)
    async with everything(slow_worker) as stubs:
        failed = await failure_of(stubs.images.GenerateImage(request, timeout=1.0))
        assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(partial(idle, slow_worker), seconds=10)
