"""The engines, and the choice of one by the settings; torch is imported only for those that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixvox_worker.settings import EngineKind

if TYPE_CHECKING:
    from pixvox_worker.settings import Settings
    from pixvox_worker.tasks import Engine


def choose(settings: Settings) -> Engine:
    """The engine that `settings` ask for, not loaded yet."""
    if settings.engine is EngineKind.FAKE:
        from pixvox_worker.engines.fake import FakeEngine  # noqa: PLC0415 - no need for it elsewhere

        return FakeEngine(settings)
    from pixvox_worker.engines.qwen_image import QwenImageEngine  # noqa: PLC0415 - torch takes seconds

    return QwenImageEngine(settings)
