"""Reads a pipeline from a folder or from the cache of the hub, with what the settings put on top of its weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

from pixvox_worker.engines import placement, quantisation
from pixvox_worker.engines.qwen_processor import QwenProcessor, torchvision_works

if TYPE_CHECKING:
    from pixvox_worker.engines.pipelines import PipelineKind
    from pixvox_worker.settings import Lora, Settings

_log = logging.getLogger(__name__)
# Untyped in diffusers.
_Pipeline: Any = DiffusionPipeline


def folder_of(name: str) -> Path:
    """The folder itself, or the snapshot of a repository in the cache of the hub, fetched when it may be."""
    folder = Path(name)
    return folder if folder.is_dir() else Path(snapshot_download(name))


def read(folder: Path, kind: PipelineKind, settings: Settings, device: str) -> Any:  # noqa: ANN401 - one of many classes
    """The pipeline in main memory, quantised, with its LoRA weights and its scheduler.

    Raises:
        RuntimeError: what the settings ask for is not there.
        OSError: the folder or a LoRA cannot be read.
        ValueError: they do not fit to each other.
    """
    dtype = placement.dtype(settings.dtype, device)
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if quantised := quantisation.config(settings.quant, settings.offload, device, dtype):
        options["quantization_config"] = quantised
    if kind.own_processor and not torchvision_works():
        options["processor"] = QwenProcessor(folder / "processor")
    pipeline = _Pipeline.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    if given := settings.scheduler_options:
        pipeline.scheduler = type(pipeline.scheduler).from_config({**pipeline.scheduler.config, **given})
    if settings.loras:
        _add(pipeline, settings.loras)
    return pipeline


def _add(pipeline: Any, loras: tuple[Lora, ...]) -> None:  # noqa: ANN401 - as above
    """Unfused, as fusing rounds the weights, and quantised ones cannot be fused at all."""
    names = []
    for number, lora in enumerate(loras):
        where, file = _place_of(lora.source)
        names.append(f"lora{number}")
        # Safetensors alone: a pickle could run what it likes.
        pipeline.load_lora_weights(where, weight_name=file, adapter_name=names[-1], use_safetensors=True)
        _log.info("added the LoRA %s with scale %s", lora.source, lora.scale)
    pipeline.set_adapters(names, [lora.scale for lora in loras])


def _place_of(source: str) -> tuple[str, str | None]:
    """Folder or repository, and the file in it; diffusers looks for its usual name where none is given."""
    path = Path(source)
    if path.is_file():
        return str(path.parent), path.name
    parts = source.split("/")
    if path.is_dir() or len(parts) <= 2:
        return source, None
    return "/".join(parts[:2]), "/".join(parts[2:])
