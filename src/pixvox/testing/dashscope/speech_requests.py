"""Which voice a speech model takes, shared by the HTTP and the realtime way.

Source: dashscope reference 4a and 4b.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox.testing.dashscope.envelope import RefusedError
from pixvox.testing.dashscope.models import LEGACY_VOICES, SYSTEM_VOICES
from pixvox.testing.dashscope.sound import BYTES_PER_SAMPLE, SAMPLE_RATE, billed_characters

if TYPE_CHECKING:
    from pixvox.testing.dashscope.models import SpeechModel
    from pixvox.testing.dashscope.voices import Voices

# Only of the legacy models is known what they bill. 50 tokens of audio per second.
_AUDIO_TOKENS_PER_SECOND = 50


def check_voice(name: str, model: SpeechModel, voice: str, voices: Voices) -> None:
    """Check that a model can speak with a voice.

    Raises:
        RefusedError: It cannot. The instruct models take about half of the system voices; which is not known, so all are
            taken. [guess]
    """
    if model.voices == "system":
        if voice not in (LEGACY_VOICES if model.legacy else SYSTEM_VOICES):
            raise _unsupported(voice)
        return
    custom = voices.find(voice)
    if custom is None and voice in SYSTEM_VOICES:
        raise RefusedError(400, "CLIENT_ERROR", "[qwen-tts:]Engine return error code: 411")
    if custom is None or custom.target_model != name:
        raise _unsupported(voice)


def usage(model: SpeechModel, text: str, pcm_bytes: int) -> dict[str, object]:
    """Return what a text costs that was spoken as so many bytes of 24 kHz PCM."""
    if not model.legacy:
        return {"characters": billed_characters(text)}
    # How the legacy models count tokens of text is not documented. [guess]
    read = billed_characters(text)
    spoken = round(pcm_bytes / BYTES_PER_SAMPLE / SAMPLE_RATE * _AUDIO_TOKENS_PER_SECOND)
    return {
        "total_tokens": read + spoken,
        "input_tokens": read,
        "output_tokens": spoken,
        "input_tokens_details": {"text_tokens": read},
        "output_tokens_details": {"text_tokens": 0, "audio_tokens": spoken},
    }


def _unsupported(voice: str) -> RefusedError:
    return RefusedError(400, "invalid_value", f"The requested voice '{voice}' is not supported.")
