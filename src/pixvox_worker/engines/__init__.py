"""The engines, and the choice of one by the settings; torch is imported only for those that need it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pixvox_worker.settings import EngineKind

if TYPE_CHECKING:
    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Engine

_SPEECH_CLASS = "Qwen3TTSForConditionalGeneration"


def choose(settings: Settings) -> Engine:
    """The engine that `settings` ask for, not loaded yet."""
    if settings.engine is EngineKind.FAKE:
        from pixvox_worker.engines.fake import FakeEngine  # noqa: PLC0415 - no need for it elsewhere

        return FakeEngine(settings)
    if settings.engine is EngineKind.QWEN_TTS or (settings.engine is EngineKind.AUTO and _speaks(settings.model_name)):
        from pixvox_worker.engines.qwen_tts import QwenTtsEngine  # noqa: PLC0415 - torch takes seconds

        return QwenTtsEngine(settings)
    from pixvox_worker.engines.qwen_image import QwenImageEngine  # noqa: PLC0415 - torch takes seconds

    return QwenImageEngine(settings)


def _speaks(name: str) -> bool:
    """Whether a folder's config.json names the class that speaks: a pipeline of pictures has no such file.

    Of a repository nothing is known before it is fetched, which takes its time and belongs to the loading. What is
    installed says it as well: the two engines do not fit into one environment.
    """
    folder = Path(name)
    if not folder.is_dir():
        return find_spec("qwen_tts") is not None and find_spec("diffusers") is None
    try:
        return _SPEECH_CLASS in json.loads((folder / "config.json").read_text()).get("architectures", [])
    except (OSError, ValueError, AttributeError):
        return False
