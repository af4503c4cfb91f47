"""The sandbox's pictures: a prompt drawn, an instruction applied, in threads of its own."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pixvox.media.images import MIME_TYPES, encoded, mime_type_of, probed, upright
from pixvox.provider import Blob, ImageResult
from pixvox.providers.sandbox.drawing import drawn
from pixvox.providers.sandbox.editing import MAX_SIDE, edited, missing_warning
from pixvox.providers.sandbox.fonts import Fonts
from pixvox.v1 import media_pb2, model_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from pixvox.v1 import image_service_pb2

    _Request = image_service_pb2.GenerateImageRequest | image_service_pb2.EditImageRequest

MODEL = "sandbox-image"
MAX_N = 4
MAX_INPUT_IMAGES = 16
MAX_INPUT_BYTES = 10 * 1024 * 1024
MAX_INPUT_PIXELS = 64_000_000
MAX_PROMPT_CHARACTERS = 4000
MAX_NEGATIVE_PROMPT_CHARACTERS = 1000

_DEFAULT_SIDE = 1024
_SEEDS = 2**31
_FORMATS = (media_pb2.IMAGE_FORMAT_PNG, media_pb2.IMAGE_FORMAT_JPEG, media_pb2.IMAGE_FORMAT_WEBP)
_METADATA = {"Software": "pixvox sandbox"}
_PRICE_TABLE = "sandbox"

_T = TypeVar("_T")


def image_models() -> list[model_service_pb2.Model]:
    """Return the capability table of the sandbox's pictures."""
    return [
        model_service_pb2.Model(
            id=MODEL,
            description="Draws the prompt and really applies plain English instructions, on this machine and free of charge.",
            generate_image=model_service_pb2.GenerateImageCapability(
                output=_output(media_pb2.Size(width=_DEFAULT_SIDE, height=_DEFAULT_SIDE))
            ),
            edit_image=model_service_pb2.EditImageCapability(
                output=_output(None),
                max_images=MAX_INPUT_IMAGES,
                takes_mask=True,
                input_mime_types=MIME_TYPES,
                max_input_bytes=MAX_INPUT_BYTES,
                max_input_pixels=MAX_INPUT_PIXELS,
            ),
        )
    ]


