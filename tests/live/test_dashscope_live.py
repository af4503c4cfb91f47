"""The service against DashScope itself: run only with a key, cheapest first, each with its price (Singapore, USD).

QWEN_API_KEY=sk-... [QWEN_REGION=sg] .venv/bin/pytest tests/live -m live
"""

from __future__ import annotations

import os

import pytest

from calling import check_invariants, config_message, flush_message, kinds, photo, spoken, stubs_of, text_message
from pixvox import server, settings
from pixvox.v1 import media_pb2, speech_service_pb2, voice_service_pb2, voice_service_pb2_grpc
from pixvox.v1.image_service_pb2 import EditImageRequest, GenerateImageRequest
from pixvox.v1.model_service_pb2 import ListProvidersRequest

KEY = os.environ.get("QWEN_API_KEY") or os.environ.get("DASHSCOPE_API_KEY")
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not KEY, reason="spends money: runs only where QWEN_API_KEY is set"),
]


@pytest.fixture
async def stubs(tmp_path):
    vendor = {name: value for name, value in os.environ.items() if name.startswith(("QWEN_", "DASHSCOPE_"))}
    ports = {
        "server.listen": "127.0.0.1:0",
        "server.http": "",
        "database.url": f"sqlite+aiosqlite:///{tmp_path / 'live.db'}",
    }
    running = server.running(settings.load(environment=vendor, overrides=ports))
    async with running as service, stubs_of(service.target) as reached:
        yield reached


async def test_the_key_makes_the_provider_the_default(stubs):
    """Free."""
    first, *_ = (await stubs.models.ListProviders(ListProvidersRequest())).providers
    assert (first.kind, first.ready) == ("dashscope", True)


async def test_a_word_is_spoken_over_http(stubs):
    """0.00006 USD: 6 characters at 0.10 per 10,000."""
    config = speech_service_pb2.SpeechConfig(model="qwen3-tts-flash", voice="Cherry", language_code="en")
    answer = await stubs.speech.SynthesizeSpeech(
        speech_service_pb2.SynthesizeSpeechRequest(text="Hello.", config=config)
    )
    assert answer.audio_duration.ToMilliseconds() > 200
    assert answer.receipt.usage.characters == 6
    assert answer.receipt.cost.state == media_pb2.COST_STATE_PRICED


async def test_two_sentences_are_spoken_in_real_time(stubs):
    """0.0004 USD: about 30 characters at 0.13 per 10,000."""
    answers = await spoken(
        stubs,
        [
            config_message(model="qwen3-tts-flash-realtime", voice="Cherry", language_code="en"),
            text_message("Good "),
            text_message("morning. "),
            flush_message("1"),
            text_message("Good evening."),
        ],
    )
    check_invariants(answers)
    assert kinds(answers).count("flushed") == 1
    assert answers[-1].summary.receipt.usage.characters >= 20


async def test_a_picture_is_made(stubs):
    """0.035 USD: one picture by qwen-image."""
    answer = await stubs.images.GenerateImage(
        GenerateImageRequest(
            prompt="a red bicycle", model="qwen-image", delivery=media_pb2.DELIVERY_INLINE, prompt_extend=False
        )
    )
    (image,) = answer.images
    assert image.data.startswith(b"\x89PNG")
    assert (image.size.width, image.size.height) == (1664, 928)
    assert answer.receipt.usage.images == 1


async def test_a_picture_is_edited(stubs):
    """0.045 USD: one picture by qwen-image-edit."""
    answer = await stubs.images.EditImage(
        EditImageRequest(
            prompt="make the left half green",
            model="qwen-image-edit",
            images=[media_pb2.MediaInput(data=photo(512, 512))],
            delivery=media_pb2.DELIVERY_INLINE,
        )
    )
    assert answer.images[0].data


async def test_a_voice_is_designed_and_purged(stubs):
    """0.20 USD: one designed voice; deleting it gives nothing back."""
    voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
    made = await voices.DesignVoice(
        voice_service_pb2.DesignVoiceRequest(
            display_name="Live test",
            description="A calm low male voice that speaks slowly.",
            preview_text="Welcome to the evening programme.",
            language_code="en",
        )
    )
    assert made.preview_duration.ToMilliseconds() > 500
    purged = await voices.DeleteVoice(voice_service_pb2.DeleteVoiceRequest(id=made.voice.id, purge=True))
    assert purged.voice.state == voice_service_pb2.VOICE_STATE_PURGED
