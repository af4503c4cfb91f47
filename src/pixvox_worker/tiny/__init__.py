"""Builds models of random weights, about a megabyte each, for tests and for trying a deployment without a GPU."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# By the library that a family is built with: the pictures' and the voices' do not fit into one environment.
_FAMILIES = {"diffusers": "pixvox_worker.tiny.pipelines", "qwen_tts": "pixvox_worker.tiny.voices"}
_MODULES: dict[str, Any] = {
    kind: module
    for library, name in _FAMILIES.items()
    if find_spec(library) is not None
    for module in [importlib.import_module(name)]
    for kind in module.KINDS
}
KINDS = tuple(_MODULES)
"""What can be built in this environment."""


def build(kind: str, folder: Path, *, seed: int = 0) -> None:
    """Save a model of `kind` to `folder`, as the published ones are laid out; equal seeds give equal weights.

    Raises:
        KeyError: `kind` is none of `KINDS`.
    """
    _MODULES[kind].build(kind, folder, seed=seed)