class SandboxImages:
    """Draws and edits; the verbs of `pixvox.provider.ImageGenerator` and `ImageEditor`.

    Args:
        fonts: To letter with, or None for the installed ones.
        threads: How many pictures are worked on at once, or None for one a core to four.
    """

    def __init__(self, fonts: Fonts | None = None, threads: int | None = None) -> None:
        self._fonts = fonts or Fonts()
        self._threads = ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1), "sandbox-images")

    async def generate_image(
        self, request: image_service_pb2.GenerateImageRequest, model: model_service_pb2.Model
    ) -> ImageResult:
        """Draw the prompt `n` times, each with the next seed, so that a picture's own seed alone gives it again."""
        first = request.seed if request.HasField("seed") else secrets.randbelow(_SEEDS)
        seeds = [(first + index) % _SEEDS for index in range(request.n or 1)]
        size = _size(request) or (_DEFAULT_SIDE, _DEFAULT_SIDE)

        def draw(seed: int, stopped: threading.Event) -> tuple[Blob, tuple[str, ...]]:
            drawing = drawn(request.prompt, request.negative_prompt, size, seed, self._fonts)
            return _blob(drawing.image, request.format, seed, stopped), drawing.missing

        made = await self._in_threads([functools.partial(draw, seed) for seed in seeds])
        warnings = _option_warnings(request)
        if missing := made[0][1]:
            warnings.append(missing_warning(missing))
        return ImageResult(tuple(blob for blob, _ in made), _receipt(model, len(made)), tuple(warnings), size)

    async def edit_image(
        self,
        request: image_service_pb2.EditImageRequest,
        images: Sequence[Blob],
        mask: Blob | None,
        model: model_service_pb2.Model,
    ) -> ImageResult:
        """Apply the instruction; see `pixvox.providers.sandbox.editing` for what masks, sizes and several inputs do.

        Raises:
            InvalidMediaError: The mask has another size than the first image, or an input cannot be decoded.
        """

        def edit(stopped: threading.Event) -> tuple[Blob, tuple[media_pb2.Warning, ...]]:
            pictures = [_decoded(image, f"images[{index}]", stopped) for index, image in enumerate(images)]
            masking = None if mask is None else _decoded(mask, "mask", stopped)
            result = edited(request.prompt, pictures, masking, _size(request), self._fonts)
            seed = request.seed if request.HasField("seed") else None
            return _blob(result.image, request.format, seed, stopped), result.warnings

        [(blob, edit_warnings)] = await self._in_threads([edit])
        count = request.n or 1
        warnings = (*_option_warnings(request), *_input_warnings(request, images), *edit_warnings)
        return ImageResult((blob,) * count, _receipt(model, count), warnings, _size(request))

    async def aclose(self) -> None:
        """End the threads, each after the picture it is at."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _in_threads(self, tasks: Sequence[Callable[[threading.Event], _T]]) -> list[_T]:
        """Do tasks in the threads; when this is cancelled those not begun never begin, and the others soon stop."""
        loop = asyncio.get_running_loop()
        stopped = threading.Event()
        try:
            return await asyncio.gather(*(loop.run_in_executor(self._threads, task, stopped) for task in tasks))
        finally:
            stopped.set()


class _StoppedError(Exception):
    """Nobody waits for the picture any more."""


def _output(default_size: media_pb2.Size | None) -> model_service_pb2.ImageOutput:
    return model_service_pb2.ImageOutput(
        size=model_service_pb2.SizeRule(default_size=default_size, min_side=1, max_side=MAX_SIDE),
        max_n=MAX_N,
        formats=_FORMATS,
        deliveries=[media_pb2.DELIVERY_INLINE],
        max_prompt_characters=MAX_PROMPT_CHARACTERS,
        max_negative_prompt_characters=MAX_NEGATIVE_PROMPT_CHARACTERS,
        takes_seed=True,
        deterministic=True,
    )


def _size(request: _Request) -> tuple[int, int] | None:
    return (request.size.width, request.size.height) if request.HasField("size") else None


def _decoded(blob: Blob, field: str, stopped: threading.Event) -> Image.Image:
    _check_wanted(stopped)
    return upright(blob.data, field=field)


def _blob(
    image: Image.Image, image_format: media_pb2.ImageFormat.ValueType, seed: int | None, stopped: threading.Event
) -> Blob:
    _check_wanted(stopped)
    chosen = image_format or _FORMATS[0]
    data = encoded(image, chosen, text=_METADATA)
    return Blob(mime_type_of(chosen), data, width=image.width, height=image.height, seed=seed)


def _check_wanted(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise _StoppedError


def _option_warnings(request: _Request) -> list[media_pb2.Warning]:
    """Return a warning for each option of the request that makes no difference."""
    warnings = []
    if request.HasField("watermark") and not request.watermark:
        warnings.append(
            _ignored("watermark", "The sandbox's mark stays, so that nobody takes its pictures for a model's.")
        )
    if request.prompt_extend:
        warnings.append(_ignored("prompt_extend", "The sandbox draws the prompt as it is and never rewrites it."))
    return warnings


def _input_warnings(request: image_service_pb2.EditImageRequest, images: Sequence[Blob]) -> list[media_pb2.Warning]:
    warnings = []
    if request.negative_prompt.strip():
        warnings.append(
            _ignored("negative_prompt", "The sandbox does only what the prompt says; nothing is left to avoid.")
        )
    if request.n > 1:
        warnings.append(_ignored("n", f"The sandbox edits without chance, so the {request.n} results are equal."))
    for index, image in enumerate(images):
        frames = probed(image.data).frames
        if frames > 1:
            warnings.append(
                media_pb2.Warning(
                    reason=media_pb2.WARNING_REASON_INPUT_REDUCED,
                    field=f"images[{index}]",
                    message=f"The file has {frames} frames; only the first is used.",
                )
            )
    return warnings


def _ignored(field: str, message: str) -> media_pb2.Warning:
    return media_pb2.Warning(reason=media_pb2.WARNING_REASON_FIELD_IGNORED, field=field, message=message)


def _receipt(model: model_service_pb2.Model, images: int) -> media_pb2.Receipt:
    return media_pb2.Receipt(
        model=model.id,
        provider_request_id=uuid.uuid4().hex,
        usage=media_pb2.Usage(images=images),
        cost=media_pb2.Cost(state=media_pb2.COST_STATE_PRICED, amount="0", currency="USD", price_table=_PRICE_TABLE),
    )
