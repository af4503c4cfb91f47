"""Recordings for tests, as a caller would send them."""

from __future__ import annotations

from pixvox.media.audio import encoded_whole
from pixvox.testing.dashscope import expected_pcm
from pixvox.v1 import media_pb2, voice_service_pb2


def recording(characters: int = 60, encoding: int = media_pb2.AUDIO_ENCODING_WAV, rate: int = 24_000) -> bytes:
    """The file of a voice that reads so many characters, a tenth of a second each."""
    audio_format = media_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate)
    return encoded_whole(expected_pcm("a" * characters, "speaker", rate), rate, audio_format)


def cloning(**fields: object) -> voice_service_pb2.CloneVoiceRequest:
    """A request that is all right."""
    given: dict[str, object] = {
        "display_name": "Narrator One",
        "audio": media_pb2.MediaInput(data=recording()),
        "consent": voice_service_pb2.Consent(speaker="Ann", statement="I agree; contract 7."),
    }
    return voice_service_pb2.CloneVoiceRequest(**given | fields)


def designing(**fields: object) -> voice_service_pb2.DesignVoiceRequest:
    """A request that is all right."""
    given: dict[str, object] = {
        "display_name": "Host",
        "description": "warm low male voice, slow",
        "preview_text": "Welcome to the evening programme.",
    }
    return voice_service_pb2.DesignVoiceRequest(**given | fields)
