"""What an engine that speaks is asked for, and what it tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pixvox_worker.tasks import Engine

if TYPE_CHECKING:
    from pixvox_worker.recordings import Recording

CUSTOM_VOICE = "custom-voice"
VOICE_DESIGN = "voice-design"
VOICE_CLONE = "voice-clone"
SPEECH_KINDS = (CUSTOM_VOICE, VOICE_DESIGN, VOICE_CLONE)

SAMPLE_RATE = 24_000
"""Of all that an engine says and of every recording that it is given; samples per second, one channel."""
FRAME_SAMPLES = 1_920
"""A frame is what the model makes in one step: 80 ms."""
AUTO = "auto"
"""The language that the model finds out by itself."""


@dataclass(frozen=True, slots=True)
class SpeechTask:
    """A text to be spoken, by a voice of the model, by one that is described, or by one that was recorded."""

    kind: str
    """The capability that the model must have."""
    text: str
    voice: str | None
    """One of the engine's speakers; None unless `kind` is custom-voice."""
    instructions: str | None
    """How to speak, or who speaks where `kind` is voice-design."""
    language: str
    """One of the engine's languages."""
    seed: int
    max_frames: int
    recording: Recording | None = None
    """Whose voice it is; None unless `kind` is voice-clone."""
    transcript: str | None = None
    """What is said in `recording`; without it the voice alone is copied, not the way of speaking."""
    streamed: bool = False
    """Whether somebody listens while it is made."""

    @property
    def all_steps(self) -> int:
        """Frames at most; where the speech ends is not known before."""
        return self.max_frames

    @property
    def batch_key(self) -> None:
        """Speech runs alone: the model samples from one stream of random numbers, so a batch would mix its seeds."""
        return None


@dataclass(frozen=True, slots=True)
class Spoken:
    """What was used for a speech that is complete."""

    input_tokens: int
    """Of the text, the instructions and the transcript."""
    frames: int


class Listener(Protocol):
    """Is told by the engine, in the engine's thread, how far it is and what it has said."""

    def frame(self, done: int) -> None:
        """`done` frames are there.

        Raises:
            Stopped: nobody waits any more.
        """
        ...

    def piece(self, pcm: bytes) -> None:
        """The next samples: 16 bit signed, little endian, one channel, `SAMPLE_RATE`."""
        ...


@runtime_checkable
class SpeechEngine(Engine, Protocol):
    """One that speaks, as far as its capabilities say so."""

    def speakers(self) -> tuple[str, ...]:
        """The voices that the model brings along, in lower case; none where it has to be given one."""
        ...

    def languages(self) -> tuple[str, ...]:
        """English names in lower case, `auto` among them."""
        ...

    def follows_instructions(self, kind: str) -> bool:
        """Whether `instructions` mean anything to it for speech of this kind."""
        ...

    def speak(self, task: SpeechTask, listener: Listener) -> Spoken:
        """Say it, piece by piece.

        Raises:
            Stopped: from `listener`.
            OutOfMemory: it did not fit; what was allocated is free again.
        """
        ...

    def forget(self, digest: str) -> None:
        """Drop what is kept of the recording with this digest. May be called from any thread."""
        ...
