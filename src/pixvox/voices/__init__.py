"""The catalogue of made voices: who they are, where they belong, and which target speaks with them."""

from __future__ import annotations

from pixvox.voices.speakers import resolved
from pixvox.voices.store import ID_PREFIX, KeptVoice, VoiceChoice, VoiceStore, is_voice_id, new_voice_id

__all__ = ["ID_PREFIX", "KeptVoice", "VoiceChoice", "VoiceStore", "is_voice_id", "new_voice_id", "resolved"]
