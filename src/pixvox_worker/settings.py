"""What the environment says about this worker, read once and checked before anything is loaded."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class SettingsError(ValueError):
    """A variable has a value that the worker cannot use."""


class EngineKind(StrEnum):
    """What runs the model."""

    AUTO = "auto"
    """By the files in the model's folder, or by what is installed where the model is no folder."""
    DIFFUSERS = "diffusers"
    QWEN_TTS = "qwen_tts"
    FAKE = "fake"
    """Paints by numbers without torch, for tests of callers."""


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    """CUDA where there is one, else the processor."""
    CUDA = "cuda"
    CPU = "cpu"


class Offload(StrEnum):
    """What leaves the GPU while it is not needed."""

    NONE = "none"
    MODEL = "model"
    """Whole components, one on the GPU at a time."""
    SEQUENTIAL = "sequential"
    """Layer by layer: least memory, slowest."""
    GROUP = "group"
    """Layer by layer as well, the next one on its way while one computes."""


class Quantisation(StrEnum):
    """In how many bits the weights of the transformer and of the text encoder are kept."""

    NONE = "none"
    INT8 = "int8"
    """By torchao, on any device."""
    FP8 = "fp8"
    """By torchao, on any device."""
    NF4 = "nf4"
    """Four bits by bitsandbytes, on CUDA alone."""


class Precision(StrEnum):
    """The number format of the weights."""

    AUTO = "auto"
    """bfloat16 on CUDA, float32 on the processor."""
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


@dataclass(frozen=True, slots=True)
class Lora:
    """Weights that are added to those of the transformer."""

    source: str
    """A file, a folder, or `organisation/repository`, perhaps with `/file.safetensors` behind it."""
    scale: float


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable, whose name is the field's in capitals. Times are seconds."""

    model_name: str = "Qwen/Qwen-Image-Edit"
    """A folder, or the id of a repository that the hub client finds in its cache or fetches."""
    served_model_name: str = ""
    """The id in `/v1/models`; the last part of `model_name` unless set."""
    engine: EngineKind = EngineKind.AUTO
    device: Device = Device.AUTO
    dtype: Precision = Precision.AUTO
    offload: Offload = Offload.NONE
    quant: Quantisation = Quantisation.NONE
    vae_tiling: bool = False
    """Encode and decode large pictures tile by tile."""
    vae_slicing: bool = False
    """Encode and decode the pictures of a batch one by one."""
    lora: str = ""
    """One or several, parted by commas: `SOURCE` or `SOURCE:SCALE`, with 1 for the scale unless given."""
    scheduler: str = ""
    """A JSON object whose values replace those of the checkpoint's scheduler, as distilled weights ask for."""
    compile: bool = False
    """Compile the transformer at its first use."""
    warm_up: bool = False
    """Make one small picture before saying that the worker is ready."""
    torch_threads: int = 0
    """Threads of one operation on the processor; 0 leaves it to torch."""
    max_concurrent_requests: int = 8
    """Admitted at a time, queued and running together."""
    max_batch_size: int = 1
    batch_wait_ms: int = 0
    max_queue_seconds: float = 300.0
    request_timeout: float = 600.0
    max_upload_mb: int = 32
    """Of the body of one request."""
    max_uploads_mb: int = 512
    """Of the bodies of all requests that are not answered yet; at least `max_upload_mb` is taken."""
    max_input_pixels: int = 40_000_000
    max_pixels: int = 4_194_304
    """Of one picture that is made."""
    max_steps: int = 200
    max_images: int = 10
    default_steps: int = 0
    """Of a request that names neither steps nor a quality; 0 takes those of the model's class."""
    default_guidance: float = 0.0
    """Of a request that names none; 1 is off, 0 takes that of the model's class."""
    quality_low_steps: int = 8
    quality_medium_steps: int = 20
    quality_high_steps: int = 50
    max_input_characters: int = 5_000
    """Of one text to be spoken."""
    max_new_tokens: int = 4_096
    """Frames of one speech, of 80 ms each."""
    first_piece_frames: int = 4
    """Frames after which a listener hears the first sound; each further piece is twice as long, up to `piece_frames`."""
    piece_frames: int = 25
    max_recording_mb: int = 10
    """Of one recording whose voice is to be spoken with."""
    max_unread_mb: int = 64
    """Streamed sound that callers have not read yet, all of them together."""
    voices_dir: str = ""
    """Where recordings that were sent to `/v1/audio/voices` are kept; in memory alone unless set."""
    max_voices: int = 1_000
    max_voices_mb: int = 512
    """All of them together."""
    max_kept_prompts: int = 64
    """Recordings whose analysis is kept for the next request."""
    api_key: str = ""
    """One or several, parted by commas; empty lets everybody in."""
    job_ttl: float = 600.0
    max_kept_jobs: int = 128
    shutdown_grace: float = 120.0
    host: str = "0.0.0.0"  # noqa: S104 - the worker lives in a container
    port: int = 8000
    fake_step_seconds: float = 0.0
    """How long `ENGINE=fake` pretends that a step takes, or a piece of speech."""
    otel_exporter_otlp_endpoint: str = ""
    """Of the collector; spans are made only where this or the next one is set."""
    otel_exporter_otlp_traces_endpoint: str = ""
    """The whole URL, where that of the spans is another."""
    otel_exporter_otlp_protocol: str = "http/protobuf"
    otel_exporter_otlp_traces_protocol: str = ""
    otel_traces_exporter: str = "otlp"
    """`none` makes no spans."""
    otel_sdk_disabled: bool = False
    otel_service_name: str = "pixvox-worker"
    fake_capabilities: str = ""
    """What `ENGINE=fake` says it can do, parted by commas; everything unless set."""

    @property
    def model_id(self) -> str:
        """The name under which callers ask for the model."""
        return self.served_model_name or self.model_name.rstrip("/").rpartition("/")[2]

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that are let in; none means that no key is asked for."""
        return tuple(key for part in self.api_key.split(",") if (key := part.strip()))

    @property
    def traces_endpoint(self) -> str:
        """Where spans go, or nothing. https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp"""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return ""
        base = self.otel_exporter_otlp_endpoint
        return self.otel_exporter_otlp_traces_endpoint or (base and base.rstrip("/") + "/v1/traces")

    @property
    def loras(self) -> tuple[Lora, ...]:
        """What `lora` names, in its order."""
        return tuple(_lora(text) for part in self.lora.split(",") if (text := part.strip()))

    @property
    def scheduler_options(self) -> dict[str, object]:
        """What `scheduler` says.

        Raises:
            SettingsError: it is no JSON object.
        """
        return _json_object("SCHEDULER", self.scheduler) if self.scheduler else {}


_AT_LEAST_ONE = (
    "max_concurrent_requests",
    "max_batch_size",
    "max_upload_mb",
    "max_uploads_mb",
    "max_input_pixels",
    "max_pixels",
    "max_steps",
    "max_images",
    "quality_low_steps",
    "quality_medium_steps",
    "quality_high_steps",
    "max_kept_jobs",
    "max_input_characters",
    "max_new_tokens",
    "first_piece_frames",
    "piece_frames",
    "max_recording_mb",
    "max_unread_mb",
    "max_voices",
    "max_voices_mb",
    "max_kept_prompts",
)
_POSITIVE = ("max_queue_seconds", "request_timeout")
_NOT_NEGATIVE = (
    "torch_threads",
    "default_steps",
    "default_guidance",
    "batch_wait_ms",
    "job_ttl",
    "shutdown_grace",
    "fake_step_seconds",
)


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read `environment`, the process's own unless given.

    Raises:
        SettingsError: a value does not fit its variable.
    """
    given = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for field in fields(Settings):
        text = given.get(field.name.upper())
        if text is not None and text.strip():
            values[field.name] = _convert(field.name, text.strip(), type(field.default))
    settings = Settings(**values)
    _check(settings)
    return settings


