"""Tones in place of speech, for `ENGINE=fake`: about 60 ms for a character, and other tones for every other request."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pixvox_worker.speech import FRAME_SAMPLES, SAMPLE_RATE

if TYPE_CHECKING:
    from pixvox_worker.speech import SpeechTask

_SECONDS_PER_CHARACTER = 0.06
_LOUDNESS = 0.3


def frames_of(task: SpeechTask) -> int:
    """How many frames the task is spoken in."""
    wanted = len(task.text) * _SECONDS_PER_CHARACTER * SAMPLE_RATE / FRAME_SAMPLES
    return max(1, min(task.max_frames, math.ceil(wanted)))


def frame(task: SpeechTask, number: int) -> bytes:
    """Frame `number` of the task as 16 bit samples: two tones that swell and fade, so that frames can be told apart."""
    digest = hashlib.sha256(f"{_sentence(task)}|{number}".encode()).digest()
    low, high = (110.0 + 4.0 * digest[0], 440.0 + 8.0 * digest[1])
    time: np.ndarray[Any, np.dtype[np.float64]] = np.arange(FRAME_SAMPLES) / SAMPLE_RATE
    swell = np.sin(np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES)
    tones = np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)
    samples = np.rint(_LOUDNESS * 32767 * swell * tones / 2).astype("<i2")
    return bytes(samples.tobytes())


def _sentence(task: SpeechTask) -> str:
    recording = None if task.recording is None else task.recording.digest
    parts = (task.kind, task.text, task.voice, task.instructions, task.language, task.seed, recording, task.transcript)
    return "|".join(str(part) for part in parts)
