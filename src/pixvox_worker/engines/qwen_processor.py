"""Stands in for Qwen2VLProcessor where torchvision is missing: that class insists on a video processor, which needs it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, BatchFeature, Qwen2VLImageProcessorPil

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL.Image import Image

_IMAGE_MARK = "<|image_pad|>"


def torchvision_works() -> bool:
    """Whether it is there and fits to this torch: PyPI's wheel is built for CUDA and does not load beside others."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError):
        return False
    return True


class QwenProcessor:
    """Tokens of a text with pictures in it, and the patches of the pictures."""

    def __init__(self, folder: Path) -> None:
        self._images: Any = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def __call__(
        self,
        *,
        text: Sequence[str],
        images: Image | Sequence[Image] | None = None,
        padding: bool = True,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Each picture's mark in `text` becomes one mark per merged patch."""
        features: dict[str, Any] = {}
        texts = list(text)
        if images is not None:
            features = dict(self._images(images=images, return_tensors=return_tensors))
            texts = self._with_patches(texts, features["image_grid_thw"])
        return BatchFeature({**self._tokenizer(texts, padding=padding, return_tensors=return_tensors), **features})

    def _with_patches(self, texts: list[str], grids: Any) -> list[str]:  # noqa: ANN401 - a tensor of N x 3
        counts = iter(int(grid.prod()) // self._images.merge_size**2 for grid in grids)
        return [self._expand(text, [next(counts) for _ in range(text.count(_IMAGE_MARK))]) for text in texts]

    def _expand(self, text: str, counts: list[int]) -> str:
        first, *others = text.split(_IMAGE_MARK)
        return first + "".join(_IMAGE_MARK * count + other for count, other in zip(counts, others, strict=True))
