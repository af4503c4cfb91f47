"""The two distributions of `tests/fixtures`, installed as anybody installs them, where no other test sees them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("good_provider", "bad_provider")


def install(folder: Path) -> Path:
    """Install both into a folder, with their metadata and without asking anybody else for anything."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*command, *(str(FIXTURES / name) for name in NAMES)], check=True)
    return folder


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Have what is installed in a folder found by this process, as far as the block goes."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
