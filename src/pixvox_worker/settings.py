"""What the environment says about this worker, read once and checked before anything is loaded."""

from __future__ import annotations

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
    """By the files in the model's folder; diffusers is all there is so far."""
    DIFFUSERS = "diffusers"
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


class Precision(StrEnum):
    """The number format of the weights."""

    AUTO = "auto"
    """bfloat16 on CUDA, float32 on the processor."""
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


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
    max_input_pixels: int = 40_000_000
    max_pixels: int = 4_194_304
    """Of one picture that is made."""
    max_steps: int = 200
    max_images: int = 10
    quality_low_steps: int = 8
    quality_medium_steps: int = 20
    quality_high_steps: int = 50
    api_key: str = ""
    """One or several, parted by commas; empty lets everybody in."""
    job_ttl: float = 600.0
    max_kept_jobs: int = 128
    shutdown_grace: float = 120.0
    host: str = "0.0.0.0"  # noqa: S104 - the worker lives in a container
    port: int = 8000
    fake_step_seconds: float = 0.0
    """How long `ENGINE=fake` pretends that a step takes."""

    @property
    def model_id(self) -> str:
        """The name under which callers ask for the model."""
        return self.served_model_name or self.model_name.rstrip("/").rpartition("/")[2]

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that are let in; none means that no key is asked for."""
        return tuple(key for part in self.api_key.split(",") if (key := part.strip()))


_AT_LEAST_ONE = (
    "max_concurrent_requests",
    "max_batch_size",
    "max_upload_mb",
    "max_input_pixels",
    "max_pixels",
    "max_steps",
    "max_images",
    "quality_low_steps",
    "quality_medium_steps",
    "quality_high_steps",
    "max_kept_jobs",
)
_POSITIVE = ("max_queue_seconds", "request_timeout")
_NOT_NEGATIVE = ("torch_threads", "batch_wait_ms", "job_ttl", "shutdown_grace", "fake_step_seconds")


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
