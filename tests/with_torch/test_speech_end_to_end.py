"""StreamSpeech, CloneVoice and DesignVoice through the service, spoken by the worker's real Qwen3-TTS code."""

from __future__ import annotations

import numpy as np

from calling import check_invariants, config_message, spoken, text_message
from pixvox.media.audio import decoded
from pixvox.v1 import media_pb2, voice_service_pb2, voice_service_pb2_grpc
from recording import cloning, designing, recording
from speaking import pcm_of

# Few tokens, so that tiny weights, which never find an end, come to one.
SHORT = {"worker": {"max_new_tokens": 24, "seed": 3}}


async def test_a_built_in_voice_speaks_in_pieces(stubs):
    answers = await said(stubs, "Good evening.", model="tiny-speak", voice="vivian")

    check_invariants(answers)
    samples = samples_of(answers)
    assert audible(samples)
    assert sum(answer.HasField("audio") for answer in answers) > 1
    assert answers[-1].summary.receipt.provider == "gpu"


async def test_the_seed_speaks_the_same_again_and_another_voice_does_not(stubs):
    once = samples_of(await said(stubs, "Good evening.", model="tiny-speak", voice="vivian"))
    again = samples_of(await said(stubs, "Good evening.", model="tiny-speak", voice="vivian"))
    other = samples_of(await said(stubs, "Good evening.", model="tiny-speak", voice="ryan"))

    assert np.array_equal(once, again)
    assert not (once.shape == other.shape and np.array_equal(once, other))


async def test_a_cloned_voice_speaks_and_depends_on_its_recording(stubs):
    voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
    heard = []
    for characters in (40, 70):
        audio = media_pb2.MediaInput(data=recording(characters))
        made = await voices.CloneVoice(cloning(model="tiny-clone", audio=audio, transcript="I read this."))
        assert made.voice.kind == voice_service_pb2.VOICE_KIND_CLONED
        heard.append(samples_of(await said(stubs, "Good evening.", voice=made.voice.id)))

    assert all(audible(one) for one in heard)
    assert not (heard[0].shape == heard[1].shape and np.array_equal(*heard))


async def test_a_designed_voice_has_a_preview_and_speaks_like_it_ever_after(stubs):
    voices = voice_service_pb2_grpc.VoiceServiceStub(stubs.channel)
    request = designing(model="tiny-clone")
    request.provider_options.update(SHORT)
    made = await voices.DesignVoice(request)

    preview, _ = decoded(made.preview)
    assert audible(np.frombuffer(preview, "<i2"))
    once = samples_of(await said(stubs, "Good evening.", voice=made.voice.id))
    again = samples_of(await said(stubs, "Good evening.", voice=made.voice.id))
    assert audible(once)
    assert np.array_equal(once, again)


async def said(stubs, text: str, **config):
    message = config_message(**config)
    message.config.provider_options.update(SHORT)
    return await spoken(stubs, [message, text_message(text)], timeout=100)


def samples_of(answers) -> np.ndarray:
    return np.frombuffer(pcm_of(answers), "<i2")


def audible(samples: np.ndarray) -> bool:
    """Whether there is sound, and not only at its beginning."""
    return len(samples) > 2400 and float(np.abs(samples[len(samples) // 2 :].astype(float)).max()) > 100
