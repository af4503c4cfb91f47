"""Stands in for the processors of Qwen-VL where torchvision is missing: those insist on a video processor, which needs it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, BatchFeature, ProcessorMixin, Qwen2VLImageProcessorPil

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


class QwenProcessor(ProcessorMixin):
    """Tokens of a text with pictures in it, and the patches of the pictures; diffusers accepts no other base class."""

    def __init__(self, folder: Path) -> None:
        # Not the constructor of ProcessorMixin: it is what asks for the video processor.
        self.image_processor: Any = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._mark = self.tokenizer.convert_tokens_to_ids(_IMAGE_MARK)

    def __call__(
        self,
        *,
        text: str | Sequence[str],
        images: Image | Sequence[Image] | None = None,
        padding: bool = True,
        padding_side: str | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """Each picture's mark in `text` becomes one mark per merged patch."""
        features: dict[str, Any] = {}
        texts = [text] if isinstance(text, str) else list(text)
        if images is not None:
            features = dict(self.image_processor(images=images, return_tensors=return_tensors))
            texts = self._with_patches(texts, features["image_grid_thw"])
        tokens = self.tokenizer(texts, padding=padding, padding_side=padding_side, return_tensors=return_tensors)
        # Which tokens are those of a picture: Qwen3-VL reads their places in it from this.
        return BatchFeature({**tokens, "mm_token_type_ids": (tokens["input_ids"] == self._mark).int(), **features})

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """The tokens of one conversation without pictures, as a batch of one: all that the pipelines ask for."""
        return [self.tokenizer.apply_chat_template(conversation, **options)]

    def batch_decode(self, *tokens: Any, **options: Any) -> list[str]:  # noqa: ANN401 - as overridden
        """The texts of rows of tokens."""
        texts: list[str] = self.tokenizer.batch_decode(*tokens, **options)
        return texts

    def _with_patches(self, texts: list[str], grids: Any) -> list[str]:  # noqa: ANN401 - a tensor of N x 3
        counts = iter(int(grid.prod()) // self.image_processor.merge_size**2 for grid in grids)
        return [self._expand(text, [next(counts) for _ in range(text.count(_IMAGE_MARK))]) for text in texts]

    def _expand(self, text: str, counts: list[int]) -> str:
        first, *others = text.split(_IMAGE_MARK)
        return first + "".join(_IMAGE_MARK * count + other for count, other in zip(counts, others, strict=True))
