"""Qwen-Image and its editing models, run by diffusers. Everything here happens in the inference thread."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

from pixvox_worker.engines.qwen_processor import QwenProcessor, torchvision_works
from pixvox_worker.failures import OutOfMemory
from pixvox_worker.settings import Device, Offload, Precision
from pixvox_worker.tasks import IMAGE_EDITING, TEXT_TO_IMAGE, PictureTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Watch

_log = logging.getLogger(__name__)
# What CUDA and the allocator of the processor say; the latter has no class of its own.
_NO_MEMORY_WORDS = ("can't allocate memory", "not enough memory")
_OFF = 1.0
# Untyped in diffusers.
_Pipeline: Any = DiffusionPipeline


@dataclass(frozen=True, slots=True)
class _Ability:
    """What a pipeline class takes."""

    task: str
    input_images: int
    several: bool = False
    """Whether one call may make pictures of several prompts."""
    own_processor: bool = False


# By the class in model_index.json, which is also what says which checkpoint it is.
_ABILITIES = {
    "QwenImagePipeline": _Ability(TEXT_TO_IMAGE, input_images=0, several=True),
    "QwenImageEditPipeline": _Ability(IMAGE_EDITING, input_images=1, own_processor=True),
    "QwenImageEditPlusPipeline": _Ability(IMAGE_EDITING, input_images=4, own_processor=True),
}


class QwenImageEngine:
    """One pipeline, loaded from a folder or from the cache of the hub."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipeline: Any = None
        self._ability = _ABILITIES["QwenImageEditPipeline"]
        self._class = ""
        self._device = "cpu"

    @property
    def pipeline(self) -> Any:  # noqa: ANN401 - diffusers has no type that all pipelines share
        """The pipeline of diffusers itself."""
        return self._pipeline

    def load(self) -> None:
        """Read the weights and put them where they run.

        Raises:
            ValueError: the folder holds a pipeline that the worker does not know.
            RuntimeError: the settings ask for a device that is not there.
        """
        if self._settings.torch_threads:
            torch.set_num_threads(self._settings.torch_threads)
        self._device = _device(self._settings.device)
        folder = _folder(self._settings.model_name)
        self._class = json.loads((folder / "model_index.json").read_text())["_class_name"]
        if self._class not in _ABILITIES:
            message = f"{self._class} is none of {', '.join(_ABILITIES)}."
            raise ValueError(message)
        self._ability = _ABILITIES[self._class]
        self._pipeline = self._read(folder)
        self._place()
        if self._settings.warm_up:
            self.make([_smallest(self._ability, self.size_multiple(), self.min_steps())], _Silence())

    def capabilities(self) -> tuple[str, ...]:
        """By the class of the pipeline."""
        return (self._ability.task,)

    def describe(self) -> dict[str, object]:
        """Device and class."""
        return {"device": self._device, "engine": "diffusers", "class": self._class}

    def size_multiple(self) -> int:
        """Two latent cells make one token."""
        return int(self._pipeline.vae_scale_factor) * 2

    def min_steps(self) -> int:
        """A schedule that is stretched to its terminal divides by the last of at least two; one step is all NaN."""
        return 2 if self._pipeline.scheduler.config.get("shift_terminal") else 1

    def max_input_images(self) -> int:
        """By the class of the pipeline."""
        return self._ability.input_images

    def memory_bytes(self) -> int:
        """What torch has allocated on the GPU."""
        return torch.cuda.memory_allocated() if self._device == "cuda" else 0

    def make(self, tasks: Sequence[PictureTask], watch: Watch) -> list[list[Image]]:
        """Tasks from text in one call, an edit picture after picture."""
        try:
            with torch.inference_mode():
                return self._from_text(tasks, watch) if self._ability.several else [self._edit(tasks[0], watch)]
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory() from error
        except RuntimeError as error:
            if any(words in str(error) for words in _NO_MEMORY_WORDS):
                raise self._out_of_memory() from error
            raise
        finally:
            # A call that was left in the middle leaves the components where they were.
            self._pipeline.maybe_free_model_hooks()

    def _read(self, folder: Path) -> Any:  # noqa: ANN401 - see `pipeline`
        options: dict[str, Any] = {"dtype": _dtype(self._settings.dtype, self._device), "local_files_only": True}
        stand_in = self._ability.own_processor and not torchvision_works()
        if stand_in:
            options["processor"] = None
        pipeline = _Pipeline.from_pretrained(folder, **options)
        if stand_in:
            pipeline.processor = QwenProcessor(folder / "processor")
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _place(self) -> None:
        offload = self._settings.offload
        if offload is not Offload.NONE and self._device != "cuda":
            _log.warning("OFFLOAD=%s means nothing without a GPU and is ignored", offload)
            offload = Offload.NONE
        if offload is Offload.MODEL:
            self._pipeline.enable_model_cpu_offload()
        elif offload is Offload.SEQUENTIAL:
            self._pipeline.enable_sequential_cpu_offload()
        else:
            self._pipeline.to(self._device)
        if self._settings.compile:
            self._pipeline.transformer.compile()

    def _from_text(self, tasks: Sequence[PictureTask], watch: Watch) -> list[list[Image]]:
        """One row of the batch for every picture, each with its own generator: rows do not see each other."""
        rows = [(task, task.seed + number) for task in tasks for number in range(task.count)]
        images = self._call(
            rows[0][0],
            watch,
            before=0,
            prompt=[task.prompt for task, _ in rows],
            negative_prompt=_negative([task for task, _ in rows]),
            generator=[_generator(seed) for _, seed in rows],
        )
        made = iter(images)
        return [[next(made) for _ in range(task.count)] for task in tasks]

    def _edit(self, task: PictureTask, watch: Watch) -> list[Image]:
        made: list[Image] = []
        negative = _negative([task])
        source = list(task.images) if self._ability.input_images > 1 else task.images[0]
        for number in range(task.count):
            made += self._call(
                task,
                watch,
                before=number * task.steps,
                image=source,
                prompt=task.prompt,
                negative_prompt=None if negative is None else negative[0],
                generator=_generator(task.seed + number),
            )
        return made

    def _call(self, task: PictureTask, watch: Watch, *, before: int, **inputs: object) -> list[Image]:
        def at_step(pipeline: object, index: int, timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
            del pipeline, timestep
            watch.step(before + index + 1, lambda: self._preview(tensors["latents"], task))
            return tensors

        answer = self._pipeline(
            true_cfg_scale=task.guidance,
            width=task.width,
            height=task.height,
            num_inference_steps=task.steps,
            callback_on_step_end=at_step,
            callback_on_step_end_tensor_inputs=["latents"],
            **inputs,
        )
        images: list[Image] = answer.images
        return images

    def _preview(self, latents: torch.Tensor, task: PictureTask) -> Image:
        """Decode the first row of half-done latents, as the pipeline does with finished ones."""
        pipeline = self._pipeline
        vae = pipeline.vae
        cells = pipeline._unpack_latents(latents[:1], task.height, task.width, pipeline.vae_scale_factor)
        cells = cells.to(vae.dtype)
        shape = (1, vae.config.z_dim, 1, 1, 1)
        mean = torch.tensor(vae.config.latents_mean).view(shape).to(cells)
        deviation = torch.tensor(vae.config.latents_std).view(shape).to(cells)
        pixels = vae.decode(cells * deviation + mean, return_dict=False)[0][:, :, 0]
        image: Image = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
        return image

    def _out_of_memory(self) -> OutOfMemory:
        if self._device == "cuda":
            torch.cuda.empty_cache()
        return OutOfMemory("The picture did not fit into memory: ask for a smaller one.", retry_after=5)


class _Silence:
    def step(self, done: int, preview: Callable[[], Image]) -> None:
        """Nobody looks at the warm-up."""


def _device(wanted: Device) -> str:
    available = torch.cuda.is_available()
    if wanted is Device.CUDA and not available:
        message = "DEVICE=cuda, and torch sees no GPU."
        raise RuntimeError(message)
    return "cuda" if available and wanted is not Device.CPU else "cpu"


def _dtype(wanted: Precision, device: str) -> torch.dtype:
    if wanted is Precision.AUTO:
        return torch.bfloat16 if device == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, wanted.value)
    return dtype


def _folder(name: str) -> Path:
    """The folder itself, or the snapshot of a repository in the cache of the hub, fetched when it may be."""
    folder = Path(name)
    return folder if folder.is_dir() else Path(snapshot_download(name))


def _negative(tasks: Sequence[PictureTask]) -> list[str] | None:
    """Without a negative prompt diffusers switches guidance off, whatever its scale: a space keeps it on."""
    if tasks[0].guidance <= _OFF:
        return None
    return [task.negative_prompt or " " for task in tasks]


def _generator(seed: int) -> torch.Generator:
    """On the processor, so that a seed means the same picture on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def _smallest(ability: _Ability, multiple: int, steps: int) -> PictureTask:
    from PIL import Image  # noqa: PLC0415 - the name at the top is for types

    size = multiple * 16
    images = (Image.new("RGB", (size, size)),) if ability.task == IMAGE_EDITING else ()
    return PictureTask("warm-up", None, images, size, size, steps=steps, guidance=4.0, seed=0)
