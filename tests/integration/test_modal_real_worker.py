"""The provider kind of Modal with the worker itself behind it, as a process with the fake engine; there is no edge between."""

from __future__ import annotations

import contextlib

import pytest

import serving
from calling import check_invariants, config_message, photo, spoken, text_message
from emulated import failure_of
from fake_worker import free_port, process, wait_until_ready
from pixvox.media.audio import decoded
from pixvox.v1 import image_service_pb2, media_pb2, voice_service_pb2_grpc
from recording import cloning, designing

SPEAKER, BASE, DESIGN = (f"Qwen3-TTS-12Hz-1.7B-{kind}" for kind in ("CustomVoice", "Base", "VoiceDesign"))
MODELS = {
    "Qwen-Image": {"verb": "generate"},
    "Qwen-Image-Edit": {"verb": "edit"},
    SPEAKER: {"verb": "speak"},
    BASE: {"verb": "clone"},
}


@pytest.fixture(scope="module")
def workers():
    """The address of each model's worker, which serves no other."""
    ports = {name: free_port() for name in (*MODELS, DESIGN)}
    with contextlib.ExitStack() as running:
        for name, port in ports.items():
            running.enter_context(process(PORT=str(port), MODEL_NAME=name, API_KEY="own"))
        for port in ports.values():
            wait_until_ready(port)
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@pytest.fixture
async def stubs(workers):
    providers = {
        f"modal-{number}": {"kind": "modal", "url": workers[name], "worker_key": "own", "models": {name: served}}
        for number, (name, served) in enumerate(MODELS.items())
    }
    providers["modal-3"] |= {"design_url": workers[DESIGN], "design_model": DESIGN}
    async with serving.serving(serving.settings_with(providers, {})) as stubs:
        yield stubs


async def sound(stubs, text, **config):
    answers = await spoken(stubs, [config_message(**config), text_message(text)], timeout=60)
    check_invariants(answers)
    assert answers[-1].summary.receipt.provider_request_id
    return b"".join(answer.audio.data for answer in answers if answer.HasField("audio"))


async def test_pictures_are_made_and_edited(stubs):
    made = await stubs.images.GenerateImage(
        image_service_pb2.GenerateImageRequest(prompt="x", size=media_pb2.Size(width=64, height=64), seed=7), timeout=60
    )
    edited = await stubs.images.EditImage(
        image_service_pb2.EditImageRequest(prompt="x", images=[media_pb2.MediaInput(data=photo())], seed=7), timeout=60
    )
    assert made.images[0].seed == 7
    assert (made.receipt.model, edited.receipt.model) == ("Qwen-Image", "Qwen-Image-Edit")


async def test_speech_comes_with_the_voices_of_the_model(stubs):
    ryan = await sound(stubs, "Hello there.", model=SPEAKER, voice="Ryan", language_code="en")
    assert ryan != await sound(stubs, "Hello there.", model=SPEAKER, voice="Serena", language_code="en")
    assert any(ryan)


async def test_a_cloned_and_a_designed_voice_speak_with_what_the_catalogue_has_of_them(stubs):
    voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
    cloned = (await voices.CloneVoice(cloning(model=BASE, transcript="a"), timeout=60)).voice
    answer = await voices.DesignVoice(designing(model=BASE, language_code="en"), timeout=60)
    assert any(decoded(answer.preview)[0])
    assert any(await sound(stubs, "Hello there.", voice=cloned.id))
    assert any(await sound(stubs, "Hello there.", voice=answer.voice.id))


async def test_what_a_worker_is_not_for_is_the_operators_fault(workers):
    table = {"kind": "modal", "url": workers["Qwen-Image"], "worker_key": "own", "models": {SPEAKER: {"verb": "speak"}}}
    async with serving.serving(serving.settings_with({"modal": table}, {})) as stubs:
        failed = await failure_of(sound(stubs, "Hello there."))
    assert failed.reason == "PROVIDER_CONFIG"
