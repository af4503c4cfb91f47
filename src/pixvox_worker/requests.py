"""Turns a request of either kind of client into a task that the loaded model can do, or says what is wrong with it."""

from __future__ import annotations

import math
import re
import secrets
import time
from typing import TYPE_CHECKING

from pixvox_worker.failures import BadRequest, NotFound, TooLarge, UnsupportedTask
from pixvox_worker.tasks import IMAGE_EDITING, TEXT_TO_IMAGE, PictureTask

if TYPE_CHECKING:
    from PIL.Image import Image

    from pixvox_worker.schemas import ImageRequest, ProcessRequest
    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Engine

_SIZE = re.compile(r"(\d{1,5})[xX*](\d{1,5})")
_DEFAULT_SIDE = 1024
_DEFAULT_GUIDANCE = 4.0
# Small enough for every client to hold exactly, JavaScript included.
_SEEDS = 2**31


class TaskReader:
    """Knows the settings and the model that a request has to fit to."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def from_images_api(self, body: ImageRequest, images: tuple[Image, ...], kind: str) -> PictureTask:
        """A request in the shape of OpenAI.

        Raises:
            Failure: the model or the settings do not allow it.
        """
        self._check_model(body.model)
        self._check_kind(kind, images)
        steps = body.num_inference_steps or self._steps_of(body.quality)
        width, height = self._size(_parse_size(body.size), images)
        guidance = body.true_cfg_scale if body.true_cfg_scale is not None else body.guidance_scale
        self._check_amounts(body.n, steps)
        return PictureTask(
            prompt=body.prompt,
            negative_prompt=body.negative_prompt,
            images=images,
            width=width,
            height=height,
            steps=steps,
            guidance=_DEFAULT_GUIDANCE if guidance is None else guidance,
            seed=_seed(body.seed),
            count=body.n,
            previews=body.partial_images if body.stream else 0,
        )

    def from_process(self, body: ProcessRequest, images: tuple[Image, ...]) -> PictureTask:
        """A request to `/process`: what is in `options` wins over the flat fields.

        Raises:
            Failure: the model or the settings do not allow it.
        """
        options = body.options
        self._check_model(body.model)
        self._check_kind(IMAGE_EDITING if images else TEXT_TO_IMAGE, images)
        if (options.width is None) != (options.height is None):
            message = "width and height are given together or not at all."
            raise BadRequest(message, param="options")
        steps = options.steps or body.num_inference_steps or self._steps_of(options.quality)
        self._check_amounts(1, steps)
        wanted = (options.width, options.height) if options.width and options.height else None
        width, height = self._size(wanted, images)
        guidance = options.true_cfg_scale if options.true_cfg_scale is not None else body.true_cfg_scale
        return PictureTask(
            prompt=body.prompt,
            negative_prompt=options.negative_prompt or body.negative_prompt,
            images=images,
            width=width,
            height=height,
            steps=steps,
            guidance=_DEFAULT_GUIDANCE if guidance is None else guidance,
            seed=_seed(options.seed if options.seed is not None else body.seed),
        )

    def deadline(self, timeout: float | None) -> float:
        """When a request that came now must be done, by the clock of `time.monotonic`."""
        longest = self._settings.request_timeout
        return time.monotonic() + (longest if timeout is None else min(timeout, longest))

    def _check_model(self, name: str | None) -> None:
        known = {self._settings.model_id.lower(), self._settings.model_name.lower()}
        if name and name.lower() not in known:
            message = f"This worker serves {self._settings.model_id!r}."
            raise NotFound(message, param="model")

    def _check_kind(self, kind: str, images: tuple[Image, ...]) -> None:
        if kind not in self._engine.capabilities():
            message = f"{self._settings.model_id} does no {kind}."
            raise UnsupportedTask(message, param="image")
        if kind == IMAGE_EDITING and not images:
            message = "An edit needs a picture."
            raise BadRequest(message, param="image")
        most = self._engine.max_input_images()
        if len(images) > most:
            message = f"{self._settings.model_id} takes at most {most} pictures."
            raise BadRequest(message, param="image")

    def _check_amounts(self, count: int, steps: int) -> None:
        if count > self._settings.max_images:
            message = f"At most {self._settings.max_images} pictures are made at a time."
            raise BadRequest(message, param="n")
        fewest = self._engine.min_steps()
        if not fewest <= steps <= self._settings.max_steps:
            message = f"The model makes {fewest} to {self._settings.max_steps} steps."
            raise BadRequest(message, param="num_inference_steps")

    def _steps_of(self, quality: str | None) -> int:
        presets = {
            "low": self._settings.quality_low_steps,
            "medium": self._settings.quality_medium_steps,
            "high": self._settings.quality_high_steps,
        }
        return min(presets.get(quality or "high", presets["high"]), self._settings.max_steps)

    def _size(self, wanted: tuple[int, int] | None, images: tuple[Image, ...]) -> tuple[int, int]:
        """Floored to what the model can make; as large as the first picture, or a square, unless asked for."""
        if wanted is None:
            width, height = self._within(images[0].size) if images else self._within((_DEFAULT_SIDE, _DEFAULT_SIDE))
        else:
            width, height = wanted
        multiple = self._engine.size_multiple()
        if wanted is not None and min(wanted) < multiple:
            message = f"Width and height are at least {multiple}."
            raise BadRequest(message, param="size")
        if width * height > self._settings.max_pixels:
            message = f"At most {self._settings.max_pixels} pixels are made."
            raise TooLarge(message, param="size")
        return max(multiple, width // multiple * multiple), max(multiple, height // multiple * multiple)

    def _within(self, size: tuple[int, int]) -> tuple[int, int]:
        """`size`, made smaller in proportion until it is allowed."""
        width, height = size
        shrink = min(1.0, math.sqrt(self._settings.max_pixels / (width * height)))
        return max(1, int(width * shrink)), max(1, int(height * shrink))


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None or text in ("", "auto"):
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        message = "size is WIDTHxHEIGHT, or auto."
        raise BadRequest(message, param="size")
    return int(match[1]), int(match[2])


def _seed(given: int | None) -> int:
    return secrets.randbelow(_SEEDS) if given is None else given
