"""The ways in which engines differ that all say they speak OpenAI's HTTP API.

Source: OpenAI's specification of 2026-08; the servers of vLLM-Omni 0.22 to 0.30, SGLang-diffusion 0.5.23, LocalAI (2026-08),
Xinference 4.1, speaches and Kokoro-FastAPI as their sources have it. None of them was asked; what they answer is decoded by
what it is, not by what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["openai", "vllm_omni", "sglang", "localai", "xinference", "speaches", "kokoro"]
Verb = Literal["generate_image", "edit_image", "stream_speech"]
Sound = Literal["events", "samples", "whole"]
Members = tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of engine wants to be asked.

    Attributes:
        verbs: That it has a route for.
        needs_key: Whether nothing works without a key.
        asks_for_bytes: Whether ``response_format: b64_json`` is sent; OpenAI's newer models refuse it and do so anyway.
        names_format: Whether it takes ``output_format`` for pictures.
        times: What stands between width and height.
        negative: How it takes what a picture should not show: as a member, behind a bar in the prompt, or not.
        takes_seed: Whether it takes a seed.
        wraps: Whether all that OpenAI has no name for stands in a member ``kwargs``, as JSON in a string; requests with files
            have none, and so take neither a seed nor a negative prompt.
        image_part: Name of the part of each input picture; of several ones, if that differs, is `images_part`.
        images_part: See there.
        mask_part: Name of the mask's part, empty if it takes none.
        clear_mask: Whether the mask's transparent pixels may change; else its white ones.
        audio_format: What is asked for: bare samples, or a WAV file.
        sounds: The ways in which speech can come, each with the members that ask for it; the first is taken unless a model's
            table says otherwise. ``events`` and ``samples`` come while they are made, and only events say when that is all.
        takes_speed: Whether speech has a ``speed``.
        streams_speed: Whether it has one when it comes while it is made, too.
        takes_instructions: Whether speech takes ``instructions``.
        language: How a language is named: in English, by its tag, or not.
        states_rate: Whether it takes ``sample_rate`` for speech.
        reference: How it is given a recording whose voice shall speak: as a data URL, as the part of a form, or not.
        health: Where, from its root, an engine says how it is; empty if it does not.
        says_load: Whether it says there how many requests it has, as Prometheus' text.
    """

    verbs: frozenset[Verb]
    needs_key: bool = False
    asks_for_bytes: bool = True
    names_format: bool = False
    times: Literal["x", "*"] = "x"
    negative: Literal["member", "bar", "none"] = "none"
    takes_seed: bool = False
    wraps: bool = False
    image_part: str = "image"
    images_part: str = "image"
    mask_part: str = ""
    clear_mask: bool = False
    audio_format: Literal["pcm", "wav"] = "pcm"
    sounds: tuple[tuple[Sound, Members], ...] = ()
    takes_speed: bool = False
    streams_speed: bool = False
    takes_instructions: bool = False
    language: Literal["name", "tag", "none"] = "none"
    states_rate: bool = False
    reference: Literal["data_url", "part", "none"] = "none"
    health: str = ""
    says_load: bool = False


_IMAGES: frozenset[Verb] = frozenset({"generate_image", "edit_image"})
_SPEECH: frozenset[Verb] = frozenset({"stream_speech"})

DIALECTS: dict[Name, Dialect] = {
    # Its schema forbids members that it does not know, so that nothing may be sent on the chance. It has no whole answers:
    # what is not asked for as events comes as it is made.
    "openai": Dialect(
        verbs=_IMAGES | _SPEECH,
        needs_key=True,
        asks_for_bytes=False,
        names_format=True,
        images_part="image[]",
        mask_part="mask",
        clear_mask=True,
        sounds=(("events", (("stream_format", "sse"),)), ("samples", ())),
        takes_speed=True,
        streams_speed=True,
        takes_instructions=True,
    ),
    # Up to 0.22 ``stream`` alone gives bare samples, from 0.24 events; with ``stream_format: audio`` every version gives bare
    # samples.
    "vllm_omni": Dialect(
        verbs=_IMAGES | _SPEECH,
        names_format=True,
        negative="member",
        takes_seed=True,
        mask_part="mask_image",
        sounds=(
            ("events", (("stream", True),)),
            ("samples", (("stream", True), ("stream_format", "audio"))),
            ("whole", ()),
        ),
        takes_speed=True,
        takes_instructions=True,
        language="name",
        reference="data_url",
        health="/metrics",
        says_load=True,
    ),
    "sglang": Dialect(verbs=_IMAGES, negative="member", takes_seed=True, mask_part="mask", health="/health"),
    # Not all of its backends speak while they make it, and what breaks off then ends like what is complete.
    "localai": Dialect(
        verbs=frozenset({"generate_image", "stream_speech"}),
        negative="bar",
        takes_seed=True,
        audio_format="wav",
        sounds=(("whole", ()), ("samples", (("stream", True),))),
        takes_instructions=True,
        language="tag",
        health="/readyz",
    ),
    # Its backend for Qwen3-TTS refuses to stream, and others have the pings of an event stream among their bare samples.
    "xinference": Dialect(
        verbs=_IMAGES | _SPEECH,
        times="*",
        negative="member",
        takes_seed=True,
        wraps=True,
        mask_part="mask",
        audio_format="wav",
        sounds=(("whole", ()),),
        takes_speed=True,
        takes_instructions=True,
        language="name",
        reference="part",
        health="/status",
    ),
    "speaches": Dialect(
        verbs=_SPEECH,
        sounds=(("events", (("stream_format", "sse"),)), ("samples", ())),
        takes_speed=True,
        streams_speed=True,
        states_rate=True,
        health="/health",
    ),
    # It has no events, and streams unless it is told not to.
    "kokoro": Dialect(
        verbs=_SPEECH,
        sounds=(("samples", (("stream", True),)), ("whole", (("stream", False),))),
        takes_speed=True,
        streams_speed=True,
        health="/health",
    ),
}
