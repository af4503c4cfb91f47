"""Where settings are read from, so that they can be read again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pixvox import settings
from pixvox.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pixvox.settings import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """A settings file, or none, and what wins over it. Made by `find`.

    Attributes:
        path: The file that was there at the start, None if there was none.
        overrides: As `settings.load` takes them.
        environment: Instead of the process's own, for tests.
    """

    path: Path | None
    overrides: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] | None = None

    @classmethod
    def find(
        cls,
        path: Path | None = None,
        overrides: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Source:
        """Return the source that `settings.load` reads with the same arguments."""
        return cls(settings.file_of(path, environment), dict(overrides or {}), environment)

    def read(self) -> Loaded:
        """Read the settings.

        Raises:
            SettingsError: They cannot be read, or hold a bad value.
        """
        # Before the settings, so that what changes meanwhile is seen to have changed afterwards.
        before = contents([str(self.path or DEFAULT_FILE)])
        loaded = settings.load(self.path, self.overrides, self.environment)
        prices = contents([loaded.prices.file]) if loaded.prices.file else {}
        return Loaded(self, loaded, prices | before)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings as they were read.

    Attributes:
        source: That they were read from.
        settings: What it said.
        contents: Of the files that decide, as `contents` gives it.
    """

    source: Source
    settings: Settings
    contents: Mapping[str, str]


def contents(files: Iterable[str]) -> dict[str, str]:
    """Return what is in files, by their names: a SHA-256, empty if a file cannot be read."""
    return {file: _hash(Path(file)) for file in files}


def _hash(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        # Whoever reads the settings learns why.
        return ""