def _convert(name: str, text: str, kind: Any) -> object:  # noqa: ANN401 - a class that takes a text
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        return kind(text.lower()) if issubclass(kind, StrEnum) else kind(text)
    except (ValueError, KeyError):
        message = f"{name.upper()}={text!r} is not a {kind.__name__}."
        raise SettingsError(message) from None


def _check(settings: Settings) -> None:
    for names, low in ((_AT_LEAST_ONE, 1), (_NOT_NEGATIVE, 0)):
        for name in names:
            if not getattr(settings, name) >= low:
                message = f"{name.upper()} must be at least {low}."
                raise SettingsError(message)
    for name in _POSITIVE:
        if not getattr(settings, name) > 0:
            message = f"{name.upper()} must be more than 0."
            raise SettingsError(message)
    if settings.default_steps > settings.max_steps:
        message = "DEFAULT_STEPS must be at most MAX_STEPS."
        raise SettingsError(message)
    protocol = settings.otel_exporter_otlp_traces_protocol or settings.otel_exporter_otlp_protocol
    if settings.traces_endpoint and protocol != "http/protobuf":
        message = f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: the worker speaks http/protobuf alone."
        raise SettingsError(message)
    # Read for their errors.
    _ = settings.loras, settings.scheduler_options


def _lora(text: str) -> Lora:
    source, colon, scale = text.rpartition(":")
    if not colon:
        return Lora(text, 1.0)
    try:
        value = float(scale)
    except ValueError:
        # The colon belongs to the name, as on a drive.
        return Lora(text, 1.0)
    if not source or not math.isfinite(value):
        message = f"LORA={text!r} is not SOURCE:SCALE."
        raise SettingsError(message)
    return Lora(source, value)


def _json_object(name: str, text: str) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        message = f"{name} is not a JSON object."
        raise SettingsError(message)
    return content
