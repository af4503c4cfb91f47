"""Our own worker, a real server whose names are vLLM-Omni's, behind that dialect: what the emulators say, a server confirms."""

from __future__ import annotations

import contextlib

import pytest

import serving
from calling import check_invariants, config_message, photo, spoken, text_message
from engines import TEXT, pcm_of
from fake_worker import free_port, process, wait_until_ready
from pixvox.media.audio import decoded
from pixvox.v1 import media_pb2, voice_service_pb2_grpc
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from recording import cloning, designing


@pytest.fixture(scope="module")
def workers():
    """Ports of two workers that do everything."""
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(process(PORT=str(port), SERVED_MODEL_NAME="one"))
        for port in ports:
            wait_until_ready(port)
        yield ports


def service(ports, **model):
    urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
    table = {"kind": "openai", "dialect": "vllm_omni", "urls": urls, "models": [{"name": "one"} | model]}
    return serving.serving(serving.settings_with({"engine": table}, {}, target_defaults=serving.UNLIMITED))


async def test_pictures_are_made_and_edited(workers):
    async with service(workers, id="qwen-image", options={"num_inference_steps": 2}) as stubs:
        request = GenerateImageRequest(prompt="a boat", n=2, seed=7, size=media_pb2.Size(width=64, height=96))
        made = await stubs.images.GenerateImage(request)
        again = await stubs.images.GenerateImage(request)
    assert [(one.size.width, one.size.height) for one in made.images] == [(64, 96)] * 2
    assert made.images[0].data == again.images[0].data
    async with service(workers, id="qwen-image-edit") as stubs:
        request = EditImageRequest(prompt="at night", images=[media_pb2.MediaInput(data=photo())])
        edited = await stubs.images.EditImage(request)
    assert edited.images[0].data.startswith(b"\x89PNG")


async def test_every_way_to_ask_for_a_text_gives_the_same_sound(workers):
    config = config_message(language_code="en", voice="vivian")
    heard = []
    for sound in ("events", "samples", "whole"):
        async with service(workers, id="qwen3-tts", sound=sound, options={"seed": 3}) as stubs:
            answers = await spoken(stubs, [config, text_message(TEXT)])
        check_invariants(answers)
        heard.append(pcm_of(answers))
    assert heard[0]
    assert heard == heard[:1] * 3


async def test_a_voice_is_cloned_or_designed_and_speaks_from_any_of_several_engines(workers):
    design = f"http://127.0.0.1:{workers[0]}/v1"
    model = {"id": "qwen3-tts-base", "design_url": design, "design_name": "one", "options": {"seed": 3}}
    async with service(workers, **model) as stubs:
        voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
        clone = (await voices.CloneVoice(cloning(transcript="What is said."))).voice
        designed = await voices.DesignVoice(designing(language_code="en"))
        heard = [
            pcm_of(await spoken(stubs, [config_message(voice=voice.id), text_message(TEXT)]))
            for voice in (clone, clone, designed.voice, designed.voice)
        ]
    assert decoded(designed.preview)[1] == 24_000
    assert heard[0] == heard[1] != heard[2] == heard[3]
