"""Qwen-Image and its relatives that edit and take apart, run by diffusers. Everything happens in the inference thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Pictures

from pixvox_worker import pictures
from pixvox_worker.engines import loading, placement
from pixvox_worker.engines.pipelines import KINDS, class_in
from pixvox_worker.failures import OutOfMemory
from pixvox_worker.tasks import IMAGE_EDITING, PictureTask
from pixvox_worker.traits import PictureTraits, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from pixvox_worker.engines.pipelines import PipelineKind
    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Watch

_OFF = 1.0


class QwenImageEngine:
    """One pipeline, loaded from a folder or from the cache of the hub."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pipeline: Any = None
        self._class = "QwenImageEditPipeline"
        self._device = "cpu"

    @property
    def pipeline(self) -> Any:  # noqa: ANN401 - diffusers has no type that all pipelines share
        """The pipeline of diffusers itself."""
        return self._pipeline

    def load(self) -> None:
        """Read the weights and put them where they run.

        Raises:
            ValueError: the folder holds a pipeline that the worker does not know, or the settings do not fit to it.
            RuntimeError: the settings ask for a device or a library that is not there.
        """
        settings = self._settings
        if settings.torch_threads:
            torch.set_num_threads(settings.torch_threads)
        self._device = placement.device(settings.device)
        folder = loading.folder_of(settings.model_name)
        self._class = class_in(folder)
        self._pipeline = loading.read(folder, self._kind, settings, self._device)
        if 0 < settings.default_steps < self.min_steps():
            message = f"DEFAULT_STEPS is {settings.default_steps}, and the scheduler makes at least {self.min_steps()}."
            raise ValueError(message)
        placement.place(self._pipeline, settings, self._device)
        if settings.warm_up:
            self.make([self._smallest()], _Silence())

    def capabilities(self) -> tuple[str, ...]:
        """By the class of the pipeline."""
        return self._kind.tasks

    def describe(self) -> dict[str, object]:
        """Device and class."""
        return {"device": self._device, "engine": "diffusers", "class": self._class}

    def traits(self) -> PictureTraits:
        """By the class of the pipeline, and by what its files say."""
        kind = self._kind
        return PictureTraits(
            steps=len(self._own_sigmas()) or kind.steps,
            guidance=kind.guidance,
            layers=kind.layers,
            resolution=kind.resolution,
            resolutions=kind.resolutions,
            condition_pixels=self._condition_pixels() if IMAGE_EDITING in kind.tasks and kind.resolution else None,
        )

    def size_multiple(self) -> int:
        """Two latent cells make one token."""
        return int(self._pipeline.vae_scale_factor) * 2

    def min_steps(self) -> int:
        """A schedule that is stretched to its terminal divides by the last of at least two; one step is all NaN."""
        return 2 if self._pipeline.scheduler.config.get("shift_terminal") else 1

    def max_input_images(self) -> int:
        """By the class of the pipeline."""
        return self._kind.input_images

    def memory_bytes(self) -> int:
        """What torch has allocated on the GPU."""
        return torch.cuda.memory_allocated() if self._device == "cuda" else 0

    def make(self, tasks: Sequence[PictureTask], watch: Watch) -> list[list[Image]]:
        """Tasks from text in one call, an edit picture after picture, the layers of a picture in one call."""
        try:
            with torch.inference_mode():
                return [self._edit(tasks[0], watch)] if tasks[0].images else self._from_text(tasks, watch)
        except RuntimeError as error:
            if not placement.is_out_of_memory(error):
                raise
        finally:
            # A call that was left in the middle leaves the components where they were.
            self._pipeline.maybe_free_model_hooks()
        # Not where the error is at hand: its frames hold what was allocated.
        raise self._out_of_memory()

    @property
    def _kind(self) -> PipelineKind:
        return KINDS[self._class]

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
        for number in range(task.count):
            made += self._call(
                task,
                watch,
                before=number * task.steps,
                prompt=task.prompt,
                negative_prompt=None if negative is None else negative[0],
                generator=_generator(task.seed + number),
                **self._conditions(task),
            )
        return made

    def _conditions(self, task: PictureTask) -> dict[str, object]:
        """The input pictures in as many channels as the model has, and how large it is to look at them."""
        kind = self._kind
        channels = [image.convert("RGBA") if kind.alpha else pictures.flattened(image) for image in task.images]
        given: dict[str, object] = {"image": channels if kind.listed else channels[0]}
        if kind.resolution_argument:
            given[kind.resolution_argument] = task.resolution or kind.resolution
        if task.layers:
            given["layers"] = task.layers
        return given

    def _call(self, task: PictureTask, watch: Watch, *, before: int, **inputs: object) -> list[Image]:
        def at_step(pipeline: object, index: int, timestep: object, tensors: dict[str, Any]) -> dict[str, Any]:
            del pipeline, timestep
            watch.step(before + index + 1, lambda: self._preview(tensors["latents"], task))
            return tensors

        # The layers' size follows from the resolution, and their class takes no other.
        size = {} if task.layers else {"width": task.width, "height": task.height}
        answer = self._pipeline(
            true_cfg_scale=task.guidance,
            num_inference_steps=task.steps,
            callback_on_step_end=at_step,
            callback_on_step_end_tensor_inputs=["latents"],
            **size,
            **self._sigmas(task.steps),
            **inputs,
        )
        images: list[Image] = answer.images[0] if task.layers else answer.images
        return images

    def _own_sigmas(self) -> Sequence[float]:
        """The schedule that the checkpoint was distilled for, if it says one."""
        return self._pipeline.config.get("sample_sigmas") or ()

    def _sigmas(self, steps: int) -> dict[str, object]:
        """With a schedule of its own the pipeline ignores the number of steps: another one needs another schedule."""
        own = self._own_sigmas()
        return {"sigmas": np.linspace(1.0, 1 / steps, steps)} if own and len(own) != steps else {}

    def _condition_pixels(self) -> tuple[int, int]:
        """Outside of these the processor scales once more, and the text encoder's tokens miss the latents' places."""
        size = self._pipeline.processor.image_processor.size
        return size["shortest_edge"], size["longest_edge"]

    def _preview(self, latents: torch.Tensor, task: PictureTask) -> Image:
        """Decode the first row of half-done latents, as the pipeline does with finished ones; of layers, the whole."""
        pipeline = self._pipeline
        vae = pipeline.vae
        layers = (task.layers,) if task.layers else ()
        cells = pipeline._unpack_latents(latents[:1], task.height, task.width, *layers, pipeline.vae_scale_factor)
        cells = cells[:, :, :1].to(vae.dtype)
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

    def _smallest(self) -> PictureTask:
        """What the warm-up makes."""
        kind = self._kind
        side = self.size_multiple() * 16
        size = scaled(kind.resolution, (side, side)) if kind.layers and kind.resolution else (side, side)
        images = () if kind.several else (Pictures.new("RGB", size),)
        steps, guidance = self.min_steps(), kind.guidance
        layers = 2 if kind.layers else 0
        return PictureTask("warm-up", None, images, *size, steps=steps, guidance=guidance, seed=0, layers=layers)


class _Silence:
    def step(self, done: int, preview: Callable[[], Image]) -> None:
        """Nobody looks at the warm-up."""


def _negative(tasks: Sequence[PictureTask]) -> list[str] | None:
    """Without a negative prompt diffusers switches guidance off, whatever its scale: a space keeps it on."""
    if tasks[0].guidance <= _OFF:
        return None
    return [task.negative_prompt or " " for task in tasks]


def _generator(seed: int) -> torch.Generator:
    """On the processor, so that a seed means the same picture on every device."""
    return torch.Generator("cpu").manual_seed(seed)
