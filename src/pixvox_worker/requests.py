"""Turns a request of either kind of client into a task that the loaded model can do, or says what is wrong with it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from pixvox_worker import deadlines, sizes
from pixvox_worker.failures import BadRequest, NotFound, UnsupportedTask
from pixvox_worker.sizes import Sizes
from pixvox_worker.tasks import IMAGE_EDITING, IMAGE_LAYERING, TEXT_TO_IMAGE, PictureEngine, PictureTask

if TYPE_CHECKING:
    from fastapi import Request
    from PIL.Image import Image

    from pixvox_worker.schemas import ImageRequest, ProcessRequest
    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Engine

# Small enough for every client to hold exactly, JavaScript included.
_SEEDS = 2**31


def check_model(settings: Settings, name: str | None) -> None:
    """Refuse a request for another model than the one that is loaded.

    Raises:
        NotFound: it is another.
    """
    if name and name.lower() not in {settings.model_id.lower(), settings.model_name.lower()}:
        message = f"This worker serves {settings.model_id!r}."
        raise NotFound(message, param="model")


def seed_of(given: int | None) -> int:
    """The seed that was asked for, or one of our choice."""
    return secrets.randbelow(_SEEDS) if given is None else given


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
        check_model(self._settings, body.model)
        layers = self._layers(body.layers, kind)
        self._check_kind(IMAGE_LAYERING if layers else kind, images)
        steps = body.num_inference_steps or self._steps_of(body.quality)
        width, height = self._size(sizes.parse(body.size), body.resolution, images, layers)
        self._check_amounts(body.n, steps)
        if layers and body.n > 1:
            message = "A picture is taken apart once per request."
            raise BadRequest(message, param="n")
        return PictureTask(
            prompt=body.prompt,
            negative_prompt=body.negative_prompt,
            images=images,
            width=width,
            height=height,
            steps=steps,
            guidance=self._guidance(body.true_cfg_scale, body.guidance_scale),
            seed=seed_of(body.seed),
            count=body.n,
            previews=body.partial_images if body.stream else 0,
            layers=layers,
            resolution=self._sizes.looked_at(body.resolution, images),
        )

    def from_process(self, body: ProcessRequest, images: tuple[Image, ...]) -> PictureTask:
        """A request to `/process`: what is in `options` wins over the flat fields.

        Raises:
            Failure: the model or the settings do not allow it.
        """
        options = body.options
        check_model(self._settings, body.model)
        self._check_kind(IMAGE_EDITING if images else TEXT_TO_IMAGE, images)
        if (options.width is None) != (options.height is None):
            message = "width and height are given together or not at all."
            raise BadRequest(message, param="options")
        steps = options.steps or body.num_inference_steps or self._steps_of(options.quality)
        self._check_amounts(1, steps)
        wanted = (options.width, options.height) if options.width and options.height else None
        width, height = self._sizes.made(wanted, None, images)
        return PictureTask(
            prompt=body.prompt,
            negative_prompt=options.negative_prompt or body.negative_prompt,
            images=images,
            width=width,
            height=height,
            steps=steps,
            guidance=self._guidance(options.true_cfg_scale, body.true_cfg_scale),
            seed=seed_of(options.seed if options.seed is not None else body.seed),
            resolution=self._sizes.looked_at(None, images),
        )

    def check_pictures(self, count: int) -> None:
        """Refuse what no task can have, before it is decoded.

        Raises:
            Failure: the model takes fewer pictures, or makes none.
        """
        most = self._painter.max_input_images()
        # One that is not wanted at all has a better answer later.
        if count > max(1, most):
            message = f"{self._settings.model_id} takes at most {most} pictures."
            raise BadRequest(message, param="image")

    def deadline(self, request: Request, timeout: float | None) -> float:
        """When `request` must be answered, by the clock of `time.monotonic`; `timeout` is from its body, in seconds.

        Raises:
            BadRequest: its header is no time.
        """
        return deadlines.of(request, timeout, self._settings.request_timeout)

    @property
    def _painter(self) -> PictureEngine:
        if not isinstance(self._engine, PictureEngine):
            message = f"{self._settings.model_id} makes no pictures."
            raise UnsupportedTask(message)
        return self._engine

    def _check_kind(self, kind: str, images: tuple[Image, ...]) -> None:
        if kind not in self._painter.capabilities():
            message = f"{self._settings.model_id} does no {kind}."
            raise UnsupportedTask(message, param="image")
        if kind != TEXT_TO_IMAGE and not images:
            message = "An edit needs a picture."
            raise BadRequest(message, param="image")
        most = self._painter.max_input_images()
        if len(images) > most:
            message = f"{self._settings.model_id} takes at most {most} pictures."
            raise BadRequest(message, param="image")

    def _check_amounts(self, count: int, steps: int) -> None:
        if count > self._settings.max_images:
            message = f"At most {self._settings.max_images} pictures are made at a time."
            raise BadRequest(message, param="n")
        fewest = self._painter.min_steps()
        if not fewest <= steps <= self._settings.max_steps:
            message = f"The model makes {fewest} to {self._settings.max_steps} steps."
            raise BadRequest(message, param="num_inference_steps")

    def _steps_of(self, quality: str | None) -> int:
        """Of the quality; of a request that names none, what the settings or the model's class say."""
        presets = {
            "low": self._settings.quality_low_steps,
            "medium": self._settings.quality_medium_steps,
            "high": self._settings.quality_high_steps,
        }
        usual = self._settings.default_steps or self._painter.traits().steps
        return min(presets.get(quality or "", usual), self._settings.max_steps)

    def _guidance(self, *given: float | None) -> float:
        """The first that is given."""
        usual = self._settings.default_guidance or self._painter.traits().guidance
        return next((value for value in given if value is not None), usual)

    def _layers(self, wanted: int | None, kind: str) -> int:
        """A model that does nothing but take pictures apart does so unasked."""
        layering = IMAGE_LAYERING in self._painter.capabilities()
        if wanted is not None and (kind != IMAGE_EDITING or not layering):
            message = f"{self._settings.model_id} takes no picture apart here."
            raise UnsupportedTask(message, param="layers")
        if wanted is None and layering and kind == IMAGE_EDITING and kind not in self._painter.capabilities():
            return self._painter.traits().layers
        return wanted or 0

    @property
    def _sizes(self) -> Sizes:
        painter = self._painter
        return Sizes(painter.size_multiple(), self._settings.max_pixels, painter.traits())

    def _size(
        self, wanted: tuple[int, int] | None, resolution: int | None, images: tuple[Image, ...], layers: int
    ) -> tuple[int, int]:
        if layers:
            return self._sizes.of_layers(wanted, resolution, images[0])
        return self._sizes.made(wanted, resolution, images)
