"""Qwen3-TTS of all three kinds, run by the package qwen_tts. Everything here happens in the inference thread.

The package makes whole speeches: it takes no seed, cannot be stopped and says nothing before the end. Each step of its
talker carries a frame of codes, though, and a hook there is what streams, tells how far it is and stops
(`Utterance`). That is the inside of version 0.1.1, and the tests of this engine are what holds it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from huggingface_hub import snapshot_download

from pixvox_worker.engines import placement
from pixvox_worker.engines.stand_ins import import_qwen_tts
from pixvox_worker.engines.utterance import Utterance
from pixvox_worker.failures import OutOfMemory
from pixvox_worker.settings import Offload
from pixvox_worker.speech import (
    AUTO,
    CUSTOM_VOICE,
    FRAME_SAMPLES,
    SAMPLE_RATE,
    VOICE_CLONE,
    VOICE_DESIGN,
    SpeechTask,
    Spoken,
)

if TYPE_CHECKING:
    from pixvox_worker.recordings import Recording
    from pixvox_worker.settings import Settings
    from pixvox_worker.speech import Listener

_log = logging.getLogger(__name__)
# Untyped, and of another release where the types are checked.
_transformers: Any = transformers
# What config.json calls the kind of a checkpoint.
_KINDS = {"custom_voice": CUSTOM_VOICE, "voice_design": VOICE_DESIGN, "base": VOICE_CLONE}
_CODEC = "qwen3_tts_tokenizer_12hz"
# The smaller checkpoints were not taught to follow instructions; the package drops them without a word.
_SMALL = "0b6"
# What nobody listens to while it is made is decoded in pieces of the size that the package itself takes.
_WHOLE_FRAMES = 300


class QwenTtsEngine:
    """One checkpoint, loaded from a folder or from the cache of the hub."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._package: Any = None
        self._codec: Any = None
        self._kind = CUSTOM_VOICE
        self._device = "cpu"
        self._prompts: OrderedDict[tuple[str, str | None], Any] = OrderedDict()
        self._keeping = threading.Lock()

    @property
    def package(self) -> Any:  # noqa: ANN401 - it has no types
        """The `Qwen3TTSModel` of the package itself."""
        return self._package

    def load(self) -> None:
        """Read the weights and put them where they run.

        Raises:
            ValueError: the folder holds a checkpoint that the worker does not know.
            RuntimeError: the settings ask for a device that is not there.
        """
        settings = self._settings
        if settings.torch_threads:
            torch.set_num_threads(settings.torch_threads)
        if settings.offload is not Offload.NONE or settings.compile:
            _log.warning("OFFLOAD and COMPILE mean nothing for speech and are ignored")
        # They say at every request which token they pad with, and that they take their defaults.
        _transformers.logging.set_verbosity_error()
        logging.getLogger("qwen_tts").setLevel(logging.WARNING)
        self._device = placement.device(settings.device)
        folder = _folder(settings.model_name)
        self._kind = _kind_in(folder)
        self._package = import_qwen_tts().Qwen3TTSModel.from_pretrained(
            str(folder), device_map=self._device, dtype=placement.dtype(settings.dtype, self._device)
        )
        self._codec = self._package.model.speech_tokenizer
        _check_codec(self._codec)
        self._package.model.speech_tokenizer = _Undecoded(self._codec)
        if settings.warm_up:
            self._warm_up()

    def capabilities(self) -> tuple[str, ...]:
        """By the kind of the checkpoint."""
        return (self._kind,)

    def describe(self) -> dict[str, object]:
        """Device and class."""
        return {"device": self._device, "engine": "qwen_tts", "class": "Qwen3TTSForConditionalGeneration"}

    def speakers(self) -> tuple[str, ...]:
        """Those of the checkpoint."""
        return tuple(self._package.get_supported_speakers() or ()) if self._kind == CUSTOM_VOICE else ()

    def languages(self) -> tuple[str, ...]:
        """Those of the checkpoint."""
        return tuple(self._package.get_supported_languages() or (AUTO,))

    def follows_instructions(self, kind: str) -> bool:
        """A clone speaks as its recording does."""
        if kind == CUSTOM_VOICE:
            return bool(self._package.model.tts_model_size != _SMALL)
        return kind == VOICE_DESIGN

    def memory_bytes(self) -> int:
        """What torch has allocated on the GPU."""
        return torch.cuda.memory_allocated() if self._device == "cuda" else 0

    def forget(self, digest: str) -> None:
        """Drop what was made of the recording."""
        with self._keeping:
            for key in [key for key in self._prompts if key[0] == digest]:
                del self._prompts[key]

    def speak(self, task: SpeechTask, listener: Listener) -> Spoken:
        """Sample the codes of one text, frame by frame, and decode them on the way."""
        try:
            with torch.inference_mode():
                return self._speak(task, listener)
        except RuntimeError as error:
            if not placement.is_out_of_memory(error):
                raise
        # Not where the error is at hand: its frames hold what was allocated.
        raise self._out_of_memory()

    def _speak(self, task: SpeechTask, listener: Listener) -> Spoken:
        prompt = None if task.recording is None else self._prompt(task.recording, task.transcript)
        settings = self._settings
        utterance = Utterance(
            self._codec.model.decoder,
            listener,
            # As far back as one of its layers looks. The package itself is content with 25 frames.
            context=int(self._codec.model.decoder.config.sliding_window),
            first=settings.first_piece_frames if task.streamed else _WHOLE_FRAMES,
            most=settings.piece_frames if task.streamed else _WHOLE_FRAMES,
            before=None if prompt is None else prompt.ref_code,
        )
        hook = self._package.model.talker.register_forward_hook(utterance.hook)
        try:
            # It samples from the one generator of the process: nothing else may draw from it, as in this thread.
            torch.manual_seed(task.seed)
            self._generate(task, prompt)
        finally:
            hook.remove()
        utterance.flush()
        return Spoken(input_tokens=self._tokens(task), frames=utterance.frames)

    def _generate(self, task: SpeechTask, prompt: Any) -> None:  # noqa: ANN401 - see `package`
        # The last token that it samples makes no frame any more.
        options = {"language": task.language, "max_new_tokens": task.max_frames + 1}
        if task.kind == CUSTOM_VOICE:
            self._package.generate_custom_voice(task.text, speaker=task.voice, instruct=task.instructions, **options)
        elif task.kind == VOICE_DESIGN:
            self._package.generate_voice_design(task.text, instruct=task.instructions, **options)
        else:
            self._package.generate_voice_clone(task.text, voice_clone_prompt=[prompt], **options)

    def _prompt(self, recording: Recording, transcript: str | None) -> Any:  # noqa: ANN401 - see `package`
        """What the model hears in the recording; kept, as it takes as long as a second of speech."""
        key = (recording.digest, transcript)
        with self._keeping:
            known = self._prompts.get(key)
            if known is not None:
                self._prompts.move_to_end(key)
                return known
        # Never a string: the package would open it as a path, or fetch it as a URL.
        sound = (recording.samples, SAMPLE_RATE)
        made = self._package.create_voice_clone_prompt(
            ref_audio=sound, ref_text=transcript, x_vector_only_mode=transcript is None
        )[0]
        with self._keeping:
            self._prompts[key] = made
            while len(self._prompts) > self._settings.max_kept_prompts:
                self._prompts.popitem(last=False)
        return made

    def _tokens(self, task: SpeechTask) -> int:
        texts = [text for text in (task.text, task.instructions, task.transcript) if text]
        return sum(len(row) for row in self._package.processor.tokenizer(texts)["input_ids"])

    def _out_of_memory(self) -> OutOfMemory:
        if self._device == "cuda":
            torch.cuda.empty_cache()
        return OutOfMemory("The speech did not fit into memory: ask for a shorter one.", retry_after=5)

    def _warm_up(self) -> None:
        """Say something short, where no recording is needed for it."""
        if self._kind == VOICE_CLONE:
            return
        voice = self.speakers()[0] if self._kind == CUSTOM_VOICE else None
        instructions = "a calm voice" if self._kind == VOICE_DESIGN else None
        self.speak(SpeechTask(self._kind, "Hello.", voice, instructions, AUTO, seed=0, max_frames=8), _Silence())


