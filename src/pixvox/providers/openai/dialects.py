"""The ways in which engines differ that all say they speak OpenAI's HTTP API.

Source: OpenAI's specification of 2026-08; the servers of vLLM-Omni 0.30, SGLang-diffusion 0.5.23, LocalAI (2026-08), speaches
and Kokoro-FastAPI as their sources have it. None of them was asked; what they answer is decoded by what it is, not by what was
asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["openai", "vllm_omni", "sglang", "localai", "speaches", "kokoro"]
Verb = Literal["generate_image", "edit_image", "stream_speech"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of engine wants to be asked.

    Attributes:
        verbs: That it has a route for.
        needs_key: Whether nothing works without a key.
        asks_for_bytes: Whether ``response_format: b64_json`` is sent; OpenAI's newer models refuse it and do so anyway.
        names_format: Whether it takes ``output_format`` for pictures.
        negative: How it takes what a picture should not show: as a member, behind a bar in the prompt, or not.
        takes_seed: Whether it takes a seed.
        image_part: Name of the part of each input picture; of several ones, if that differs, is `images_part`.
        images_part: See there.
        mask_part: Name of the mask's part, empty if it takes none.
        clear_mask: Whether the mask's transparent pixels may change; else its white ones.
        audio_format: What is asked for: bare samples, or a WAV file.
        streaming: Members that have speech come as events; empty if it cannot.
        whole: Members that have speech come in one piece.
        takes_speed: Whether speech has a ``speed``.
        streams_speed: Whether it has one when it streams, too.
        takes_instructions: Whether speech takes ``instructions``.
        language: How a language is named: in English, by its tag, or not.
        states_rate: Whether it takes ``sample_rate`` for speech.
    """

    verbs: frozenset[Verb]
    needs_key: bool = False
    asks_for_bytes: bool = True
    names_format: bool = False
    negative: Literal["member", "bar", "none"] = "none"
    takes_seed: bool = False
    image_part: str = "image"
    images_part: str = "image"
    mask_part: str = ""
    clear_mask: bool = False
    audio_format: Literal["pcm", "wav"] = "pcm"
    streaming: tuple[tuple[str, object], ...] = ()
    whole: tuple[tuple[str, object], ...] = ()
    takes_speed: bool = False
    streams_speed: bool = False
    takes_instructions: bool = False
    language: Literal["name", "tag", "none"] = "none"
    states_rate: bool = False


_IMAGES: frozenset[Verb] = frozenset({"generate_image", "edit_image"})
_SPEECH: frozenset[Verb] = frozenset({"stream_speech"})

DIALECTS: dict[Name, Dialect] = {
    # Its schema forbids members that it does not know, so that nothing may be sent on the chance.
    "openai": Dialect(
        verbs=_IMAGES | _SPEECH,
        needs_key=True,
        asks_for_bytes=False,
        names_format=True,
        images_part="image[]",
        mask_part="mask",
        clear_mask=True,
        streaming=(("stream_format", "sse"),),
        takes_speed=True,
        streams_speed=True,
        takes_instructions=True,
    ),
    # Up to 0.22 ``stream`` gives bare samples, from 0.24 events; ``stream_format`` is left out, and the answer's type decides.
    "vllm_omni": Dialect(
        verbs=_IMAGES | _SPEECH,
        names_format=True,
        negative="member",
        takes_seed=True,
        mask_part="mask_image",
        streaming=(("stream", True),),
        takes_speed=True,
        takes_instructions=True,
        language="name",
    ),
    "sglang": Dialect(verbs=_IMAGES, negative="member", takes_seed=True, mask_part="mask"),
    "localai": Dialect(
        verbs=frozenset({"generate_image", "stream_speech"}),
        negative="bar",
        takes_seed=True,
        audio_format="wav",
        takes_instructions=True,
        language="tag",
    ),
    "speaches": Dialect(
        verbs=_SPEECH,
        streaming=(("stream_format", "sse"),),
        takes_speed=True,
        streams_speed=True,
        states_rate=True,
    ),
    # It streams bare samples unless told not to, and those say nothing of their end.
    "kokoro": Dialect(verbs=_SPEECH, whole=(("stream", False),), takes_speed=True),
}
