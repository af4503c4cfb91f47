"""Lets qwen_tts be imported without sox, torchaudio and onnxruntime.

The package imports them at its top for its 25 Hz tokenizer, which no checkpoint of Qwen3-TTS 12Hz uses: onnxruntime and
torchaudio weigh hundreds of megabytes, the wheels of torchaudio load beside one build of torch alone, and sox wants a
program. Where one of them is there, it is the one that is used.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each with the modules below it that the package names.
_UNUSED = {"sox": (), "onnxruntime": (), "torchaudio": ("torchaudio.compliance", "torchaudio.compliance.kaldi")}


def import_qwen_tts() -> Any:  # noqa: ANN401 - the package has no types
    """The package `qwen_tts`.

    Raises:
        ImportError: it is not installed, or something that it does use is not.
    """
    # First, as it looks for itself what is installed, and must not find what only stands in.
    importlib.import_module("transformers")
    with _filled(name for name in _UNUSED if not _works(name)):
        return importlib.import_module("qwen_tts")


def _works(name: str) -> bool:
    """Whether it can be imported; a library that was built for another torch raises more than ImportError."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@contextlib.contextmanager
def _filled(names: Iterator[str]) -> Iterator[None]:
    """Stand-ins for as long as the import takes: afterwards nobody else must find them."""
    added: dict[str, ModuleType] = {}
    for name in names:
        for full in (name, *_UNUSED[name]):
            added[full] = _StandIn(full)
            parent, _, child = full.rpartition(".")
            if parent:
                setattr(added[parent], child, added[full])
    before = {name: sys.modules[name] for name in added if name in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
        sys.modules.update(before)


class _StandIn(ModuleType):
    """Can be imported and not used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # Others look for it while they load, and a module without one makes them fail.
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        message = f"{self.__name__}.{name} is needed after all, and {self.__name__} is not installed."
        raise ImportError(message)
