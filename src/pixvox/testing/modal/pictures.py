"""The pictures that the emulated worker makes: plain, small and the same for the same request."""

from __future__ import annotations

import hashlib
import io

from PIL import Image

_TILE = 16


def drawn(prompt: str, size: tuple[int, int], seed: int) -> bytes:
    """Return a PNG of `size` (width, height) whose colour is the prompt's and the seed's."""
    return _png(Image.new("RGB", size, _colour(prompt, seed)))


def changed(picture: bytes, prompt: str, size: tuple[int, int] | None, seed: int) -> bytes:
    """Return a PNG of a picture with a corner in the colour of the prompt and the seed; `size` None keeps its size."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if size is not None:
        image = image.resize(size)
    image.paste(_colour(prompt, seed), (0, 0, _TILE, _TILE))
    return _png(image)


def _colour(prompt: str, seed: int) -> tuple[int, int, int]:
    red, green, blue = hashlib.sha256(f"{seed} {prompt}".encode()).digest()[:3]
    return red, green, blue


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
