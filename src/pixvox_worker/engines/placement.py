"""Where a pipeline runs: device and number format, what leaves the GPU meanwhile, and how its parts are run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from pixvox_worker.settings import Device, Offload, Precision

if TYPE_CHECKING:
    from pixvox_worker.settings import Settings

_log = logging.getLogger(__name__)
# What CUDA, its libraries and the allocator of the processor say where torch has no class for it.
_NO_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "status_alloc_failed")


def device(wanted: Device) -> str:
    """`cuda` or `cpu`.

    Raises:
        RuntimeError: a GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if wanted is Device.CUDA and not available:
        message = "DEVICE=cuda, and torch sees no GPU."
        raise RuntimeError(message)
    return "cuda" if available and wanted is not Device.CPU else "cpu"


def dtype(wanted: Precision, device: str) -> torch.dtype:
    """The number format of the weights on `device`."""
    if wanted is Precision.AUTO:
        return torch.bfloat16 if device == "cuda" else torch.float32
    named: torch.dtype = getattr(torch, wanted.value)
    return named


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that there is no memory left."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in told for words in _NO_MEMORY_WORDS)


def place(pipeline: Any, settings: Settings, device: str) -> None:  # noqa: ANN401 - diffusers has no type for all of them
    """Put the pipeline where it runs."""
    offload = settings.offload
    if offload is not Offload.NONE and device != "cuda":
        _log.warning("OFFLOAD=%s means nothing without a GPU and is ignored", offload)
        offload = Offload.NONE
    if offload is Offload.MODEL:
        pipeline.enable_model_cpu_offload()
    elif offload is Offload.SEQUENTIAL:
        pipeline.enable_sequential_cpu_offload()
    elif offload is Offload.GROUP:
        offload_groups(pipeline, device)
    else:
        pipeline.to(device)
    if settings.vae_tiling:
        pipeline.vae.enable_tiling()
    if settings.vae_slicing:
        pipeline.vae.enable_slicing()
    if settings.compile:
        _compile(pipeline.transformer)


def offload_groups(pipeline: Any, device: str) -> None:  # noqa: ANN401 - as above
    """Keep the weights in main memory, and fetch each layer while the one before it computes."""
    streamed = device == "cuda"
    pipeline.enable_group_offload(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=streamed,
        # Pinning 58 GB beforehand would take them twice.
        low_cpu_mem_usage=streamed,
        # A hundredth of the whole, and its convolutions keep state between calls.
        exclude_modules="vae",
    )


def _compile(transformer: Any) -> None:  # noqa: ANN401 - as above
    """All blocks are alike: one is compiled and serves for all, which takes a fraction of the time of the whole."""
    if getattr(transformer, "_repeated_blocks", None):
        transformer.compile_repeated_blocks()
    else:
        transformer.compile()