class _Undecoded:
    """In place of the package's own codec: the sound is there already when it comes to decode the whole of it again."""

    def __init__(self, codec: Any) -> None:  # noqa: ANN401 - see `package`
        self._codec = codec

    def encode(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the method that it stands for
        return self._codec.encode(*arguments, **options)

    def decode(self, encoded: list[Any]) -> tuple[list[np.ndarray[Any, np.dtype[np.float32]]], int]:
        return [np.zeros(0, np.float32) for _ in encoded], SAMPLE_RATE


class _Silence:
    def frame(self, done: int) -> None:
        """Nobody waits for the warm-up."""

    def piece(self, pcm: bytes) -> None:
        """Nobody listens to it either."""


def _folder(name: str) -> Path:
    """The folder itself, or the snapshot of a repository in the cache of the hub, fetched when it may be."""
    folder = Path(name)
    return folder if folder.is_dir() else Path(snapshot_download(name))


def _kind_in(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    kind, codec = config.get("tts_model_type"), config.get("tokenizer_type")
    if kind not in _KINDS or codec != _CODEC:
        message = f"{kind} with {codec} is none of {', '.join(_KINDS)} with {_CODEC}."
        raise ValueError(message)
    return _KINDS[kind]


def _check_codec(codec: Any) -> None:  # noqa: ANN401 - see `package`
    found = (codec.get_output_sample_rate(), codec.get_decode_upsample_rate())
    if found != (SAMPLE_RATE, FRAME_SAMPLES):
        message = f"The codec makes {found[1]} samples of a frame at {found[0]} Hz; {FRAME_SAMPLES} at {SAMPLE_RATE} are known."
        raise ValueError(message)
